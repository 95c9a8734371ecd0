"""The losses of recipes, a class each, by the names that recipes give them."""

from typing import Annotated, TypeVar

from pydantic import BeforeValidator
from typing_extensions import TypedDict

from vspsr.training.losses.adversarial import Adversarial
from vspsr.training.losses.base import Loss, StepImages, checked_keys
from vspsr.training.losses.deep import FeatureEnergy, PerceptualLoss
from vspsr.training.losses.distances import Likelihood, MeanL1, MeanMSE, SampleMSE
from vspsr.training.losses.energy import PixelEnergy
from vspsr.training.losses.prior import KL
from vspsr.training.losses.texture import LogPowerCRPS

__all__ = ["CheckedLosses", "Loss", "Losses", "StepImages"]

L = TypeVar("L", bound=Loss)
Several = Annotated[tuple[L, ...], BeforeValidator(lambda v: v if isinstance(v, list | tuple) else [v])]
"""One loss of a kind, or a list of them."""


class Losses(TypedDict, total=False):
    """The losses of a phase."""

    mean_l1: Several[MeanL1]
    mean_mse: Several[MeanMSE]
    mse: Several[SampleMSE]
    likelihood: Several[Likelihood]
    kl: Several[KL]
    adversarial: Several[Adversarial]
    perceptual: Several[PerceptualLoss]
    energy_pixels: Several[PixelEnergy]
    energy_features: Several[FeatureEnergy]
    log_power_crps: Several[LogPowerCRPS]


CheckedLosses = Annotated[Losses, BeforeValidator(lambda content: checked_keys(content, Losses.__annotations__))]
