"""The model of a recipe."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vspsr.checks import check_temperature
from vspsr.errors import ModelError
from vspsr.model import VSpSR, shipped_models
from vspsr.nn.pretrained import load_pretrained, pretrained_from_state
from vspsr.state_dicts import load
from vspsr.training.recipe import Recipe, RecipeError

__all__ = ["build_model", "load_initial", "model_of"]


def build_model(recipe: Recipe) -> VSpSR:
    """The model as at the start of the run, its weights drawn from torch's generator or from `initial`.

    Raises:
        RecipeError: options that the network does not have, or a `mean_gradient_scale` where samples are not affine in
            their coefficients.
        ModelError: `initial` cannot be read or does not fit.
    """
    options = dict(recipe.model.options)
    if (part := recipe.deterministic) is not None:
        options["deterministic"] = load_pretrained(part.checkpoint, int(options.get("scale", 4)), part.trainable)
    try:
        model = VSpSR(
            recipe.model.network, options, recipe.model.kernel, recipe.model.temperature, recipe.model.calibration
        )
    except ValueError as error:
        raise RecipeError(f"`model`: {error}") from error
    if recipe.initial is not None:
        load_initial(model, recipe.initial)
    if any(loss.needs_affine for phase in recipe.phases for _, loss in phase.terms()):
        with torch.no_grad():
            if not model(torch.zeros(1, 3, 16, 16)).is_gaussian:
                raise RecipeError(
                    "`mean_gradient_scale`: must be 1 where samples are not affine in the coefficients: "
                    "with `convolutions` or a `stochastic_basis`"
                )
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


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
        options = {**recipe.model.options, "deterministic": pretrained_from_state(inner, "the checkpoint")}
        model = VSpSR(
            recipe.model.network, options, recipe.model.kernel, recipe.model.temperature, recipe.model.calibration
        )
    load(model.network, state, "the checkpoint", "does not fit its recipe:")
    if temperature is not None:
        model.temperature = check_temperature(temperature)
    return model.eval()
