"""The energy score: a proper score for a distribution of which one only has samples.

ES(x; s₁, s₂) = ½(d(x, s₁) + d(x, s₂)) − ½ d(s₁, s₂) is an unbiased estimate of E d(x, S) − ½ E d(S, S′), which the
true distribution minimises when d is a Euclidean distance (Gneiting & Raftery 2007, eq. 22). Here d is a mean over
places of the Euclidean distance of what is seen there, pixel patches or unit-length features: proper, but not strictly
proper, since distributions that agree on all that is seen have the same score.

The score of a whole patch hardly depends on how its spread is distributed: noise in colour can replace missing noise
in brightness, coarse noise fine noise. `colour_bands` takes images apart into parts that have a score each.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vspsr.training.losses.base import Count, Loss, StepImages

_EPS = 1e-6  # keeps the gradient of a norm finite at zero

Distance = Callable[[Tensor, Tensor], Tensor]


def energy_score(x: Tensor, first: Tensor, second: Tensor, distance: Distance) -> Tensor:
    """Energy score of two samples ``first`` and ``second`` against the truth ``x``; smaller is better."""
    return 0.5 * (distance(x, first) + distance(x, second)) - 0.5 * distance(first, second)


def patch_distance(a: Tensor, b: Tensor, size: int = 8, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Mean over size×size patches of the root-mean-square difference; a, b: (B, C, H, W) → scalar.

    ``offset`` is the upper left corner of the grid of patches; patches cut by a border are left out.
    """
    return (tiles(a - b, size, offset).square().mean((1, 3, 5)) + _EPS**2).sqrt().mean()


def tiles(images: Tensor, size: int, offset: tuple[int, int]) -> Tensor:
    """Images (…, H, W) cut into whole squares from ``offset`` on: (…, rows, size, columns, size)."""
    images = images[..., offset[0] :, offset[1] :]
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    return images[..., : rows * size, : columns * size].unflatten(-2, (rows, size)).unflatten(-1, (columns, size))


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


class PixelEnergy(Loss):
    """Energy score in pixel patches.

    ``bands``: of brightness and colour apart, in so many octaves each, their scores added up. The grid of patches lies
    elsewhere at each step.
    """

    patch: Count = 8
    bands: Count | None = None

    samples: ClassVar[int] = 2

    @property
    def smallest(self) -> int:
        return (2 * self.patch - 1) * 2 ** ((self.bands or 1) - 1)

    def value(self, images: StepImages) -> Tensor:
        distance = partial(patch_distance, size=self.patch, offset=images.offset(self.patch, self.patch))
        first, second = images.samples[:2]
        if self.bands is None:
            return energy_score(images.x, first, second, distance)
        parts = zip(*(colour_bands(image, self.bands) for image in (images.x, first, second)), strict=True)
        return torch.stack([energy_score(x, a, b, distance) for x, a, b in parts]).sum()
