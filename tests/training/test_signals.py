"""Runs that stop: signals, failures, other data on resumption; what is logged and kept as best over phases."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import training_runs as small
import yaml
from PIL import Image

from vspsr.errors import VSpSRError
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.run import RunOptions, train


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos")


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def endless(photos: Path) -> Recipe:
    phases = [{"name": "a", "steps": 100_000, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}}]
    quiet = {"checkpoints": {"minutes": 60}, "validation": {"images": 0}, "log_every": 5}
    return small.recipe_of(photos, phases=phases, schedule={"kind": "constant"}, **quiet)


@pytest.mark.parametrize("devices", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_a_step_and_saves(number: int, devices: str, photos: Path, tmp_path: Path) -> None:
    """As a terminal sends it: to all processes."""
    config, output = tmp_path / "recipe.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(endless(photos).model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-m", "vspsr.cli", "train", "--config", config, "-o", output, "--accelerator", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--devices", devices],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (output / "metrics.csv").is_file() and len(rows_of(output)) > 1:
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
    assert f"stopped at step {step} of 100000: --resume goes on" in said


def test_a_run_stopped_by_a_signal_goes_on_exactly(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small.recipe_of(photos, phases=small.ADVERSARIAL, checkpoints={"minutes": 60})
    whole = small.run(recipe, tmp_path / "whole")
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    with monkeypatch.context() as patch:
        update = small.SpaceTraining._update

        def signalled(self: small.SpaceTraining, *args: Any) -> Any:
            if self.step == 4:
                signal.raise_signal(signal.SIGTERM)
            return update(self, *args)

        patch.setattr(small.SpaceTraining, "_update", signalled)
        stopped = small.run(recipe, tmp_path / "parts")
    assert (stopped.step, stopped.received) == (5, signal.SIGTERM)
    assert {s: signal.getsignal(s) for s in before} == before
    resumed = small.run(recipe, tmp_path / "parts", resume=True)
    assert resumed.received is None
    assert small.different(small.weights(whole), small.weights(resumed)) == []


LOADER = """
import sys
from pathlib import Path
from vspsr import Degradation
from vspsr.data.crops import CropDataset, StepSampler, crop_loader
from vspsr.data.files import find_images

if __name__ == "__main__":
    data = CropDataset(find_images(Path(sys.argv[1]), 4, 6, holdout=0).train, Degradation(4), 0, 10**8)
    batches = iter(crop_loader(data, StepSampler([(2, 6)] * 10**6), 1, pin_memory=False))
    next(batches)
    print(batches._workers[0].pid, flush=True)
    sys.stdin.read()
"""


def test_processes_that_make_batches_end_when_their_parent_is_killed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "loader.py").write_text(LOADER)
    command = [sys.executable, str(tmp_path / "loader.py"), str(photos)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert worker.is_running()
        parent.kill()
    with suppress(psutil.NoSuchProcess):  # it is gone, or nobody has asked for its exit code yet
        deadline = time.monotonic() + 20
        while worker.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                worker.kill()
                pytest.fail("the process that makes batches outlives its parent")
            time.sleep(0.05)


def test_a_second_ctrl_c_stops_at_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: small.SpaceTraining, *args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(small.SpaceTraining, "_update", twice)
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
    for change in ({"colour": 1.0}, {"augment": False}, {"sharpen": 2.0}):
        recipe = small.recipe_of(photos, data={"folder": str(photos), **change})
        with pytest.raises(RecipeError, match=rf"`data.{next(iter(change))}` differs from the run"):
            small.run(recipe, run, resume=True)
    other = small.photographs(tmp_path / "other")
    Image.open(other / "0.png").crop((0, 0, 60, 44)).save(other / "0.png")
    with pytest.raises(VSpSRError, match="not the training images that the run in"):
        small.run(small.recipe_of(other), run, resume=True)
    moved = small.photographs(tmp_path / "moved")
    data = {"folder": str(moved), "memory_gb": 1.0}
    assert small.run(small.recipe_of(moved, data=data), run, resume=True).step == 6


PHASES = [
    {"name": "pixels", "steps": 3, "losses": {"mean_l1": 1.0}},
    {
        "name": "features",
        "steps": 4,
        "losses": {"mean_l1": 1.0, "energy_features": {"weight": 2.0, "features": "squeezenet"}},
    },
]
FEATURES = {"squeezenet": {"network": "squeezenet1_1", "weights": "random", "layers": ["1"]}}


def test_what_is_logged_belongs_to_one_phase(photos: Path, tmp_path: Path) -> None:
    """A row of two phases would average a loss over steps that did not have it."""
    changes = {"phases": PHASES, "features": FEATURES, "crop": 8, "validation": {"images": 0}}
    small.run(small.recipe_of(photos, **changes, log_every=100), tmp_path / "few")
    small.run(small.recipe_of(photos, **changes, log_every=1), tmp_path / "all")
    few, every = rows_of(tmp_path / "few"), rows_of(tmp_path / "all")
    assert [row["step"] for row in few] == ["3", "7"]
    assert few[0]["train/energy_features"] == ""
    for name in ("train/energy_features", "train/mean_l1"):
        mean = sum(float(row[name]) for row in every[3:]) / 4
        assert float(few[1][name]) == pytest.approx(mean, rel=1e-5)


def test_the_best_is_told_over_all_phases(photos: Path, tmp_path: Path) -> None:
    """By the same figure in every phase, or the one with the fewest losses would always win."""
    changes = {"phases": PHASES, "features": FEATURES, "crop": 8, "validation": {"images": 1, "every": 1}}
    small.run(small.recipe_of(photos, **changes), tmp_path)
    rows = [row for row in rows_of(tmp_path) if row["val/energy"]]
    assert len(rows) == 7
    energies = [float(row["val/energy"]) for row in rows]
    for row, energy in zip(rows, energies, strict=True):
        assert energy == pytest.approx(
            float(row["val/energy_pixels"]) + 2 * float(row["val/energy_features"]), rel=1e-4
        )
    best = read_checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert best["step"] == 1 + energies.index(min(energies))


@pytest.mark.parametrize(("accelerator", "devices"), [("cpu", "two"), ("tpu", "1"), ("abacus", "auto")])
def test_devices_that_are_not_there(accelerator: str, devices: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(VSpSRError, match=f"`--accelerator` {accelerator}, `--devices` {devices}: cannot be had here"):
        train(small.recipe_of(photos), RunOptions(tmp_path, accelerator=accelerator, devices=devices))
