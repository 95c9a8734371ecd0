"""The model of a recipe."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vspsr.errors import ModelError
from vspsr.model import VSpSR, shipped_models
from vspsr.nn.overlapping import with_quantisation
from vspsr.nn.pretrained import load_pretrained
from vspsr.state_dicts import load
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.recipe import Recipe, RecipeError


def build_model(recipe: Recipe) -> VSpSR:
    """The model of a recipe at the start of its run, in evaluation mode: weights from `initial` or torch's generator.

    Raises:
        RecipeError: options that the network does not have, or a `mean_gradient_scale` where samples are not affine in
            their coefficients.
        ModelError: `initial` cannot be read or does not fit.
    """
    arguments = {**dict(recipe.model), "trained_on_jpegs": recipe.data.jpeg is not None}
    if (part := recipe.deterministic) is not None:
        options = arguments["options"] = dict(recipe.model.options)
        options["deterministic"] = load_pretrained(part.checkpoint, int(options.get("scale", 4)), part.trainable)
    try:
        model = VSpSR(**arguments)
    except ValueError as error:
        raise RecipeError(f"`model`: {error}") from error
    if (path := recipe.initial) is not None:
        initial = with_quantisation(_initial_state(path), model.network)
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


def _initial_state(path: Path) -> Mapping[str, Tensor]:
    """Weights of a shipped model by name, a folder of `save_pretrained`, a run's newest checkpoint or a given one.

    Of checkpoints the averaged weights. ModelError where nothing of these is there.
    """
    if str(path) in shipped_models() or (path / "config.json").exists():
        return VSpSR.from_pretrained(path).network.state_dict()
    found = path if path.is_file() else latest(path)
    if found is None:
        raise ModelError(f"{path}: no run with checkpoints, model's folder or one of {', '.join(shipped_models())}")
    return read_checkpoint(found, to_resume=False)["average"]  # type: ignore[no-any-return]
