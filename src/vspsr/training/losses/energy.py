"""The energy score: a proper score for a distribution that only samples are known of.

ES(x; s₁, s₂) = ½(d(x, s₁) + d(x, s₂)) − ½ d(s₁, s₂) is an unbiased estimate of E d(x, S) − ½ E d(S, S′), which the
true distribution minimises when d is a Euclidean distance (Gneiting & Raftery 2007, eq. 22). Here d is the mean
over places of the Euclidean distance of pixel patches or of unit-normalised deep features. The score is proper, but
not strictly: it depends on the distribution of each patch or feature alone, so that distributions of images that agree
in these have the same score.

The score of a patch hardly depends on how its spread is distributed: noise in colour can replace missing noise in
brightness, coarse noise fine noise, stripes along the axes grain in all directions. `colour_bands` splits images into
a few parts that have a score each; `dct_crps` scores every frequency and direction by itself.

Distances of pixels are of amplitudes: noise that is twice too strong costs little in a smooth sky, where it is
visible, and much in grass, where it is not. `log_power_crps` compares the logarithms of texture's power.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["colour_bands", "dct_crps", "energy_score", "feature_energy", "log_power_crps", "patch_distance"]

_EPS = 1e-6  # keeps the gradient of a norm finite at zero
_UNIT_EPS = 1e-3  # likewise for unit vectors, whose distance in float32 is not known more closely

Distance = Callable[[Tensor, Tensor], Tensor]


def energy_score(x: Tensor, first: Tensor, second: Tensor, distance: Distance) -> Tensor:
    """Energy score of two samples ``first`` and ``second`` against the truth ``x``; smaller is better."""
    return 0.5 * (distance(x, first) + distance(x, second)) - 0.5 * distance(first, second)


def patch_distance(a: Tensor, b: Tensor, size: int = 8, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Mean over size×size patches of the root-mean-square difference; a, b: (B, C, H, W) → scalar.

    ``offset`` is the upper left corner of the grid of patches; patches cut by a border are left out.
    """
    difference = (a - b)[..., offset[0] :, offset[1] :]
    rows, columns = difference.shape[-2] // size, difference.shape[-1] // size
    tiles = difference[..., : rows * size, : columns * size].unflatten(-2, (rows, size)).unflatten(-1, (columns, size))
    return (tiles.square().mean((1, 3, 5)) + _EPS**2).sqrt().mean()


def colour_bands(image: Tensor, bands: int) -> Iterator[Tensor]:
    """Brightness (the mean of the channels) and what colour departs from it, each in octaves, the finest first.

    Args:
        image: (B, 3, H, W).
        bands: how many octaves; the last holds all that is coarser. Sides below 2^(bands − 1) are not allowed.

    Yields:
        (B, 1, H/2ⁱ, W/2ⁱ) and then (B, 3, …), 2·bands in all. With ``bands`` 1, they sum to the image.
    """
    brightness = image.mean(1, keepdim=True)
    for part in (brightness, image - brightness):
        for _ in range(bands - 1):
            coarse = F.avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False)
            yield part - F.interpolate(coarse, part.shape[-2:], mode="bilinear", align_corners=False)
            part = coarse
        yield part


def dct_crps(x: Tensor, first: Tensor, second: Tensor, size: int = 16, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """The energy score (the CRPS, in one dimension) of every cosine coefficient of size×size blocks by itself.

    Coefficients are those of the orthonormal DCT-II of brightness and two differences of colour, each weighted by
    its frequency, since the amplitudes of natural images fall about as its inverse. The mean is left out.

    Args:
        x, first, second: the truth and two samples, (B, 3, H, W).
        size: of the blocks.
        offset: the upper left corner of their grid; blocks cut by a border are left out.

    Returns:
        The weighted mean over coefficients, blocks and crops.
    """
    images = torch.stack([x, first, second])
    spectrum = _spectra(torch.einsum("oc,nbchw->nbohw", images.new_tensor(_OPPONENT), images), size, offset)
    frequency = torch.arange(size, device=x.device, dtype=x.dtype) / size
    weight = torch.hypot(frequency[:, None], frequency)
    distances = [(spectrum[i] - spectrum[j]).abs().mean((0, 1, 2, 3)) for i, j in _PAIRS]
    score = 0.5 * (distances[0] + distances[1] - distances[2])
    return (weight * score).sum() / weight.sum()


def log_power_crps(
    x: Tensor,
    first: Tensor,
    second: Tensor,
    size: int = 16,
    octaves: int = 2,
    floor: float = 1 / 255,
    offset: tuple[int, int] = (0, 0),
) -> Tensor:
    """The energy score (the CRPS) of how strong texture is in size×size blocks: log(mean power + floor²).

    The power of brightness, in octaves and three directions: along the rows, along the columns, and in between.

    Args:
        x, first, second: the truth and two samples, (B, 3, H, W).
        size: of the blocks.
        octaves: how many, from the highest frequencies down; with 2, from 1/8 cycle per pixel on.
        floor: the standard deviation in [0, 1] below which strength is all the same; 1/255 is a level of 8 bits.
        offset: the upper left corner of the grid; blocks cut by a border are left out.

    Returns:
        The mean over octaves, directions, blocks and crops, in natural logarithms of power.
    """
    power = _spectra(torch.stack([x, first, second]).mean(2), size, offset).square().flatten(-2)
    groups = _texture_groups(size, octaves).to(power)
    strength = torch.log(power @ groups + floor**2)
    distances = [(strength[i] - strength[j]).abs().mean() for i, j in _PAIRS]
    return 0.5 * (distances[0] + distances[1] - distances[2])


def _spectra(images: Tensor, size: int, offset: tuple[int, int]) -> Tensor:
    """Orthonormal DCT-II of blocks: (…, H, W) → (…, rows, columns, size, size)."""
    images = images[..., offset[0] :, offset[1] :]
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    tiles = images[..., : rows * size, : columns * size].unflatten(-2, (rows, size)).unflatten(-1, (columns, size))
    matrix = _cosines(size).to(images)
    return matrix @ tiles.transpose(-3, -2) @ matrix.T


@lru_cache(maxsize=4)
def _texture_groups(size: int, octaves: int) -> Tensor:
    """Averages over octaves and directions, as a matrix (size², 3 · octaves)."""
    index = torch.arange(size, dtype=torch.float64)
    radius = torch.hypot(index[:, None], index)
    angle = torch.rad2deg(torch.atan2(index[:, None].expand(size, size), index.expand(size, size)))
    direction = torch.bucketize(angle, torch.tensor([22.5, 67.5], dtype=torch.float64))
    columns = []
    for octave in range(octaves):
        high = size / 2**octave
        within = (radius >= high / 2) & ((radius < high) | (octave == 0))  # the first has the corner as well
        columns += [(within & (direction == d)).to(torch.float64).flatten() for d in range(3)]
    groups = torch.stack(columns, 1)
    return groups / groups.sum(0)


_OPPONENT = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))
"""Brightness, red against green, yellow against blue: orthonormal."""


@lru_cache(maxsize=4)
def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix (frequency, place)."""
    place = torch.arange(size, dtype=torch.float64) + 0.5
    matrix = torch.cos(math.pi / size * torch.arange(size, dtype=torch.float64)[:, None] * place)
    matrix[0] *= 0.5**0.5
    return (2 / size) ** 0.5 * matrix


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
    share = torch.tensor(weights, dtype=layers.dtype, device=layers.device)
    return (share * layers).sum() / share.sum()


_PAIRS = ((0, 1), (0, 2), (1, 2))
_SIGNS = (1.0, 1.0, -1.0)
"""Of the truth and two samples: which distances are taken, and whether they are added or taken off."""


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
            cosines = [_dot(features[i], features[j]) * inverse[i] * inverse[j] for i, j in _PAIRS]
            distances = [torch.sqrt((2 - 2 * c).clamp_min(0) + _UNIT_EPS**2) for c in cosines]
            for sign, distance in zip(_SIGNS, distances, strict=True):
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
                for pair, sign, cosine, distance in zip(_PAIRS, _SIGNS, cosines, distances, strict=True):
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
