"""Losses in the features of frozen networks: the energy score, and the perceptual loss of the paper."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vspsr.training.losses.base import Count, Loss, StepImages
from vspsr.training.losses.energy import PAIRS, SIGNS

__all__ = ["FeatureEnergy", "Perceptual", "feature_energy", "perceptual_loss"]

_UNIT_EPS = 1e-3  # keeps gradients finite: the distance of unit vectors is not known more closely in float32
Scale = Count | Annotated[float, Field(gt=0, lt=1)]


class FeatureEnergy(Loss):
    """Energy score in unit-length features of the network ``features``, an entry of the recipe's `features`.

    ``scales``: images are averaged down by these, or below 1 enlarged by them (a part of them, as large as before).
    ``mean_gradient_scale``: factor on the gradient that reaches the samples' mean; 0 shapes only what is random.

    Strided layers look at a grid of places. Held against that of the LR pixels it would ask for noise where it looks,
    which shows as a lattice: the grid lies elsewhere at each step.
    """

    features: str = "squeezenet"
    scales: tuple[Scale, ...] = (1,)
    mean_gradient_scale: Annotated[float, Field(ge=0, le=1)] = 1.0

    samples: ClassVar[int] = 2

    def feature_networks(self) -> set[str]:
        """See `Loss`."""
        return {self.features}

    def check_crop(self, side: int, networks: Mapping[str, nn.Module]) -> None:
        """See `Loss`."""
        for scale in self.scales:
            try:
                networks[self.features](_resized(torch.zeros(1, 3, side, side), scale, (0.0, 0.0)))
            except RuntimeError as error:
                raise ValueError(
                    f"too small for {self.features} at scale {scale}: take a larger crop or leave the scale out"
                ) from error

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        period, rng = images.scale, images.random(0)
        top, left = int(rng.integers(period)), int(rng.integers(period))
        where = float(rng.random()), float(rng.random())
        rows, columns = (n - period + 1 for n in images.x.shape[-2:])
        seen = torch.cat([images.x, *images.held(self.mean_gradient_scale)[:2]])
        seen = seen[..., top : top + rows, left : left + columns]
        network, weights = images.networks[self.features], images.layer_weights[self.features]
        scores, n = [], len(images.x)
        for scale in self.scales:
            truth, samples = _resized(seen, scale, where).split([n, 2 * n])
            with images.autocast():
                with torch.no_grad():
                    of_truth = network(truth)
                of_samples = network(samples)
            first, second = zip(*(f.chunk(2) for f in of_samples), strict=True)
            scores.append(feature_energy(of_truth, first, second, weights))
        return torch.stack(scores).mean()


class Perceptual(Loss):
    """Mean squared error of the deep features of a sample; ``features`` names an entry of the recipe's `features`."""

    features: str = "vgg19"

    samples: ClassVar[int] = 1

    def feature_networks(self) -> set[str]:
        """See `Loss`."""
        return {self.features}

    def value(self, images: StepImages) -> Tensor:
        """See `Loss`."""
        network = images.networks[self.features]
        with images.autocast():
            truth, sample = network(images.x), network(images.samples[0])
        weights = images.layer_weights[self.features]
        return perceptual_loss([f.float() for f in truth], [f.float() for f in sample], weights)


def _resized(images: Tensor, scale: float, where: tuple[float, float]) -> Tensor:
    """Images made smaller by ``scale``, or where that is below 1 a part of them made larger to as many pixels."""
    if scale >= 1:
        return F.avg_pool2d(images, int(scale)) if scale > 1 else images
    height, width = (math.ceil(scale * n) for n in images.shape[-2:])
    top, left = (int(u * (n - m + 1)) for u, n, m in zip(where, images.shape[-2:], (height, width), strict=True))
    part = images[..., top : top + height, left : left + width]
    return F.interpolate(part, scale_factor=1 / scale, mode="bicubic", align_corners=False)


def perceptual_loss(x: Sequence[Tensor], estimate: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Features of the truth and of the estimate, [(B, C, h, w), …] → scalar; ``weights`` λ_l, by default 1 each."""
    weights = weights or [1.0] * len(x)
    terms = [w * (f - g).square().mean() for w, f, g in zip(weights, x, estimate, strict=True)]
    return torch.stack(terms).sum()


def feature_energy(
    x: Sequence[Tensor], first: Sequence[Tensor], second: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Energy score in deep features [(B, C, h, w), …], scaled to unit length over C at every place → scalar.

    The mean over places and layers. ``weights``: of the layers, by default all the same; their scale is of no account.
    Any floating-point features; computed in float32 (float64 where they are).
    """
    layers = torch.stack([_UnitEnergy.apply(*f) for f in zip(x, first, second, strict=True)])
    if weights is None:
        return layers.mean()
    share = torch.tensor(weights, dtype=layers.dtype).to(layers.device, non_blocking=True)
    return (share * layers).sum() / share.sum()


class _UnitEnergy(torch.autograd.Function):
    """One layer of `feature_energy`, in one pass: with unit vectors |u − v|² = 2 − 2 u·v, so that three lengths and
    three products at a place say everything, and the gradient is a combination of the three features.

    On a CPU images are taken one at a time: what is computed in between then stays in the cache.
    """

    @staticmethod
    def forward(ctx: Any, *layer: Tensor) -> Tensor:
        """Truth and two samples, each (B, C, h, w) → scalar."""
        total = layer[0].new_zeros((), dtype=torch.float64)
        ctx.places = []
        for features in _by_image(layer):
            inverse = [torch.rsqrt(_dot(f, f) + 1e-8) for f in features]
            cosines = [_dot(features[i], features[j]) * inverse[i] * inverse[j] for i, j in PAIRS]
            distances = [torch.sqrt((2 - 2 * c).clamp_min(0) + _UNIT_EPS**2) for c in cosines]
            for sign, distance in zip(SIGNS, distances, strict=True):
                total += sign * distance.sum(dtype=torch.float64)
            ctx.places.append((inverse, cosines, distances))
        ctx.save_for_backward(*layer)
        ctx.scale = 0.5 / layer[0][:, 0].numel()
        return (ctx.scale * total).to(torch.promote_types(layer[0].dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """With u = a/|a| and d = |u − v|: ∂d/∂a = ((u·v) u − v) / (|a| d)."""
        layer = ctx.saved_tensors
        wanted = [i for i in range(3) if ctx.needs_input_grad[i]]
        found: dict[int, list[Tensor]] = {i: [] for i in wanted}
        for features, (inverse, cosines, distances) in zip(_by_image(layer), ctx.places, strict=True):
            for i in wanted:
                gradient, along = torch.zeros_like(features[i]), torch.zeros_like(inverse[i])
                for pair, sign, cosine, distance in zip(PAIRS, SIGNS, cosines, distances, strict=True):
                    if i in pair:
                        other = sum(pair) - i
                        weight = sign * ctx.scale * grads[0] * inverse[i] / distance
                        along += weight * cosine * inverse[i]
                        gradient.addcmul_(features[other], weight * inverse[other], value=-1)
                found[i].append(gradient.addcmul_(features[i], along).to(layer[i].dtype))
        return tuple(torch.cat(found[i]) if i in found else None for i in range(3))


def _by_image(layer: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The features image by image on a CPU, all at once elsewhere; no less than float32."""
    size = 1 if layer[0].device.type == "cpu" else len(layer[0])
    for parts in zip(*(f.split(size) for f in layer), strict=True):
        yield [f.to(torch.promote_types(f.dtype, torch.float32)) for f in parts]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Products over channels: (B, 1, h, w)."""
    return (a * b).sum(1, keepdim=True)
