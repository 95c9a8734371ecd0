"""Checkpoints: files of tensors and plain containers, written completely or not at all, read without unpickling.

A checkpoint holds `SpaceTraining.state`, the recipe, the configuration of the model and the best figure so far.
"""

import re
from pathlib import Path
from typing import Any

import torch

from vspsr.errors import ModelError
from vspsr.files import one_line, replacing
from vspsr.training.recipe import Recipe, RecipeError, parse_recipe

__all__ = ["check_same_recipe", "latest", "prune", "read_checkpoint", "write_checkpoint"]

FORMAT = 1
_NAME = re.compile(r"step-(\d+)\.pt")
_KEYS = {"format", "recipe", "model", "step", "network", "average", "optimisers", "best"}

FREE = ("name", "description", "data", "initial", "validation", "checkpoints", "log_every")
"""Entries of a recipe that may change when a run is resumed: the weights do not depend on them."""


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then move it into place. OutputError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as file:
        torch.save({"format": FORMAT, **content}, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, on the CPU.

    Raises:
        ModelError: the file is missing, damaged, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        raise ModelError(f"{path}: cannot be read as a checkpoint ({one_line(error)[:150]})") from error
    if not isinstance(content, dict) or not content.keys() >= _KEYS or content["format"] != FORMAT:
        raise ModelError(f"{path}: not a checkpoint of `vspsr train`")
    return content


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run's folder, or None. What an interrupted write has left there is cleared away."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return None
    for leftover in folder.glob(".vspsr-*.tmp"):
        leftover.unlink(missing_ok=True)
    return max(_numbered(folder), default=None, key=lambda p: p.name)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest numbered checkpoints."""
    for path in sorted(_numbered(folder), key=lambda p: p.name)[:-keep]:
        path.unlink(missing_ok=True)


def check_same_recipe(recipe: Recipe, saved: Any, path: Path) -> None:
    """RecipeError where a run would go on by another recipe than it began with: it could not be exact."""
    ours, theirs = recipe.model_dump(mode="json"), parse_recipe(saved, str(path)).model_dump(mode="json")
    for key in ours:
        if key not in FREE and ours[key] != theirs[key]:
            raise RecipeError(
                f"`{key}` differs from the run in {path.parent.parent} ({theirs[key]} there, {ours[key]} here): resume "
                "with the same recipe, or start a new run with `initial` set to the old one"
            )


def _numbered(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if _NAME.fullmatch(p.name)]
