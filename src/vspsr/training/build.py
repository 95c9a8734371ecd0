"""The model of a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vspsr.checks import check_temperature
from vspsr.errors import ModelError, did_you_mean
from vspsr.model import VSpSR, shipped_models
from vspsr.nn.pretrained import load_pretrained, pretrained_from_state
from vspsr.state_dicts import load
from vspsr.training.recipe import Recipe, RecipeError

__all__ = ["build_model", "load_initial", "model_of"]


def build_model(recipe: Recipe) -> VSpSR:
    """The model as at the start of the run, its weights drawn from torch's generator or from `initial`.

    Raises:
        RecipeError: options or parts (`frozen`) that the network does not have, no part left to learn, or a
            `mean_gradient_scale` where samples are not affine in their coefficients.
        ModelError: `initial` cannot be read or does not fit.
    """
    options = network_options(recipe)
    if (part := recipe.deterministic) is not None:
        options["deterministic"] = load_pretrained(part.checkpoint, int(options.get("scale", 4)), part.trainable)
    try:
        model = VSpSR(recipe.model.network, options, recipe.model.kernel, recipe.model.temperature)
    except ValueError as error:
        raise RecipeError(f"`model`: {error}") from error
    if recipe.initial is not None:
        load_initial(model, recipe.initial)
    for name in recipe.frozen:
        _freeze(model.network, name)
    if recipe.frozen and not any(p.requires_grad for p in model.network.parameters()):
        raise RecipeError(f"`frozen`: {', '.join(recipe.frozen)} are the whole network: leave out what is to learn")
    if any(scale < 1 for phase in recipe.phases for scale in phase.losses.mean_gradient_scales()):
        with torch.no_grad():
            if not model(torch.zeros(1, 3, 16, 16)).is_gaussian:
                raise RecipeError(
                    "`mean_gradient_scale`: must be 1 where samples are not affine in the coefficients: "
                    "with `convolutions` or a `stochastic_basis`"
                )
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def network_options(recipe: Recipe) -> dict[str, Any]:
    """The options of the network; α and β of the prior, which stand beside them, are the loss's."""
    return {k: v for k, v in recipe.model.options.items() if k not in ("alpha", "beta")}


def _freeze(network: nn.Module, name: str) -> None:
    """A part of a network, by the name of a module or a parameter, keeps its weights."""
    parts = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_modules())
    if not name or name not in parts:
        hint = did_you_mean(name, dict(network.named_children()) | parts)
        raise RecipeError(f"`frozen`: the network has no part {name!r}: {hint}")
    parts[name].requires_grad_(False)


def load_initial(model: VSpSR, path: Path) -> None:
    """Weights of a shipped model by name, a folder of `save_pretrained`, a run's newest checkpoint or a given one.

    Of checkpoints the averaged weights.

    Raises:
        ModelError: nothing of these is there, or it does not fit.
    """
    from vspsr.training.checkpoint import latest, read_checkpoint

    state: Mapping[str, Tensor]
    if str(path) in shipped_models() or (path / "config.json").exists():
        state = VSpSR.from_pretrained(path).network.state_dict()
    else:
        found = path if path.is_file() else latest(path)
        if found is None:
            known = ", ".join(shipped_models())
            raise ModelError(f"{path}: neither a run with checkpoints, a model's folder nor one of {known}")
        state = read_checkpoint(found)["average"]
    load(model.network, state, str(path), "does not fit the recipe's model:")


def model_of(recipe: Recipe, state: Mapping[str, Tensor], temperature: float | None = None) -> VSpSR:
    """A recipe's model with the weights of a checkpoint, in evaluation mode. Raises as `build_model`."""
    part = recipe.deterministic
    if part is None:
        model = build_model(recipe.model_copy(update={"initial": None}))
    else:  # the checkpoint holds the pretrained part too: its own file may be gone
        prefix = "deterministic.module."
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        options = {**network_options(recipe), "deterministic": pretrained_from_state(inner, "the checkpoint")}
        model = VSpSR(recipe.model.network, options, recipe.model.kernel, recipe.model.temperature)
    load(model.network, state, "the checkpoint", "does not fit its recipe:")
    if temperature is not None:
        model.temperature = check_temperature(temperature)
    return model.eval()
