"""The model of a recipe."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vspsr.errors import ModelError
from vspsr.model import VSpSR, shipped_models
from vspsr.nn.pretrained import load_pretrained, pretrained_part
from vspsr.state_dicts import load
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.recipe import Recipe, RecipeError

_FIRST = "trunk.head.weight"


def build_model(recipe: Recipe, state: Mapping[str, Tensor] | None = None) -> VSpSR:
    """The model of a recipe, in evaluation mode.

    Args:
        recipe: the recipe.
        state: weights of the network, of a checkpoint; None for those at the start of the run: drawn from torch's
            generator or from `initial`.

    Raises:
        RecipeError: options that the network does not have, or a `mean_gradient_scale` where samples are not affine in
            their coefficients.
        ModelError: `initial` cannot be read or does not fit.
    """
    arguments = {**dict(recipe.model), "trained_on_jpegs": recipe.data.jpeg is not None}
    if (part := recipe.deterministic) is not None:
        options = arguments["options"] = dict(recipe.model.options)
        if state is None:
            options["deterministic"] = load_pretrained(part.checkpoint, int(options.get("scale", 4)), part.trainable)
        else:  # the checkpoint holds the pretrained part too: its own file may be gone
            options["deterministic"] = pretrained_part(state, "", "the checkpoint")
    try:
        model = VSpSR(**arguments)
    except ValueError as error:
        raise RecipeError(f"`model`: {error}") from error
    if state is not None:
        load(model.network, state, "the checkpoint", "does not fit its recipe:")
    elif (path := recipe.initial) is not None:
        initial = _with_new_inputs(_initial_state(path), model.network.state_dict())
        load(model.network, initial, str(path), "does not fit the recipe's model:")
    if any(getattr(loss, "mean_gradient_scale", 1) < 1 for phase in recipe.phases for _, loss in phase.terms()):
        with torch.no_grad():
            if not model(torch.zeros(1, 3, 16, 16)).is_gaussian:
                raise RecipeError(
                    "`mean_gradient_scale`: must be 1 where samples are not affine in the coefficients: "
                    "with `convolutions` or a `stochastic_basis`"
                )
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _with_new_inputs(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights of a network that did not see the quantisation, with zeros for it where the new one does."""
    first, shape = state.get(_FIRST), wanted[_FIRST].shape if _FIRST in wanted else None
    if first is None or shape is None or first.shape[:1] + first.shape[2:] != shape[:1] + shape[2:]:
        return state
    missing = shape[1] - first.shape[1]
    return {**state, _FIRST: F.pad(first, (0, 0, 0, 0, 0, missing))} if missing > 0 else state


def _initial_state(path: Path) -> Mapping[str, Tensor]:
    """Weights of a shipped model by name, a folder of `save_pretrained`, a run's newest checkpoint or a given one.

    Of checkpoints the averaged weights. ModelError where nothing of these is there.
    """
    if str(path) in shipped_models() or (path / "config.json").exists():
        return VSpSR.from_pretrained(path).network.state_dict()
    found = path if path.is_file() else latest(path)
    if found is None:
        known = ", ".join(shipped_models())
        raise ModelError(f"{path}: neither a run with checkpoints, a model's folder nor one of {known}")
    return read_checkpoint(found)["average"]  # type: ignore[no-any-return]
