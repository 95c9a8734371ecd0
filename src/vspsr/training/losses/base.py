"""What every loss is: options that a recipe can give, what it needs of a step, and its value."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vspsr.data.crops import random_stream
from vspsr.space.parameters import SpaceParameters

__all__ = ["Count", "Loss", "NotNegative", "Part", "Positive", "StepImages"]

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]

_LOSSES = 3  # the stream of random numbers of losses, apart from those of the data and the noise


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class StepImages:
    """What losses see of a batch.

    Attributes:
        x: HR images (B, 3, H, W) in [0, 1].
        parameters: of their spaces.
        mean: the images at temperature 0; samples: drawn from the spaces: (B, 3, H, W) each.
        scale: s.
        seed, step: what random choices depend on.
        networks: the recipe's feature networks; layer_weights: those given, by the same names.
        autocast: context in which networks are evaluated.
        discriminator: of adversarial phases.
    """

    x: Tensor
    parameters: SpaceParameters
    mean: Tensor
    samples: tuple[Tensor, ...]
    scale: int
    seed: int
    step: int
    networks: Mapping[str, nn.Module]
    layer_weights: Mapping[str, tuple[float, ...] | None]
    autocast: Callable[[], AbstractContextManager[None]]
    discriminator: nn.Module | None = None

    def random(self, *key: int) -> np.random.Generator:
        """Random numbers of this step, the same for every part of its batch."""
        return random_stream(self.seed, _LOSSES, self.step, *key)

    def held(self, mean_gradient_scale: float) -> tuple[Tensor, ...]:
        """The samples, with so much of the gradient that reaches the images at temperature 0, which they contain."""
        if mean_gradient_scale == 1:
            return self.samples
        held = (1 - mean_gradient_scale) * (self.mean - self.mean.detach())
        return tuple(s - held for s in self.samples)


class Loss(Part):
    """A term of the objective. A recipe may give a bare number for its weight alone."""

    weight: NotNegative

    @property
    def samples(self) -> int:
        """Samples of each crop that it looks at."""
        return 0

    @property
    def needs_affine(self) -> bool:
        """Whether the samples must be the image at temperature 0 plus something that does not depend on it."""
        return False

    def feature_networks(self) -> set[str]:
        """Entries of the recipe's `features` that it looks through."""
        return set()

    def check_crop(self, side: int, networks: Mapping[str, nn.Module]) -> None:
        """ValueError where crops of ``side`` HR pixels are too small."""

    @abstractmethod
    def value(self, images: StepImages) -> Tensor:
        """The unweighted loss, a scalar: a mean over the crops of the batch."""


def weighted(value: Any) -> Any:
    """A bare number stands for {weight: number}."""
    return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value
