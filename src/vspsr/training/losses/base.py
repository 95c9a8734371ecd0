"""What every loss is: options that a recipe can give, what it needs of a step, and its value."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vspsr.data.crops import random_stream
from vspsr.space.parameters import SpaceParameters

__all__ = [
    "Count",
    "Loss",
    "NotNegative",
    "Number",
    "Part",
    "Positive",
    "StepImages",
    "WholeNumber",
    "WithoutNulls",
    "weighted",
]

_LOSSES = 3  # the stream of random numbers of losses, apart from those of the data and the noise


def _without_nulls(value: Any, known: Mapping[str, Any] | None = None) -> Any:
    """A mapping without entries that are null; where the keys are ``known``, others stay, to be refused."""
    if not isinstance(value, Mapping):
        return value
    return {k: v for k, v in value.items() if v is not None or (known is not None and k not in known)}


WithoutNulls = BeforeValidator(_without_nulls)


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors, and null stands for a key that is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, content: Any) -> Any:
        return _without_nulls(content, cls.model_fields)


def _no_bool(value: Any) -> Any:
    """Refuse true and false, which Python takes for the integers 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number")
    return value


_LARGEST = 10**9  # far above any sensible value, far below what overflows
Number = BeforeValidator(_no_bool)
Positive = Annotated[float, Number, Field(gt=0, le=_LARGEST)]
NotNegative = Annotated[float, Number, Field(ge=0, le=_LARGEST)]
Count = Annotated[int, Number, Field(gt=0, le=_LARGEST)]
WholeNumber = Annotated[int, Number, Field(ge=0, le=_LARGEST)]


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
    """A term of the objective. A recipe may give a bare number for its weight alone.

    ``samples``: of each crop, that it looks at.
    """

    weight: NotNegative
    samples: ClassVar[int] = 0

    @property
    def needs_affine(self) -> bool:
        """Whether the samples must be the image at temperature 0 plus something that does not depend on it."""
        return getattr(self, "mean_gradient_scale", 1) < 1

    def feature_networks(self) -> set[str]:
        """Entries of the recipe's `features` that it looks through."""
        return set()

    def check_crop(self, side: int, networks: Mapping[str, nn.Module]) -> None:
        """ValueError where crops of ``side`` HR pixels are too small."""

    @abstractmethod
    def value(self, images: StepImages) -> Tensor:
        """The unweighted loss, a scalar: a mean over the crops of the batch."""


def weighted(value: Any) -> Any:
    """A bare number stands for {weight: number}; YAML reads 1e-3 as text."""
    return value if isinstance(value, Mapping | BaseModel) else {"weight": value}
