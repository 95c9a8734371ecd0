"""How far images are from the truth, pixel by pixel: plain distances, and the Gaussian likelihood of the paper."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from vspsr.training.losses.base import Loss, Positive, StepImages


class MeanL1(Loss):
    """Mean absolute error of the image at temperature 0."""

    def value(self, images: StepImages) -> Tensor:
        return (images.x - images.mean).abs().mean()


class MeanMSE(Loss):
    """Mean squared error of the image at temperature 0."""

    def value(self, images: StepImages) -> Tensor:
        return (images.x - images.mean).square().mean()


class SampleMSE(Loss):
    """Mean squared error of the samples: the likelihood of the authors' code."""

    samples: ClassVar[int] = 1

    def value(self, images: StepImages) -> Tensor:
        return torch.stack([(images.x - s).square().mean() for s in images.samples]).mean()


class Likelihood(SampleMSE):
    """−log N(x; sample, stddev² I) for each HR value, averaged (Zhou et al. 2021, eq. 4), in nats; x in [0, 1]."""

    stddev: Positive = 0.05

    def value(self, images: StepImages) -> Tensor:
        return 0.5 * super().value(images) / self.stddev**2 + math.log(self.stddev) + 0.5 * math.log(2 * math.pi)
