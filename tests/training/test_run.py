"""The training loop: exact resumption, two processes, pieces of a batch, phases, the clock, checkpoints, logs."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import training_runs as small
import yaml
from torch import Tensor

from vspsr.errors import ModelError, VSpSRError
from vspsr.model import VSpSR
from vspsr.training.build import build_model
from vspsr.training.checkpoint import latest, read_checkpoint, write_checkpoint
from vspsr.training.engine import Engine
from vspsr.training.export import export
from vspsr.training.losses.adversarial import PatchDiscriminator
from vspsr.training.recipe import RecipeError
from vspsr.training.run import RunOptions, train
from vspsr.training.schedule import Schedule


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos", height=80, width=96)


def test_a_run_leaves_all_it_promises(photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    engine = small.run(small.recipe_of(photos), tmp_path, lines=lines)
    assert engine.step == 6
    assert "4 training images, 1 validation images" in lines[0]
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000005.pt", "step-00000006.pt"]
    rows = small.table(tmp_path)
    assert [r["step"] for r in rows] == ["2", "4", "6"]
    assert float(rows[0]["train/energy_pixels"]) > 0
    assert float(rows[1]["val/psnr_mean"]) > 10
    assert rows[0]["val/psnr_mean"] == ""
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["step-00000004.png", "step-00000006.png"]
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["crop"] == 6
    with pytest.raises(VSpSRError, match="holds a run already: --resume"):
        small.run(small.recipe_of(photos), tmp_path)


def test_a_batch_that_processes_cannot_share(photos: Path) -> None:
    recipe = small.recipe_of(photos, batch=3)
    crops: Any = SimpleNamespace(photographs=range(4))
    two: Any = SimpleNamespace(device=torch.device("cpu"), world_size=2)
    with pytest.raises(RecipeError, match="`batch` 3 is no multiple of 2 devices"):
        Engine(recipe, build_model(recipe), crops, two)


def test_a_run_goes_on_in_other_pieces(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path)
    assert latest(tmp_path) is not None
    (tmp_path / "checkpoints" / "step-00000006.pt").unlink()
    assert small.run(small.recipe_of(photos, micro_batch=1), tmp_path, resume=True).step == 6


def test_an_adversarial_run_does_not_go_on_in_other_pieces(photos: Path, tmp_path: Path) -> None:
    """The discriminator normalises each piece by itself."""
    phases = [{"name": "a", "steps": 1, "losses": {"mean_l1": 1.0, "adversarial": 0.1}}]
    small.run(small.recipe_of(photos, phases=phases, batch=4), tmp_path)
    with pytest.raises(RecipeError, match=r"`micro_batch` differs from the run .*None there, 2 here"):
        small.run(small.recipe_of(photos, phases=phases, batch=4, micro_batch=2), tmp_path, resume=True)


def test_the_discriminator_judges_a_sample_as_the_network_learns_from(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch normalisation is over a whole call, so samples and photographs come in calls of their own."""
    calls: list[tuple[bool, Tensor]] = []
    forward = PatchDiscriminator.forward

    def judged(self: PatchDiscriminator, x: Tensor) -> Tensor:
        calls.append((x.requires_grad, forward(self, x)))
        return calls[-1][1]

    monkeypatch.setattr(PatchDiscriminator, "forward", judged)
    phases = [{"name": "a", "steps": 2, "losses": {"mean_l1": 1.0, "adversarial": 0.1}}]
    small.run(small.recipe_of(photos, phases=phases, batch=4), tmp_path)
    assert [of_network for of_network, _ in calls] == [True, False, False] * 2
    for learnt_from, _, fake in zip(*(iter(opinion for _, opinion in calls),) * 3, strict=True):
        assert learnt_from.shape == (4,)
        torch.testing.assert_close(fake, learnt_from)


def test_a_changed_recipe_is_not_resumed(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path)
    with pytest.raises(RecipeError, match="`batch` differs from the run"):
        small.run(small.recipe_of(photos, batch=3), tmp_path, resume=True)
    (tmp_path / "checkpoints" / "step-00000006.pt").unlink()
    assert small.run(small.recipe_of(photos, log_every=3), tmp_path, resume=True).step == 6


def test_a_run_that_is_at_its_end_is_resumed_without_a_step(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path)
    before = (tmp_path / "metrics.csv").read_bytes()
    engine, signal = train(small.recipe_of(photos), RunOptions(tmp_path, resume=True, accelerator="cpu", report=str))
    assert (engine.step, engine.done, signal) == (6, True, None)
    assert (tmp_path / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "rubbish", "empty", "other", "shape"])
def test_a_spoiled_checkpoint(photos: Path, tmp_path: Path, damage: str) -> None:
    """In one line, whatever is wrong with it."""
    small.run(small.recipe_of(photos), tmp_path)
    found = latest(tmp_path)
    assert found is not None
    content = found.read_bytes()
    if damage in ("cut", "rubbish", "empty"):
        found.write_bytes({"cut": content[:-100], "rubbish": b"rubbish", "empty": b""}[damage])
    elif damage == "other":
        torch.save({"weights": torch.zeros(3)}, found)
    else:
        state = read_checkpoint(found)
        state["network"]["atoms"] = torch.zeros(2)
        write_checkpoint(found, state)
    with pytest.raises(ModelError, match=r"step-00000006\.pt: ") as caught:
        small.run(small.recipe_of(photos), tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_initial_weights_from_another_run(photos: Path, tmp_path: Path) -> None:
    first = small.run(small.recipe_of(photos), tmp_path / "a")
    phases = [{"name": "b", "steps": 1, "losses": {"mean_l1": 1.0}, "optimiser": {"rate": 1e-12}}]
    second = small.run(small.recipe_of(photos, phases=phases, initial=str(tmp_path / "a")), tmp_path / "b")
    for key, value in first.average.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], value)


def test_a_shipped_model_is_trained_further(photos: Path, tmp_path: Path) -> None:
    """The averaged weights after a step of no length are those of the package."""
    config = VSpSR.from_pretrained("vspsr-x4").config
    phases = [{"name": "a", "steps": 1, "losses": {"mean_l1": 1.0}, "optimiser": {"rate": 1e-12}}]
    model = {"network": config["network"], "options": config["options"]}
    recipe = small.recipe_of(photos, phases=phases, initial="vspsr-x4", model=model, validation={"images": 0})
    engine = small.run(recipe, tmp_path / "run")
    for key, value in VSpSR.from_pretrained("vspsr-x4").network.state_dict().items():
        torch.testing.assert_close(engine.average.network.state_dict()[key], value)
    export(tmp_path / "run", tmp_path / "model")
    assert "It went on from `vspsr-x4`: what that was trained on counts" in (tmp_path / "model/README.md").read_text()
    with pytest.raises(ModelError, match="vspsr-x5: no run with checkpoints, model's folder or one of vspsr"):
        small.run(small.recipe_of(photos, phases=phases, initial="vspsr-x5", model=model), tmp_path / "other")


def test_feature_networks_never_change(photos: Path, tmp_path: Path) -> None:
    """VGG19 and SqueezeNet, in steps of the run itself, weight decay and adversary included."""
    features = {
        "vgg19": {"network": "vgg19", "weights": "random"},
        "squeezenet": {"network": "squeezenet1_1", "weights": "random", "layers": ["features.1"]},
    }
    losses = {"perceptual": 1.0, "energy_features": {"weight": 1.0, "features": "squeezenet"}, "adversarial": 0.1}
    phases = [{"name": "a", "steps": 2, "losses": losses, "optimiser": {"rate": 0.01, "weight_decay": 0.1}}]
    recipe = small.recipe_of(photos, phases=phases, features=features, crop=8, validation={"images": 0})
    states: list[dict[str, Tensor]] = []
    engine = small.run(
        recipe,
        tmp_path,
        progress=lambda e, _: states.append({k: v.clone() for k, v in e.objective.networks.state_dict().items()}),
    )
    assert {k.split(".")[0] for k in states[0]} == {"vgg19", "squeezenet"}
    assert small.different(states[0], states[1]) == []
    assert not any(p.requires_grad or p.grad is not None for p in engine.objective.parameters())
    assert not any(m.training for m in engine.objective.networks.modules())


@pytest.mark.parametrize("ema", [0.0, 0.3, 0.999])
def test_the_averages_warm_up_is_what_it_says(ema: float, photos: Path, tmp_path: Path) -> None:
    """After t steps the decay is min(`ema`, t / (t + 9)): 1/10, 2/11, … up to `ema`; 0 keeps no average."""
    recipe = small.recipe_of(photos, ema=ema, optimiser={"rate": 0.05})
    torch.manual_seed(0)
    start = build_model(recipe).network.state_dict()
    network, average = [{k: v.clone() for k, v in start.items()}], list[dict[str, Tensor]]()

    def keep(engine: Engine, _: object) -> None:
        for kept, module in ((network, engine.network), (average, engine.average.network)):
            kept.append({k: v.clone() for k, v in module.state_dict().items()})

    small.run(recipe, tmp_path, progress=keep)
    assert len(average) == 6
    for key, expected in network[0].items():
        for t in range(1, 7):
            decay = min(ema, [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15][t - 1])
            expected = decay * expected + (1 - decay) * network[t][key]
            torch.testing.assert_close(average[t - 1][key], expected, rtol=1e-4, atol=1e-6)
    weight = "trunk.head.weight"
    assert all(not torch.equal(a[weight], b[weight]) for a, b in pairwise(network))
    assert (ema == 0) == torch.equal(average[-1][weight], network[-1][weight])


def test_losses_fall_and_validation_is_better_than_bicubic(photos: Path, tmp_path: Path) -> None:
    phases = [{"name": "a", "steps": 60, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}}]
    changes = {"phases": phases, "batch": 4, "log_every": 20, "optimiser": {"rate": 3e-3}}
    small.run(small.recipe_of(photos, **changes, checkpoints={"minutes": 5}), tmp_path)
    rows = small.table(tmp_path)
    losses = [float(r["train/loss"]) for r in rows if r["train/loss"]]
    assert losses[-1] < 0.9 * losses[0]
    assert float(rows[-1]["val/psnr_mean"]) > float(rows[-1]["val/psnr_bicubic"])


def test_bf16_trains(photos: Path, tmp_path: Path) -> None:
    engine = small.run(small.recipe_of(photos, precision="bf16", **small.everything(photos)), tmp_path)
    assert {v.dtype for v in engine.network.parameters()} == {torch.float32}
    assert all(v.isfinite().all() for v in small.weights(engine).values())


class TestClock:
    """`--max-time`: at the end of the time the schedule is at its end, however few steps it took."""

    PHASES = (
        {"name": "a", "share": 0.25, "losses": {"mean_l1": 1.0}},
        {"name": "b", "share": 0.75, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}},
    )

    def schedule(self, photos: Path, max_time: float | None) -> Schedule:
        changes = {"phases": self.PHASES, "schedule": {"kind": "cosine", "floor": 0.02}, "optimiser": {"rate": 1.0}}
        return Schedule(small.recipe_of(photos, steps=1000, **changes), 4, max_time)

    def test_the_position_is_that_of_the_clock_where_it_is_ahead(self, photos: Path) -> None:
        schedule = self.schedule(photos, 100.0)
        assert schedule.position(3, 10.0) == 100
        assert schedule.position(300, 10.0) == 300
        assert schedule.position(30, 100.0) >= schedule.steps == 1000
        assert self.schedule(photos, None).position(3, 1e9) == 3

    @pytest.mark.parametrize("max_time", [0.0, -1.0, float("nan")])
    def test_no_time_is_refused(self, photos: Path, max_time: float) -> None:
        with pytest.raises(ValueError, match="`max_time` must be more than 0 seconds"):
            self.schedule(photos, max_time)

    def test_phases_and_rates_follow_the_position(self, photos: Path) -> None:
        schedule = self.schedule(photos, 100.0)
        assert schedule.stage(249.9).phase.name == "a"
        assert schedule.stage(schedule.position(1, 25.0)).phase.name == "b"
        assert schedule.stage(2000.0).phase.name == "b"
        assert schedule.rate(500.5) == pytest.approx(0.02 + 0.98 * 0.5, abs=1e-3)
        assert schedule.rate(1000.0) == pytest.approx(0.02)

    def test_a_run_ends_annealed(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock on which a step takes a second: 20 of 1000 steps, all phases, the rate down to its floor."""
        rates, names = list[float](), list[str]()
        monkeypatch.setattr("vspsr.training.engine.time.monotonic", iter(range(10**6)).__next__)

        def keep(engine: Engine, _: object) -> None:
            rates.append(engine.optimisers[0].param_groups[0]["lr"])
            names.append(engine.schedule.stage(engine.position).phase.name)

        changes = {"phases": self.PHASES, "steps": 1000, "schedule": {"floor": 0.02}, "optimiser": {"rate": 1e-3}}
        recipe = small.recipe_of(photos, **changes, checkpoints={"minutes": 10**6}, validation={"images": 0})
        engine = small.run(recipe, tmp_path, max_time=20.0, progress=keep)
        assert engine.step == len(rates) == 20
        assert engine.done
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.03e-3 < 0.9e-3 < rates[0]
        assert [names.count(name) for name in "ab"] == [4, 16]  # after the fifth step a quarter of the time is over

    def test_a_resumed_run_takes_what_is_left_of_the_time(self, photos: Path, tmp_path: Path) -> None:
        small.run(small.recipe_of(photos), tmp_path)
        (tmp_path / "checkpoints" / "step-00000006.pt").unlink()
        found = latest(tmp_path)
        assert found is not None
        write_checkpoint(found, {**read_checkpoint(found), "seconds": 50.0})
        engine = small.run(small.recipe_of(photos), tmp_path, resume=True, max_time=1000.0)
        assert engine.step == 6
        assert engine.seconds > 50

    def test_a_run_at_its_end_says_how_to_train_on(self, photos: Path, tmp_path: Path) -> None:
        """More time does not make an annealed run go back."""
        lines = list[str]()
        small.run(small.recipe_of(photos), tmp_path, max_time=1000.0, lines=lines)
        assert not any("initial=" in line for line in lines)
        assert small.run(small.recipe_of(photos), tmp_path, resume=True, max_time=10**6, lines=lines).step == 6
        assert lines[-1] == f"it is at its end: a run in another folder goes on with --set initial={tmp_path}"

    def test_less_time_may_skip_to_a_phase_with_an_optimiser_of_its_own(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It starts without the moments of the earlier phase, as it does when a step leads to it."""
        recipe = small.recipe_of(photos, phases=small.ADVERSARIAL)
        with monkeypatch.context() as patch:
            small.interrupt_at(2, patch)
            with pytest.raises(small.StoppedError):
                small.run(recipe, tmp_path)
        found = latest(tmp_path)
        assert found is not None
        write_checkpoint(found, {**read_checkpoint(found), "seconds": 5000.0})
        counts: list[float] = []

        def count(engine: Engine, _: object) -> None:
            assert engine.schedule.stage(engine.position).phase.name == "adversarial"
            counts.extend(float(state["step"]) for state in engine.optimisers[0].state.values())

        small.run(recipe, tmp_path, resume=True, max_time=10000.0, progress=count)
        assert set(counts) == {1.0, 2.0, 3.0, 4.0, 5.0}


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
        assert [(s.start, s.stop) for s in schedule.stages] == [(0, 30), (30, 101), (101, 113), (113, 120)]
        stages = [schedule.stage(position) for position in (101, 119)]
        assert [(s.batch, s.crop) for s in stages] == [(5, 6), (2, 9)]
        assert schedule.steps == 120

    def test_schedules(self, photos: Path) -> None:
        losses = {"mean_l1": 1.0}
        own = {"kind": "step", "every_epochs": 0.4, "factor": 0.1}
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
