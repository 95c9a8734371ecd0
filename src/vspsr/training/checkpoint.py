"""Checkpoints: files of tensors and plain containers, written completely or not at all, read without unpickling.

A checkpoint holds `Engine.state`, the recipe, the configuration of the model, and a digest of the images.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vspsr.data.files import ImagePair
from vspsr.errors import ModelError, VSpSRError
from vspsr.files import make_folder, write_bytes
from vspsr.state_dicts import read_tensors
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.recipe_file import parse_recipe

FORMAT = 2
_NAME = re.compile(r"step-\d+\.pt")
_EARLIER = {"recipe", "model", "step", "average"}  # what is read of format 1
_KEYS = _EARLIER | {"n_images", "images", "seconds", "position", "sums", "counted", "failed"}
_KEYS |= {"network", "discriminator", "optimisers"}

FREE = ("name", "description", "initial", "validation", "checkpoints", "log_every", "micro_batch", "compile")
"""Entries of a recipe that may change when a run is resumed: the weights do not depend on them."""
FREE_OF_DATA = ("folder", "lr_folder", "holdout", "memory_gb")
"""The same of its `data`; which images lie in the folders is checked by itself (`check_same_images`)."""


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then move it into place. OutputError where that fails."""
    make_folder(path.parent)
    buffer = io.BytesIO()  # on a full disk, torch would raise a RuntimeError
    torch.save({"format": FORMAT, **content}, buffer)
    write_bytes(path, buffer.getvalue(), overwrite=True)


def read_checkpoint(path: Path, to_resume: bool = True) -> dict[str, Any]:
    """A checkpoint, on the CPU.

    Args:
        to_resume: whether the run goes on from it. Otherwise it may be one of format 1, which had other engines.

    Raises:
        ModelError: the file is missing, damaged, of a run that cannot be resumed, or holds something else.
    """
    content = read_tensors(path)
    version = content.get("format") if isinstance(content, dict) else None
    if version not in (1, FORMAT) or not content.keys() >= (_KEYS if version == FORMAT else _EARLIER):
        raise ModelError(f"{path}: not a checkpoint of `vspsr train`")
    if to_resume and version != FORMAT:
        raise ModelError(f"{path}: of an earlier version, cannot be resumed: start one with `--set initial={path}`")
    return content


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run's folder, or None."""
    return max(_numbered(run / "checkpoints"), default=None)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest numbered checkpoints."""
    for path in sorted(_numbered(folder))[:-keep]:
        path.unlink(missing_ok=True)


def check_same_recipe(recipe: Recipe, saved: Any, path: Path) -> None:
    """RecipeError where a run would go on by another recipe than it began with: it could not be exact."""
    ours, theirs = recipe.model_dump(mode="json"), parse_recipe(saved, str(path), True).model_dump(mode="json")
    for side in (ours, theirs):
        data = side.pop("data")
        side |= {f"data.{key}": value for key, value in data.items() if key not in FREE_OF_DATA}
    # A discriminator normalises each piece of the batch by itself.
    free = set(FREE) - {"micro_batch"} if recipe.adversarial else set(FREE)
    free |= {"steps"} if recipe.steps is None else set()  # there they had no effect
    for key in ours:
        if key not in free and ours[key] != theirs[key]:
            raise RecipeError(
                f"`{key}` differs from the run in {path.parent.parent} ({theirs[key]} there, {ours[key]} here): resume "
                "with the same recipe, or start a new run with `initial` set to the old one"
            )


def digest(pairs: Sequence[ImagePair]) -> str:
    """Of the names and sizes of image files, wherever their folder lies."""
    files = [(file.name, file.stat().st_size) for pair in pairs for file in (pair.hr, pair.lr) if file is not None]
    return hashlib.blake2b(repr(files).encode(), digest_size=16).hexdigest()


def check_same_images(images: str, count: int, state: Mapping[str, Any], run: Path) -> None:
    """VSpSRError where a run would go on with images of another `digest` than it began with: it could not be exact."""
    if state["images"] != images:
        raise VSpSRError(
            f"`data.folder`: not the training images that the run in {run} began with, by name and size "
            f"({count} here, {state['n_images']} there): resume with the same"
        )


def _numbered(folder: Path) -> list[Path]:
    return [p for p in folder.glob("step-*.pt") if _NAME.fullmatch(p.name)]
