"""What every loss is: options that a recipe can give, what it needs of a step, and its value."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from vspsr.data.crops import random_stream
from vspsr.errors import did_you_mean
from vspsr.space.parameters import SpaceParameters
from vspsr.training.graphs import Graphs

_LOSSES = 3  # the stream of random numbers of losses, apart from those of the data and the noise


def checked_keys(content: Any, known: Collection[str]) -> Any:
    """A mapping without keys that are null; the first key that is not known is an error."""
    if not isinstance(content, Mapping):
        return content
    for key in content:
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise PydanticCustomError("unknown_key", "{hint}", {"key": str(key), "hint": hint})
    return {k: v for k, v in content.items() if v is not None}


NoNulls = BeforeValidator(lambda content: checked_keys(content, content))


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors, and null stands for a key that is left out."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, content: Any) -> Any:
        return checked_keys(content, cls.model_fields)


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
        networks: the recipe's feature networks.
        autocast: context in which networks are evaluated.
        replayed: see `vspsr.training.graphs.Graphs`.
        discriminator: of adversarial phases.
    """

    x: Tensor
    parameters: SpaceParameters
    mean: Tensor
    samples: tuple[Tensor, ...]
    scale: int
    seed: int
    step: int
    networks: Mapping[str, Any]
    autocast: Callable[[], AbstractContextManager[None]]
    replayed: Graphs
    discriminator: nn.Module | None = None

    def offset(self, period: int, key: int) -> tuple[int, int]:
        """Where a grid begins in this step, the same for every part of its batch: each in 0 … period − 1."""
        rng = random_stream(self.seed, _LOSSES, self.step, key)
        return int(rng.integers(period)), int(rng.integers(period))

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

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, value: Any) -> Any:
        """YAML reads 1e-3 as text."""
        return value if isinstance(value, Mapping | Loss) else {"weight": value}

    @property
    def smallest(self) -> int:
        """The smallest side of a crop, in HR pixels."""
        return 1

    @abstractmethod
    def value(self, images: StepImages) -> Tensor:
        """The unweighted loss, a scalar: a mean over the crops of the batch."""


class FeatureLoss(Loss):
    """A loss in deep features; ``features`` names an entry of the recipe's `features`."""

    features: str
