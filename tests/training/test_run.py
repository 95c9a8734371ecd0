"""The training loop: exact resumption, two processes, NaN, phases, checkpoints, logs."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import training_runs as small
import yaml
from torch import Tensor

from vspsr.errors import ModelError, VSpSRError
from vspsr.model import VSpSR
from vspsr.training.checkpoint import latest, read_checkpoint, write_checkpoint
from vspsr.training.export import export
from vspsr.training.module import NotFiniteError
from vspsr.training.objective import Objective
from vspsr.training.recipe import RecipeError
from vspsr.training.run import RunOptions, train
from vspsr.training.schedule import Schedule


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_all_it_promises(photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    module = small.run(small.recipe_of(photos), tmp_path, lines=lines)
    assert module.step == 6
    assert "4 training images, 1 validation images" in lines[0]
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.pt", "step-000000005.pt", "step-000000006.pt"]
    rows = table(tmp_path / "metrics.csv")
    assert [r["step"] for r in rows] == ["2", "4", "6"]
    assert float(rows[0]["train/energy_pixels"]) > 0
    assert float(rows[1]["val/psnr_mean"]) > 10
    assert rows[0]["val/psnr_mean"] == ""
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["step-00000004.png", "step-00000006.png"]
    assert any((tmp_path / "tensorboard").iterdir())
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["crop"] == 6
    with pytest.raises(VSpSRError, match="holds a run already: --resume"):
        small.run(small.recipe_of(photos), tmp_path)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_resumption_is_exact(photos: Path, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversarial phases with an optimiser of their own included; at the change of phases and elsewhere."""
    recipe = small.recipe_of(photos, phases=small.ADVERSARIAL)
    whole = small.run(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        small.interrupt_at(step, patch)
        with pytest.raises(small.StoppedError):
            small.run(recipe, tmp_path / "parts")
    resumed = small.run(recipe, tmp_path / "parts", resume=True)
    assert small.different(small.weights(whole), small.weights(resumed)) == []
    assert table(tmp_path / "whole" / "metrics.csv") == table(tmp_path / "parts" / "metrics.csv")


def test_killed_at_any_moment(photos: Path, tmp_path: Path) -> None:
    """kill −9 while the run writes a checkpoint after every step; resumed, it ends with the same weights."""
    phases = [{"name": "a", "steps": 60, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}}]
    recipe = small.recipe_of(photos, phases=phases)
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "vspsr.cli", "train", "--config", config, "-o", output, "--accelerator", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while latest(output) is None and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run was over before it was killed"
    finally:
        process.kill()
    found = latest(output)
    assert found is not None
    assert 0 < read_checkpoint(found)["step"] < 60
    (output / "checkpoints" / ".vspsr-0123.tmp").write_bytes(b"as a kill in the middle of a write leaves it")
    resumed = small.run(recipe, output, resume=True)
    assert not list((output / "checkpoints").glob(".*"))
    whole = small.run(recipe, tmp_path / "whole")
    assert small.different(small.weights(whole), small.weights(resumed)) == []


@pytest.mark.parametrize("phases", [None, small.ADVERSARIAL], ids=["plain", "adversarial"])
def test_two_processes_are_one_with_twice_the_batch(photos: Path, tmp_path: Path, phases: object) -> None:
    """Lightning's DDP on the gloo backend against a single process.

    Not with a discriminator: on a CPU each process normalises its own part of the batch.
    """
    changes = {} if phases is None else {"phases": phases}
    recipe = small.recipe_of(photos, **changes)
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    output = tmp_path / "two"
    command = [sys.executable, "-m", "vspsr.cli", "train", "--config", config, "-o", output]
    command += ["--accelerator", "cpu", "--devices", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = latest(output)
    assert found is not None
    state = read_checkpoint(found)
    assert state["processes"] == 2
    rows = table(output / "metrics.csv")
    assert all(math.isfinite(float(row["train/loss"])) for row in rows)
    if phases is not None:
        assert float(rows[-1]["train/discriminator"]) > 0
        return
    one = small.run(small.recipe_of(photos, batch=4, **changes), tmp_path / "one")
    for key, value in one.network.state_dict().items():
        torch.testing.assert_close(state["network"][key], value, rtol=1e-4, atol=2e-6)
    for ours, theirs in zip(table(tmp_path / "one" / "metrics.csv"), rows, strict=True):
        assert float(ours["train/loss"]) == pytest.approx(float(theirs["train/loss"]), rel=1e-4)


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The loss is not a number in some steps."""
    forward = Objective.forward

    def broken(self: Objective, *args: object) -> object:
        total, figures = forward(self, *args)  # type: ignore[arg-type]
        step = args[5]
        return (
            (total * float("nan"), {**figures, "mse": total.detach() * float("nan")})
            if step in steps
            else (total, figures)
        )

    monkeypatch.setattr(Objective, "forward", broken)


def test_nan_in_a_batch_is_skipped_and_told(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {2})
    with pytest.warns(UserWarning, match=r"step 2: the gradient is not finite \(.*mse.*\): step skipped"):
        module = small.run(small.recipe_of(photos), tmp_path)
    assert module.step == 6
    assert all(v.isfinite().all() for v in small.weights(module).values())
    assert not any("nan" in row.values() for row in table(tmp_path / "metrics.csv"))


def test_ten_nan_in_a_row_stop_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = [{"name": "a", "steps": 30, "losses": {"mean_l1": 1.0}}]
    poison(monkeypatch, {1, *range(3, 40)})
    with (
        pytest.warns(UserWarning, match="not finite"),
        pytest.raises(NotFiniteError, match=r"step 12: .* 10 times in a row"),
    ):
        small.run(small.recipe_of(photos, phases=phases), tmp_path)
    found = latest(tmp_path)
    assert found is not None
    assert all(v.isfinite().all() for v in read_checkpoint(found)["network"].values())


def test_another_number_of_processes_does_not_resume(photos: Path, tmp_path: Path) -> None:
    """It would be another batch, and so another run."""
    small.run(small.recipe_of(photos), tmp_path)
    found = latest(tmp_path)
    assert found is not None
    write_checkpoint(found, {**read_checkpoint(found), "processes": 2})
    with pytest.raises(VSpSRError, match="began with 2 processes and would go on with 1, each with `batch` 2"):
        small.run(small.recipe_of(photos), tmp_path, resume=True)


def test_a_changed_recipe_is_not_resumed(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path)
    with pytest.raises(RecipeError, match="`batch` differs from the run"):
        small.run(small.recipe_of(photos, batch=3), tmp_path, resume=True)
    module = small.run(small.recipe_of(photos, log_every=3), tmp_path, resume=True)
    assert module.step == 6


def test_a_run_of_an_earlier_version_is_resumed_where_it_can_be(photos: Path, tmp_path: Path) -> None:
    """Its recipe has other names; another discriminator is refused in one line."""
    losses = {"log_power_crps": {"weight": 1.0, "block": 8, "mean_gradient_scale": 0.5}, "adversarial": 0.1}
    recipe = small.recipe_of(photos, phases=[{"name": "a", "steps": 3, "losses": losses}])
    small.run(recipe, tmp_path)
    found = latest(tmp_path)
    assert found is not None
    state = read_checkpoint(found)
    old = {"energy_strength": {"weight": 1.0, "block": 8, "through_mean": 0.5}, "adversarial": {"weight": 0.1}}
    state["recipe"]["phases"] = [{"name": "a", "steps": 3, "losses": old}]
    write_checkpoint(found, state)
    assert small.run(recipe, tmp_path, resume=True).step == 3
    state["discriminator"] = {"head.weight": torch.zeros(1)}
    write_checkpoint(found, state)
    with pytest.raises(ModelError, match=r"step-000000003\.pt: does not fit the recipe") as caught:
        small.run(recipe, tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path)
    found = latest(tmp_path)
    assert found is not None
    found.write_bytes(found.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        small.run(small.recipe_of(photos), tmp_path, resume=True)


def test_initial_weights_from_another_run(photos: Path, tmp_path: Path) -> None:
    first = small.run(small.recipe_of(photos), tmp_path / "a")
    phases = [{"name": "b", "steps": 1, "losses": {"mean_l1": 1.0}, "optimiser": {"rate": 1e-12}}]
    second = small.run(small.recipe_of(photos, phases=phases, initial=str(tmp_path / "a")), tmp_path / "b")
    for key, value in first.average.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], value)


def test_a_shipped_model_is_trained_further(photos: Path, tmp_path: Path) -> None:
    """The averaged weights after a step of no length are those of the package."""
    options = VSpSR.from_pretrained("vspsr-x4").config["options"]
    phases = [{"name": "a", "steps": 1, "losses": {"mean_l1": 1.0}, "optimiser": {"rate": 1e-12}}]
    model = {"network": "overlapping", "options": options}
    recipe = small.recipe_of(photos, phases=phases, initial="vspsr-x4", model=model, validation={"images": 0})
    module = small.run(recipe, tmp_path / "run")
    for key, value in VSpSR.from_pretrained("vspsr-x4").network.state_dict().items():
        torch.testing.assert_close(module.average.network.state_dict()[key], value)
    export(tmp_path / "run", tmp_path / "model")
    assert "It went on from `vspsr-x4`: what that was trained on counts" in (tmp_path / "model/README.md").read_text()
    with pytest.raises(ModelError, match="vspsr-x5: neither a run with checkpoints, a model's folder nor one of vspsr"):
        small.run(small.recipe_of(photos, phases=phases, initial="vspsr-x5", model=model), tmp_path / "other")


def test_feature_networks_never_change(photos: Path, tmp_path: Path) -> None:
    """VGG19 and SqueezeNet, in steps of the run itself, weight decay and adversary included."""
    features = {
        "vgg19": {"network": "vgg19", "weights": "random"},
        "squeezenet": {"network": "squeezenet1_1", "weights": "random", "layers": ["1"]},
    }
    losses = {"perceptual": 1.0, "energy_features": {"weight": 1.0, "features": "squeezenet"}, "adversarial": 0.1}
    phases = [{"name": "a", "steps": 2, "losses": losses, "optimiser": {"rate": 0.01, "weight_decay": 0.1}}]
    before = small.FeaturesBefore()
    options = RunOptions(tmp_path, accelerator="cpu", report=str, progress=False, callbacks=(before,))
    recipe = small.recipe_of(photos, phases=phases, features=features, crop=8, validation={"images": 0})
    module = train(recipe, options)
    after = module.objective.networks.state_dict()
    assert {k.split(".")[0] for k in after} == {"vgg19", "squeezenet"}
    assert small.different(before.weights, after) == []
    assert not any(m.training for m in module.objective.networks.modules() if m is not module.objective.networks)


class Weights(lightning.Callback):
    """Keeps the network's weights and their average after each step."""

    def __init__(self) -> None:
        self.network, self.average = list[dict[str, Tensor]](), list[dict[str, Tensor]]()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.on_train_batch_end(trainer, pl_module)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any) -> None:
        for kept, module in ((self.network, pl_module.network), (self.average, pl_module.average.network)):
            kept.append({k: v.clone() for k, v in module.state_dict().items()})


@pytest.mark.parametrize("ema", [0.0, 0.3, 0.999])
def test_the_averages_warm_up_is_what_it_says(ema: float, photos: Path, tmp_path: Path) -> None:
    """After step t the decay is min(`ema`, (1 + t) / (10 + t)): 2/11, 3/12, … up to `ema`; 0 keeps no average."""
    kept = Weights()
    options = RunOptions(tmp_path, accelerator="cpu", report=str, progress=False, callbacks=(kept,))
    train(small.recipe_of(photos, ema=ema, optimiser={"rate": 0.05}), options)
    assert len(kept.network) == 7
    assert small.different(kept.network[0], kept.average[0]) == []
    for key, expected in kept.network[0].items():
        for step in range(1, 7):
            decay = min(ema, [2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16][step - 1])
            expected = decay * expected + (1 - decay) * kept.network[step][key]
            torch.testing.assert_close(kept.average[step][key], expected, rtol=1e-4, atol=1e-6)
    weight = "trunk.head.weight"
    assert all(not torch.equal(a[weight], b[weight]) for a, b in pairwise(kept.network))
    assert (ema == 0) == torch.equal(kept.average[-1][weight], kept.network[-1][weight])


def test_losses_fall_and_validation_is_better_than_bicubic(photos: Path, tmp_path: Path) -> None:
    phases = [{"name": "a", "steps": 60, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}}]
    changes = {"phases": phases, "batch": 4, "log_every": 20, "optimiser": {"rate": 3e-3}}
    small.run(small.recipe_of(photos, **changes, checkpoints={"minutes": 5}), tmp_path)
    rows = table(tmp_path / "metrics.csv")
    losses = [float(r["train/loss"]) for r in rows if r["train/loss"]]
    assert losses[-1] < 0.9 * losses[0]
    assert float(rows[-1]["val/psnr_mean"]) > float(rows[-1]["val/psnr_bicubic"])


def test_bf16_trains(photos: Path, tmp_path: Path) -> None:
    module = small.run(small.recipe_of(photos, precision="bf16"), tmp_path)
    assert {v.dtype for v in module.network.parameters()} == {torch.float32}
    assert all(v.isfinite().all() for v in small.weights(module).values())


class TestSchedule:
    def test_shares_steps_and_epochs(self, photos: Path) -> None:
        losses = {"mean_l1": 1.0}
        phases = [
            {"name": "a", "share": 0.3, "losses": losses},
            {"name": "b", "share": 0.7, "losses": losses},
            {"name": "c", "epochs": 3, "losses": losses, "batch": 5},
            {"name": "d", "steps": 7, "losses": losses, "crop": 9},
        ]
        schedule = Schedule(small.recipe_of(photos, steps=101, phases=phases), n_images=20)
        assert [(s.start, s.stop) for s in schedule.phases] == [(0, 30), (30, 101), (101, 113), (113, 120)]
        assert schedule.crops()[101] == (5, 6)
        assert schedule.crops()[119] == (2, 9)
        assert len(schedule.crops()) == schedule.steps == 120
        assert Schedule(small.recipe_of(photos, steps=101, phases=phases), n_images=20, world=2).phases[2].stop == 107

    def test_schedules(self, photos: Path) -> None:
        losses = {"mean_l1": 1.0}
        own = {"kind": "step", "every": 4, "factor": 0.1}
        phases = [
            {"name": "a", "steps": 100, "losses": losses},
            {"name": "b", "steps": 10, "losses": losses, "optimiser": {"rate": 1e-2}, "schedule": own},
        ]
        schedule = {"kind": "cosine", "warmup": 10, "floor": 0.1}
        schedule = Schedule(small.recipe_of(photos, phases=phases, schedule=schedule, optimiser={"rate": 1.0}), 20)
        assert schedule.rate(0) == pytest.approx(0.1)
        assert schedule.rate(55) == pytest.approx(0.1 + 0.9 * 0.5)
        assert [schedule.rate(s) for s in (100, 103, 104, 108)] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4])

    def test_shares_beyond_one(self, photos: Path) -> None:
        phases = [{"name": n, "share": 0.6, "losses": {"mean_l1": 1.0}} for n in "ab"]
        with pytest.raises(RecipeError, match=r"sum to 1\.2"):
            Schedule(small.recipe_of(photos, steps=10, phases=phases), 5)
