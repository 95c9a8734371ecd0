"""How far images are from the truth, pixel by pixel: plain distances, and the Gaussian likelihood of the paper."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from vspsr.training.losses.base import Loss, Positive, StepImages


def gaussian_nll(x: Tensor, image: Tensor, stddev: float) -> Tensor:
    """−log N(x; image, stddev² I) for each HR value, averaged (Zhou et al. 2021, eq. 4): a scalar, in nats."""
    squared = (x - image).square().mean()
    return 0.5 * squared / stddev**2 + math.log(stddev) + 0.5 * math.log(2 * math.pi)


class MeanL1(Loss):
    """Mean absolute error of the image at temperature 0."""

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        return (images.x - images.mean).abs().mean()


class MeanMSE(Loss):
    """Mean squared error of the image at temperature 0."""

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        return (images.x - images.mean).square().mean()


class SampleMSE(Loss):
    """Mean squared error of the samples: the likelihood of the authors' code."""

    samples: ClassVar[int] = 1

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        return torch.stack([(images.x - s).square().mean() for s in images.samples]).mean()


class Likelihood(Loss):
    """Negative log-likelihood of the truth given a sample, with a Gaussian of ``stddev`` (in [0, 1]) about it."""

    stddev: Positive = 0.05

    samples: ClassVar[int] = 1

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        return torch.stack([gaussian_nll(images.x, s, self.stddev) for s in images.samples]).mean()
