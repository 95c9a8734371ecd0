"""Small training runs for the tests: tiny recipes, a folder of photographs, a run in this process or another."""

import csv
import math
import sys
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

from vspsr.training.engine import Engine
from vspsr.training.recipe import Recipe
from vspsr.training.recipe_file import load_recipe, parse_recipe, to_yaml
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

CORRELATED = {
    "network": "correlated",
    "options": {"n_atoms": 4, "channels": 8, "blocks": 1, "noise_channels": 3, "dilations": [1], "n_modes": 2},
}
SQUEEZENET = {"squeezenet": {"network": "squeezenet1_1", "weights": "random", "layers": ["features.1"]}}


def everything(folder: Path) -> dict[str, Any]:
    """What a recipe can ask of the data, with correlated coefficients."""
    data = {"folder": str(folder), "shrink": 1.2, "colour": 0.6, "sharpen": 1.0, "jpeg": {}}
    return {"crop": 16, "model": CORRELATED, "data": data}


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


def shipped(path: Path, folder: Path, *changes: str) -> Recipe:
    """A recipe of the package with small crops, few atoms and untrained feature networks."""
    features = [f"features.{name}.weights=random" for name in load_recipe(path).features]
    small = ["crop=16", "batch=2", "data.holdout=0", "initial=null", "model.options.n_atoms=8"]
    return load_recipe(path, [*features, *small, f"data.folder={folder}", *changes])


def run(recipe: Recipe, output: Path, resume: bool = False, lines: list[str] | None = None, **options: Any) -> Engine:
    """Trains in this process; the engine as it was after the last step."""
    report = (lines if lines is not None else []).append
    return train(recipe, RunOptions(output, resume, accelerator="cpu", report=report, **options))[0]


def weights(engine: Engine) -> dict[str, Tensor]:
    """Every tensor that training changes: network, average, discriminator."""
    found = {f"network.{k}": v for k, v in engine.network.state_dict().items()}
    found |= {f"average.{k}": v for k, v in engine.average.network.state_dict().items()}
    if engine.discriminator is not None:
        found |= {f"discriminator.{k}": v for k, v in engine.discriminator.state_dict().items()}
    return found


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> Sequence[str]:
    """Names of the tensors that are not equal bit for bit."""
    assert a.keys() == b.keys()
    return [k for k in a if not torch.equal(a[k], b[k])]


def apart(a: dict[str, Tensor], b: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """How far two networks are from each other, relative to how far training has moved the second."""

    def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
        return math.sqrt(sum(float((one[k].double() - other[k].double()).square().sum()) for k in start))

    return distance(a, b) / distance(b, start)


def table(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv; of those figures that depend on the clock, only that they are there."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{**row, **({"seconds": "some"} if row["seconds"] else {})} for row in csv.DictReader(file)]


def command(recipe: Recipe, folder: Path, *options: str) -> list[str]:
    """`vspsr train` as another process, its run in ``folder``/run."""
    (folder / "recipe.yaml").write_bytes(to_yaml(recipe))
    where = ["--config", str(folder / "recipe.yaml"), "-o", str(folder / "run"), "--accelerator", "cpu"]
    return [sys.executable, "-m", "vspsr.cli", "train", *where, *options]


class StoppedError(Exception):
    """Raised where `interrupt_at` says."""


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run is stopped in the middle of a step, after the gradient, before the weights change."""
    update = Engine._update

    def fail(self: Engine, *args: Any) -> Tensor:
        if self.step == step:
            raise StoppedError
        return update(self, *args)

    monkeypatch.setattr(Engine, "_update", fail)
