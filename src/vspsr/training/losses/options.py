"""The losses of a recipe and their options, as types that files are checked against."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Count", "FeatureEnergy", "Losses", "NotNegative", "Part", "PatchEnergy", "Positive", "WholeNumber"]


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
Scale = Count | Annotated[float, Number, Field(gt=0, lt=1)]


def _weighted(value: Any) -> Any:
    """A bare number stands for {weight: number}; YAML reads 1e-3 as text."""
    return value if value is None or isinstance(value, Mapping | BaseModel) else {"weight": value}


def _several(value: Any) -> Any:
    """One loss stands for a list of one."""
    return [value] if isinstance(value, Mapping) else value


class Weight(Part):
    """A loss with no options but its weight."""

    weight: NotNegative


class Likelihood(Weight):
    """`vspsr.training.losses.likelihood`."""

    stddev: Positive = 0.05


class Kl(Weight):
    """`vspsr.training.losses.prior`; ``alpha`` and ``beta`` are those of the Gamma prior of the precisions."""

    form: Literal["joint", "authors"] = "joint"
    alpha: Positive = 3.0
    beta: Positive = 1.0


class Perceptual(Weight):
    """`vspsr.training.losses.perceptual`; ``features`` names an entry of the recipe's `features`."""

    features: str = "vgg19"


class PatchEnergy(Weight):
    """Energy score in pixel patches; ``bands``: of brightness and colour apart, in so many octaves each."""

    patch: Count = 8
    bands: Annotated[int, Number, Field(gt=0, le=16)] | None = None


Block = Annotated[int, Number, Field(ge=2, le=1024)]
Share = Annotated[float, Number, Field(ge=0, le=1)]


class DctCrps(Weight):
    """`vspsr.training.losses.energy`: the CRPS of each cosine coefficient of blocks of ``block`` pixels."""

    block: Block = 16


class LogPowerCrps(Weight):
    """`vspsr.training.losses.energy`: the CRPS of the logarithm of texture's power in blocks of ``block`` pixels.

    ``floor`` is in [0, 1]; ``mean_gradient_scale`` is as in `FeatureEnergy`.
    """

    block: Block = 16
    octaves: Count = 2
    floor: Positive = 1 / 255
    mean_gradient_scale: Share = 1.0

    @model_validator(mode="after")
    def _octaves_fit(self) -> "LogPowerCrps":
        if self.octaves > self.block.bit_length() - 1:
            raise ValueError(f"`octaves` {self.octaves}: blocks of {self.block} pixels do not have so many")
        return self


class FeatureEnergy(Weight):
    """`vspsr.training.losses.energy` in unit-length features.

    ``scales``: images are averaged down by a whole number, or a part of them is enlarged by a number below 1.
    ``mean_gradient_scale`` is the factor on the gradient that reaches the samples' mean: 0 shapes only what is random.
    """

    features: str = "squeezenet"
    scales: tuple[Scale, ...] = (1,)
    mean_gradient_scale: Share = 1.0


_W = Annotated[Weight | None, BeforeValidator(_weighted)]


class Losses(Part):
    """The losses of a phase; a bare number stands for {weight: number}."""

    mean_l1: _W = None
    mean_mse: _W = None
    mse: _W = None
    likelihood: Annotated[Likelihood | None, BeforeValidator(_weighted)] = None
    kl: Annotated[Kl | None, BeforeValidator(_weighted)] = None
    adversarial: _W = None
    perceptual: Annotated[Perceptual | None, BeforeValidator(_weighted)] = None
    energy_pixels: Annotated[PatchEnergy | None, BeforeValidator(_weighted)] = None
    dct_crps: Annotated[DctCrps | None, BeforeValidator(_weighted)] = None
    log_power_crps: Annotated[LogPowerCrps | None, BeforeValidator(_weighted)] = None
    energy_features: Annotated[tuple[FeatureEnergy, ...], BeforeValidator(_several)] = ()

    @model_validator(mode="after")
    def _some(self) -> "Losses":
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("no loss is given")
        return self

    def features(self) -> set[str]:
        """Names of the feature networks that the losses look through."""
        names = {term.features for term in self.energy_features}
        return names | ({self.perceptual.features} if self.perceptual else set())

    def mean_gradient_scales(self) -> list[float]:
        """The factors on the gradient that reaches the samples' mean, of the losses that have one."""
        texture = [self.log_power_crps.mean_gradient_scale] if self.log_power_crps else []
        return [*texture, *(term.mean_gradient_scale for term in self.energy_features)]
