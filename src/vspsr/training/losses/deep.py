"""Losses in the features of frozen networks: the energy score, and the perceptual loss of the paper."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vspsr.training.losses.base import Count, FeatureLoss, StepImages

_UNIT_EPS = 1e-3  # keeps gradients finite: the distance of unit vectors is not known more closely in float32


class FeatureEnergy(FeatureLoss):
    """Energy score in unit-length features of the network ``features``, an entry of the recipe's `features`.

    ``scales``: factors by which images are averaged down; the score is the mean over them.
    ``mean_gradient_scale``: factor on the gradient that reaches the samples' mean; 0 shapes only what is random.

    Strided layers look at a grid of places. Held against that of the LR pixels it would ask for noise where it looks,
    which shows as a lattice: the grid lies elsewhere at each step.
    """

    features: str = "squeezenet"
    scales: tuple[Count, ...] = (1,)
    mean_gradient_scale: Annotated[float, Field(ge=0, le=1)] = 1.0

    samples: ClassVar[int] = 2

    def value(self, images: StepImages) -> Tensor:
        period = images.scale
        top, left = images.offset(period, 0)
        rows, columns = (n - period + 1 for n in images.x.shape[-2:])
        truth, samples = (
            t[..., top : top + rows, left : left + columns]
            for t in (images.x, torch.cat(images.held(self.mean_gradient_scale)[:2]))
        )
        network, autocast = images.networks[self.features], images.autocast

        def score(truth: Tensor, samples: Tensor) -> Tensor:
            scores = []
            for scale in self.scales:
                with autocast():
                    with torch.no_grad():
                        of_truth = network(F.avg_pool2d(truth, scale))
                    of_samples = network(F.avg_pool2d(samples, scale))
                first, second = zip(*(f.chunk(2) for f in of_samples), strict=True)
                scores.append(feature_energy(of_truth, first, second, network.layer_weights))
            return torch.stack(scores).mean()

        return images.replayed(self, score, truth, samples)


class PerceptualLoss(FeatureLoss):
    """Mean squared error of the deep features of a sample; ``features`` names an entry of the recipe's `features`."""

    features: str = "vgg19"

    samples: ClassVar[int] = 1

    def value(self, images: StepImages) -> Tensor:
        network = images.networks[self.features]
        with images.autocast():
            layers = list(zip(network(images.x), network(images.samples[0]), strict=True))
        weighted = zip(network.layer_weights, layers, strict=True)
        terms = [w * (f.float() - g.float()).square().mean() for w, (f, g) in weighted]
        return torch.stack(terms).sum()


def feature_energy(
    x: Sequence[Tensor], first: Sequence[Tensor], second: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Energy score in deep features [(B, C, h, w), …], scaled to unit length over C at every place → scalar.

    The mean over places and layers. ``weights``: of the layers, by default all the same; their scale is of no account.
    Any floating-point features; computed in float32 (float64 where they are).
    """
    layers = [_unit_energy(*f) for f in zip(x, first, second, strict=True)]
    shares = weights or [1.0] * len(layers)
    return torch.stack([share * layer for share, layer in zip(shares, layers, strict=True)]).sum() / sum(shares)


def _unit_energy(*layer: Tensor) -> Tensor:
    """One layer of `feature_energy`. |u − v|² = 2 − 2 u·v: no unit vectors are kept for the gradient."""
    features = [f.to(torch.promote_types(f.dtype, torch.float32)) for f in layer]
    inverse = [(f.square().sum(1) + 1e-8).rsqrt() for f in features]

    def distance(i: int, j: int) -> Tensor:
        cosine = (features[i] * features[j]).sum(1) * inverse[i] * inverse[j]
        return ((2 - 2 * cosine).clamp_min(0) + _UNIT_EPS**2).sqrt().mean()

    return 0.5 * (distance(0, 1) + distance(0, 2) - distance(1, 2))
