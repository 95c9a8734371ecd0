"""No step waits for the device: nothing is read back from it, on a GPU and, by what is called, on a CPU."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs as small
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from vspsr.data import crops
from vspsr.training.checkpoint import latest
from vspsr.training.engine import Engine
from vspsr.training.losses import Losses, StepImages
from vspsr.training.losses.distances import MeanL1
from vspsr.training.recipe import Recipe
from vspsr.training.run import RunOptions, train

WAITS = {"aten::" + n for n in ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2")}
"""Operations whose result or shape the processor needs; `item`, `int` and `if` call the first."""

OPTIONS: dict[str, Any] = {"energy_pixels": {"weight": 1, "bands": 2}, "log_power_crps": {"weight": 1, "block": 8}}
FIRST, LAST = 2, 5
"""The steps that are looked at. The ones before choose kernels and allocate memory."""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Every loss there is. Nothing is logged, validated or saved in the steps looked at: figures are read for that."""
    photos = small.photographs(tmp_path / "photos", height=80, width=96)
    losses = {name: OPTIONS.get(name, {"weight": 1}) for name in Losses.__annotations__}
    losses["perceptual"] = {"weight": 1, "features": "squeezenet"}
    phases = [{"name": "a", "steps": LAST + 1, "losses": losses}]
    quiet = {"log_every": 100, "validation": {"images": 0}, "checkpoints": {"minutes": 60}}
    return small.recipe_of(photos, phases=phases, features=small.SQUEEZENET, **quiet, **small.everything(photos))


def waits(recipe: Recipe, output: Path) -> Counter[str]:
    """Operations of some steps that would wait for a GPU: how many of each."""
    trace = profile(activities=[ProfilerActivity.CPU])

    def watch(engine: Engine, _: object) -> None:
        if engine.step == FIRST:
            trace.start()
        if engine.step == LAST:
            trace.stop()

    small.run(recipe, output, progress=watch)
    events = trace.events() or []
    called = Counter(event.name for event in events)
    # Adam on the CPU reads its count of steps, a tensor; on a GPU that lies on the device, and its kernel reads it.
    adams = {id(event) for event in events if event.name == "aten::_fused_adam_"}
    assert len(adams) == 2 * (LAST - FIRST)  # of the network and of the discriminator
    assert called["aten::convolution_backward"] > 0

    def of_adam(event: Any) -> bool:
        return event is not None and (id(event) in adams or of_adam(event.cpu_parent))

    return Counter(event.name for event in events if event.name in WAITS and not of_adam(event))


def test_no_step_reads_from_the_device(recipe: Recipe, tmp_path: Path) -> None:
    assert not waits(recipe, tmp_path / "run")


def test_what_reads_from_the_device_is_found(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a loss, in the gradient and in crops."""
    value, rounded = MeanL1.value, crops._rounded

    def read_in_loss(self: MeanL1, images: StepImages) -> Tensor:
        loss = value(self, images)
        loss.register_hook(lambda gradient: gradient if bool(gradient.isfinite()) else None)
        return loss / loss.item()

    def read_in_crops(image: Tensor) -> Tensor:
        image = rounded(image)
        return image[image.flatten(1).amax(1) >= 0]

    monkeypatch.setattr(MeanL1, "value", read_in_loss)
    monkeypatch.setattr(crops, "_rounded", read_in_crops)
    found = waits(recipe, tmp_path / "run")
    steps = LAST - FIRST
    assert found.keys() == {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero"}
    assert found["aten::_local_scalar_dense"] == 2 * steps
    assert found["aten::nonzero"] == 3 * steps  # shrinking, sharpening, colour


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_step_waits_for_the_gpu(recipe: Recipe, tmp_path: Path) -> None:
    def forbid(engine: Engine, _: object) -> None:
        torch.cuda.set_sync_debug_mode("error" if FIRST <= engine.step < LAST else "default")

    try:
        train(recipe, RunOptions(tmp_path / "run", accelerator="gpu", devices=1, report=str, progress=forbid))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert latest(tmp_path / "run") is not None
