"""The CRPS of how strong texture is, in logarithms.

Distances of pixels are of amplitudes: noise that is twice too strong costs little in a smooth sky, where it is seen,
and much in grass, where it is not. Logarithms of power weigh both alike.
"""

import math
from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vspsr.training.losses.base import Loss, StepImages
from vspsr.training.losses.energy import energy_score, tiles


def log_power_crps(
    x: Tensor,
    first: Tensor,
    second: Tensor,
    size: int = 16,
    octaves: int = 2,
    floor: float = 1 / 255,
    offset: tuple[int, int] = (0, 0),
) -> Tensor:
    """The CRPS of how strong texture is in size×size blocks: of log(mean power + floor²).

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
    groups = _texture_groups(size, octaves).to(power, non_blocking=True)
    strength = torch.log(power @ groups + floor**2)
    truth, one, other = strength.unbind()
    return energy_score(truth, one, other, lambda a, b: (a - b).abs().mean())


def _spectra(images: Tensor, size: int, offset: tuple[int, int]) -> Tensor:
    """Orthonormal DCT-II of blocks: (…, H, W) → (…, rows, columns, size, size)."""
    matrix = _cosines(size).to(images, non_blocking=True)
    return matrix @ tiles(images, size, offset).transpose(-3, -2) @ matrix.T


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


@lru_cache(maxsize=4)
def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix (frequency, place)."""
    place = torch.arange(size, dtype=torch.float64) + 0.5
    matrix = torch.cos(math.pi / size * torch.arange(size, dtype=torch.float64)[:, None] * place)
    matrix[0] *= 0.5**0.5
    return (2 / size) ** 0.5 * matrix


class LogPowerCRPS(Loss):
    """`log_power_crps` in blocks of ``block`` pixels.

    ``mean_gradient_scale``: factor on the gradient that reaches the samples' mean.
    """

    block: Annotated[int, Field(ge=4)] = 16
    mean_gradient_scale: Annotated[float, Field(ge=0, le=1)] = 1.0

    samples: ClassVar[int] = 2

    @property
    def smallest(self) -> int:
        return 2 * self.block - 1

    def value(self, images: StepImages) -> Tensor:
        first, second = images.held(self.mean_gradient_scale)[:2]
        return log_power_crps(images.x, first, second, self.block, offset=images.offset(self.block, self.block))
