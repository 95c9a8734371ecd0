"""Small training runs for the tests: a tiny recipe, a folder of photographs, a run in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("lightning", reason="the extra `train` is not installed")
pytest.importorskip("pydantic", reason="the extra `train` is not installed")

import lightning

from vspsr.training.module import SpaceTraining
from vspsr.training.recipe import Recipe
from vspsr.training.recipe_file import parse_recipe
from vspsr.training.run import RunOptions, train

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "network": "overlapping",
        "options": {"scale": 4, "n_atoms": 4, "channels": 8, "blocks": 1, "n_modes": 2},
    },
    "crop": 6,
    "batch": 2,
    "precision": "fp32",
    "log_every": 2,
    "phases": [{"name": "pixels", "steps": 6, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}}],
    "validation": {"every": 4, "images": 1},
    "checkpoints": {"minutes": 0, "keep": 2},
}

ADVERSARIAL = [
    {"name": "pixels", "steps": 3, "losses": {"mean_l1": 1.0, "energy_pixels": 1.0}},
    {
        "name": "adversarial",
        "steps": 4,
        "losses": {"energy_pixels": 1.0, "adversarial": {"weight": 0.1}},
        "optimiser": {"rate": 1e-4},
        "schedule": {"kind": "constant"},
    },
]


def photographs(folder: Path, count: int = 5, height: int = 48, width: int = 64) -> Path:
    """Smooth random pictures, the last kept for validation."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def recipe_of(folder: Path, **changes: Any) -> Recipe:
    return parse_recipe({**RECIPE, "data": {"folder": str(folder)}, **changes})


def run(recipe: Recipe, output: Path, resume: bool = False, lines: list[str] | None = None) -> SpaceTraining:
    report = (lines if lines is not None else []).append
    return train(recipe, RunOptions(output, resume, accelerator="cpu", report=report, progress=False))


def weights(module: SpaceTraining) -> dict[str, Tensor]:
    """Every tensor that training changes: network, average, discriminator."""
    found = {f"network.{k}": v for k, v in module.network.state_dict().items()}
    found |= {f"average.{k}": v for k, v in module.average.network.state_dict().items()}
    if module.discriminator is not None:
        found |= {f"discriminator.{k}": v for k, v in module.discriminator.state_dict().items()}
    return found


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> Sequence[str]:
    """Names of the tensors that are not equal bit for bit."""
    assert a.keys() == b.keys()
    return [k for k in a if not torch.equal(a[k], b[k])]


class FeaturesBefore(lightning.Callback):
    """Keeps the feature networks' weights as they are when the run begins."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.weights = {k: v.clone() for k, v in pl_module.objective.networks.state_dict().items()}


class StoppedError(Exception):
    """Raised where `interrupt_at` says."""


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run is stopped in the middle of a step, after the gradient, before the weights change."""
    update = SpaceTraining._update

    def fail(self: SpaceTraining, *args: object) -> object:
        if self.step == step:
            raise StoppedError
        return update(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SpaceTraining, "_update", fail)
