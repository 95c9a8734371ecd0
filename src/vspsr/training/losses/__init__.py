"""The losses of recipes, a class each, by the names that recipes give them."""

from vspsr.training.losses.adversarial import Adversarial
from vspsr.training.losses.base import Loss, StepImages
from vspsr.training.losses.deep import FeatureEnergy, Perceptual
from vspsr.training.losses.distances import Likelihood, MeanL1, MeanMSE, SampleMSE
from vspsr.training.losses.energy import PixelEnergy
from vspsr.training.losses.prior import KL
from vspsr.training.losses.texture import LogPowerCRPS

__all__ = ["LOSSES", "Loss", "StepImages"]

LOSSES: dict[str, type[Loss]] = {
    "mean_l1": MeanL1,
    "mean_mse": MeanMSE,
    "mse": SampleMSE,
    "likelihood": Likelihood,
    "kl": KL,
    "adversarial": Adversarial,
    "perceptual": Perceptual,
    "energy_pixels": PixelEnergy,
    "energy_features": FeatureEnergy,
    "log_power_crps": LogPowerCRPS,
}
