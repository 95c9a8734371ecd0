"""The model of a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vspsr.errors import ModelError
from vspsr.files import one_line
from vspsr.model import VSpSR
from vspsr.pretrained import load_pretrained, pretrained_from_state
from vspsr.space import check_temperature
from vspsr.training.recipe import Recipe, RecipeError

__all__ = ["build_model", "load_initial", "model_of", "plain"]


def build_model(recipe: Recipe) -> VSpSR:
    """The model as at the start of the run, its weights drawn from torch's generator or from `initial`.

    Raises:
        RecipeError: options that the network does not have.
        ModelError: `initial` cannot be read or does not fit.
    """
    options = dict(recipe.model.options)
    if (part := recipe.deterministic) is not None:
        options["deterministic"] = load_pretrained(part.checkpoint, int(options.get("scale", 4)), part.trainable)
    try:
        model = VSpSR(recipe.model.network, options, recipe.model.kernel, recipe.model.temperature)
    except ValueError as error:
        raise RecipeError(f"`model`: {error}") from error
    if recipe.initial is not None:
        load_initial(model, recipe.initial)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def load_initial(model: VSpSR, path: Path) -> None:
    """Weights from a run's checkpoint (its average), a run's folder (its newest), or a folder of `save_pretrained`."""
    from vspsr.training.checkpoint import latest, read_checkpoint

    state: Mapping[str, Tensor]
    if path.is_dir() and (path / "config.json").exists():
        state = VSpSR.from_pretrained(path).network.state_dict()
    else:
        found = latest(path) if path.is_dir() else path
        if found is None:
            raise ModelError(f"{path}: neither a run with checkpoints nor a model to start from")
        state = read_checkpoint(found)["average"]
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path}: does not fit the recipe's model ({one_line(error)[:200]})") from error


def model_of(recipe: Recipe, state: Mapping[str, Tensor], temperature: float | None = None) -> VSpSR:
    """A recipe's model with the weights of a checkpoint, in evaluation mode. Raises as `build_model`."""
    part = recipe.deterministic
    if part is None:
        model = build_model(recipe.model_copy(update={"initial": None}))
    else:  # the checkpoint holds the pretrained part too: its own file may be gone
        prefix = "deterministic.module."
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        options = {**recipe.model.options, "deterministic": pretrained_from_state(inner, "the checkpoint")}
        model = VSpSR(recipe.model.network, options, recipe.model.kernel, recipe.model.temperature)
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"the checkpoint does not fit its recipe ({one_line(error)[:200]})") from error
    if temperature is not None:
        model.temperature = model.config["temperature"] = check_temperature(temperature)
    return model.eval()


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain containers, defaults left out."""
    return recipe.model_dump(mode="json", exclude_unset=True)
