"""Runs that stop: signals, failures, other data on resumption; what is logged over phases."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import training_runs as small
from PIL import Image

from vspsr.errors import VSpSRError
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.engine import Engine
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.run import RunOptions, train


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos")


def endless(photos: Path) -> Recipe:
    phases = [{"name": "a", "steps": 100_000, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}}]
    quiet = {"checkpoints": {"minutes": 60}, "validation": {"images": 0}, "log_every": 5}
    return small.recipe_of(photos, phases=phases, schedule={"kind": "constant"}, **quiet)


@pytest.mark.parametrize(("number", "devices"), [(signal.SIGTERM, "1"), (signal.SIGINT, "2")])
def test_a_signal_stops_after_a_step_and_saves(number: int, devices: str, photos: Path, tmp_path: Path) -> None:
    """As a terminal sends it: to all processes."""
    output = tmp_path / "run"
    process = subprocess.Popen(
        small.command(endless(photos), tmp_path, "--devices", devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (output / "metrics.csv").is_file() and len(small.table(output)) > 1:
                break
            time.sleep(0.05)
        os.killpg(process.pid, number)
        said, complained = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + number, complained[-2000:]
    assert "Traceback" not in complained
    found = latest(output)
    assert found is not None
    step = read_checkpoint(found)["step"]
    assert step > 5
    assert f"stopped after {step} steps: --resume goes on" in said


def test_a_run_stopped_by_a_signal_goes_on_exactly(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small.recipe_of(photos, phases=small.ADVERSARIAL, checkpoints={"minutes": 60})
    whole = small.run(recipe, tmp_path / "whole")
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    with monkeypatch.context() as patch:
        update = Engine._update

        def signalled(self: Engine, *args: Any) -> Any:
            if self.step == 4:
                signal.raise_signal(signal.SIGTERM)
            return update(self, *args)

        patch.setattr(Engine, "_update", signalled)
        engine, stopped_by = train(recipe, RunOptions(tmp_path / "parts", accelerator="cpu", report=str))
    assert (engine.step, engine.done, stopped_by) == (5, False, signal.SIGTERM)
    assert {s: signal.getsignal(s) for s in before} == before
    resumed = small.run(recipe, tmp_path / "parts", resume=True)
    assert small.different(small.weights(whole), small.weights(resumed)) == []


def test_a_second_ctrl_c_stops_at_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: Engine, *args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Engine, "_update", twice)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        small.run(small.recipe_of(photos), tmp_path)
    assert latest(tmp_path) is None


def test_a_run_that_fails_before_its_first_step_leaves_its_folder_free(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        small.interrupt_at(0, patch)
        with pytest.raises(small.StoppedError):
            small.run(small.recipe_of(photos), tmp_path)
    assert latest(tmp_path) is None
    assert small.run(small.recipe_of(photos, batch=3), tmp_path).step == 6


def test_other_data_is_not_resumed(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small.run(small.recipe_of(photos), run)
    for change in ({"colour": 1.0}, {"turn": False}, {"sharpen": 2.0}):
        recipe = small.recipe_of(photos, data={"folder": str(photos), **change})
        with pytest.raises(RecipeError, match=rf"`data.{next(iter(change))}` differs from the run"):
            small.run(recipe, run, resume=True)
    other = small.photographs(tmp_path / "other")
    Image.open(other / "0.png").crop((0, 0, 60, 44)).save(other / "0.png")
    with pytest.raises(VSpSRError, match="not the training images that the run in"):
        small.run(small.recipe_of(other), run, resume=True)
    moved = small.photographs(tmp_path / "moved")
    data = {"folder": str(moved), "memory_gb": 1.0}
    (run / "checkpoints" / "step-00000006.pt").unlink()
    assert small.run(small.recipe_of(moved, data=data), run, resume=True).step == 6


PHASES = [
    {"name": "pixels", "steps": 3, "losses": {"mean_l1": 1.0}},
    {
        "name": "features",
        "steps": 4,
        "losses": {"mean_l1": 1.0, "energy_features": {"weight": 2.0, "features": "squeezenet"}},
    },
]
FEATURES = {"squeezenet": {"network": "squeezenet1_1", "weights": "random", "layers": ["features.1"]}}


def test_what_is_logged_belongs_to_one_phase(photos: Path, tmp_path: Path) -> None:
    """A row of two phases would average a loss over steps that did not have it."""
    changes = {"phases": PHASES, "features": FEATURES, "crop": 8, "validation": {"images": 0}}
    small.run(small.recipe_of(photos, **changes, log_every=100), tmp_path / "few")
    small.run(small.recipe_of(photos, **changes, log_every=1), tmp_path / "all")
    few, every = small.table(tmp_path / "few"), small.table(tmp_path / "all")
    assert [row["step"] for row in few] == ["3", "7"]
    assert few[0]["train/energy_features"] == ""
    for name in ("train/energy_features", "train/mean_l1"):
        mean = sum(float(row[name]) for row in every[3:]) / 4
        assert float(few[1][name]) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(("accelerator", "devices"), [("cpu", "two"), ("tpu", "1"), ("abacus", "auto")])
def test_devices_that_are_not_there(accelerator: str, devices: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(VSpSRError, match=f"`--accelerator` {accelerator}, `--devices` {devices}: cannot be had here"):
        train(small.recipe_of(photos), RunOptions(tmp_path, accelerator=accelerator, devices=devices))
