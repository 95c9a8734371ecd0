"""The objective of a phase: every loss of the recipe, evaluated on one batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vspsr.data.crops import Batch
from vspsr.degradation import Degradation
from vspsr.errors import ModelError
from vspsr.space.parameters import SpaceParameters
from vspsr.training.features import FeatureNetwork
from vspsr.training.graphs import Graphs
from vspsr.training.losses import Loss, StepImages
from vspsr.training.losses.base import FeatureLoss
from vspsr.training.recipe import Phase, Recipe, RecipeError
from vspsr.training.sampling import draw


class Objective(nn.Module):
    """All losses of a recipe, with the frozen feature networks that they need.

    Raises:
        RecipeError: crops too small for a loss.
        ModelError: feature networks or weights that cannot be had.
    """

    def __init__(self, recipe: Recipe, degradation: Degradation) -> None:
        super().__init__()
        self.recipe, self.degradation, self.graphs = recipe, degradation, Graphs()
        terms = [(phase, name, loss) for phase in recipe.phases for name, loss in phase.terms()]
        used = {loss.features for _, _, loss in terms if isinstance(loss, FeatureLoss)}
        networks, errors = nn.ModuleDict(), []
        for download in (False, True):  # what is wrong with files shows before anything is downloaded
            for name, entry in ((n, e) for n, e in recipe.features.items() if n in used):
                try:
                    if (entry.weights is None) == download:
                        networks[name] = FeatureNetwork(**dict(entry))
                except ModelError as error:  # all that cannot be had are named at once
                    errors.append(f"`features.{name}`: {error}")
            if errors:
                raise ModelError("; ".join(errors))
        self.networks = networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for phase, name, loss in terms:
            crop = phase.crop or recipe.crop
            self._check_crop(loss, crop, f"`crop` {crop}, `{name}` in phase {phase.name!r}")

    def _check_crop(self, loss: Loss, crop: int, context: str) -> None:
        """RecipeError where a crop of so many LR pixels is too small for a loss."""
        side = self.degradation.scale * (crop - 1) + 1  # what losses see whose grid moves
        if side < loss.smallest:
            raise RecipeError(f"{context}: needs {loss.smallest} HR pixels, but of a crop {side} are seen")
        if not isinstance(loss, FeatureLoss):
            return
        for scale in getattr(loss, "scales", (1,)):
            try:
                self.networks[loss.features](torch.zeros(1, 3, side // scale, side // scale))
            except RuntimeError as error:
                raise RecipeError(f"{context}: too small for {loss.features} at scale {scale}") from error

    def forward(
        self,
        batch: Batch,
        parameters: SpaceParameters,
        phase: Phase,
        autocast: Callable[[], AbstractContextManager[None]],
        discriminator: nn.Module | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], StepImages]:
        """The weighted sum of a phase's losses, each by itself and unweighted, and the images they saw."""
        terms = phase.terms()
        needed = max(loss.samples for _, loss in terms)
        stream = self.recipe.seed, batch.step, batch.first
        exact = ~batch.coded if self.recipe.projection else None
        mean, samples = draw(parameters, batch.lr, self.degradation, needed, stream, exact)
        images = StepImages(
            x=batch.hr,
            parameters=parameters,
            mean=mean,
            samples=samples,
            scale=self.degradation.scale,
            seed=self.recipe.seed,
            step=batch.step,
            networks=dict(self.networks.items()),
            autocast=autocast,
            replayed=self.graphs,
            discriminator=discriminator,
        )
        values = {name: loss.value(images) for name, loss in terms}
        total = torch.stack([loss.weight * values[name] for name, loss in terms]).sum()
        return total, {name: value.detach() for name, value in values.items()}, images
