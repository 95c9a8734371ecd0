"""The CRPS of how strong each frequency is, in logarithms.

Distances of pixels are of amplitudes: noise that is twice too strong costs little in a smooth sky, where it is seen,
and much in grass, where it is not. Logarithms of power weigh both alike. Each frequency counts by itself: a lattice of
stripes has the power of a texture, but not at its frequencies.
"""

from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vspsr.degradation.jpeg import dct_matrix
from vspsr.training.losses.base import Loss, StepImages
from vspsr.training.losses.energy import energy_score, tiles


def log_power_crps(
    x: Tensor, first: Tensor, second: Tensor, size: int = 16, floor: float = 1 / 255, offset: tuple[int, int] = (0, 0)
) -> Tensor:
    """The CRPS of log(power + floor²) of each coefficient of the DCT of size×size blocks.

    Of brightness, and of the frequencies from 1/16 cycle per pixel on.

    Args:
        x, first, second: the truth and two samples, (B, 3, H, W).
        size: of the blocks.
        floor: the standard deviation in [0, 1] below which strength is all the same; 1/255 is a level of 8 bits.
        offset: the upper left corner of the grid; blocks cut by a border are left out.

    Returns:
        The mean over frequencies, blocks and crops, in natural logarithms of power.
    """
    matrix = _dct(size).to(x, non_blocking=True)
    blocks = tiles(torch.stack([x, first, second]).mean(2), size, offset).transpose(-3, -2)
    spectra = (matrix @ blocks @ matrix.T).flatten(-2)
    power = spectra @ _high_frequencies(size).to(spectra, non_blocking=True)
    truth, one, other = torch.log(power.square() + floor**2).unbind()
    return energy_score(truth, one, other, lambda a, b: (a - b).abs().mean())


_dct = lru_cache(maxsize=4)(dct_matrix)


@lru_cache(maxsize=4)
def _high_frequencies(size: int) -> Tensor:
    """Columns of the identity that choose the frequencies from 1/16 cycle per pixel on: (size², n)."""
    index = torch.arange(size, dtype=torch.float64)
    chosen = torch.hypot(index[:, None], index).flatten() >= size / 8
    return torch.eye(size**2, dtype=torch.float64)[:, chosen]


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
