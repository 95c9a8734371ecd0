"""The losses of a recipe and their options, as types that files are checked against."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Adversarial", "Count", "FeatureEnergy", "Losses", "NotNegative", "Part", "PatchEnergy", "Positive"]


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]
Scale = Count | Annotated[float, Field(gt=0, lt=1)]


def _weighted(value: Any) -> Any:
    """A bare number stands for {weight: number}."""
    return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def _several(value: Any) -> Any:
    """One term stands for a list of one."""
    return [value] if isinstance(value, Mapping) else value


class Weight(Part):
    """A loss with no options but its weight."""

    weight: NotNegative


class Likelihood(Weight):
    """`vspsr.training.losses.likelihood`."""

    stddev: Positive = 0.05


class Kl(Weight):
    """`vspsr.training.losses.prior`."""

    form: Literal["joint", "authors"] = "joint"


class Adversarial(Weight):
    """`vspsr.training.losses.adversarial` and `vspsr.nn.discriminator`."""

    discriminator: Literal["unet", "authors"] = "unet"
    loss: Literal["logistic", "least-squares", "hinge"] = "logistic"
    rate: Positive | None = None


class Perceptual(Weight):
    """`vspsr.training.losses.perceptual`; ``features`` names an entry of the recipe's `features`."""

    features: str = "vgg19"


class PatchEnergy(Weight):
    """Energy score in pixel patches; ``bands``: of brightness and colour apart, in so many octaves each."""

    patch: Count = 8
    bands: Count | None = None


class DctCrps(Weight):
    """`vspsr.training.losses.energy`, each cosine coefficient of blocks of ``block`` pixels by itself."""

    block: Annotated[int, Field(ge=2)] = 16


class LogPowerCrps(Weight):
    """`vspsr.training.losses.energy` of how strong texture is in blocks of ``block`` pixels; ``floor`` is in [0, 1].

    ``mean_gradient_scale`` is as in `FeatureEnergy`.
    """

    block: Annotated[int, Field(ge=2)] = 16
    octaves: Count = 2
    floor: Positive = 1 / 255
    mean_gradient_scale: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _octaves_fit(self) -> "LogPowerCrps":
        if self.block < 2**self.octaves:
            raise ValueError(
                f"`octaves` {self.octaves}: blocks of {self.block} pixels do not have so many: "
                f"take a `block` of {2**self.octaves} or more"
            )
        return self


class Sparsity(Weight):
    """`vspsr.training.losses.prior.sparsity`; ``floor`` is a standard deviation in [0, 1]."""

    floor: Positive = 0.001


class FeatureEnergy(Weight):
    """`vspsr.training.losses.energy` in unit-length features.

    ``scales`` are those that images are averaged down by, or below 1 enlarged by (a part of them, as large as before).
    ``mean_gradient_scale`` is the factor on the gradient that reaches the samples' mean: 0 shapes only what is random.
    """

    features: str = "squeezenet"
    scales: tuple[Scale, ...] = (1,)
    mean_gradient_scale: Annotated[float, Field(ge=0, le=1)] = 1.0


_W = Annotated[Weight | None, BeforeValidator(_weighted)]


class Losses(Part):
    """The terms of the objective; a bare number stands for {weight: number}."""

    mean_l1: _W = None
    mean_mse: _W = None
    mse: _W = None
    likelihood: Annotated[Likelihood | None, BeforeValidator(_weighted)] = None
    kl: Annotated[Kl | None, BeforeValidator(_weighted)] = None
    sparsity: Annotated[Sparsity | None, BeforeValidator(_weighted)] = None
    adversarial: Annotated[Adversarial | None, BeforeValidator(_weighted)] = None
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
        """Names of the feature networks that the terms look through."""
        names = {term.features for term in self.energy_features}
        return names | ({self.perceptual.features} if self.perceptual else set())
