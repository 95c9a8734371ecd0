"""MCUs: the smallest parts of a JPEG with whole blocks of all components, and what their pixels contribute to them.

8×8 pixels for 4:4:4, 16×16 for 4:2:0. An encoder works in each MCU by itself. It fills up those at the right and at the
lower border with copies of the last pixels.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

from vspsr.degradation.jpeg_arithmetic import dct_matrix, plane_of
from vspsr.degradation.jpeg_coefficients import JpegCoefficients


class McuGrid:
    """The MCUs of a JPEG, in reading order.

    Args:
        code: the content of the file.

    Attributes:
        shape: (V, H) pixels of an MCU.
        count: N, their number.
        channels: C, 1 or 3.
        whole: (N,) bool, false for the MCUs that the border cuts.
    """

    def __init__(self, code: JpegCoefficients) -> None:
        self.code, self.channels = code, len(code.coefficients)
        self.shape = (8 * code.sampling[0], 8 * code.sampling[1])
        self._grid = tuple(-(-n // m) for n, m in zip(code.size, self.shape, strict=True))
        self.count = self._grid[0] * self._grid[1]
        self.whole = (self.used[0] == self.shape[0]) & (self.used[1] == self.shape[1])

    @cached_property
    def used(self) -> tuple[Tensor, Tensor]:
        """How many rows and how many columns of each MCU lie in the picture: (N,) each."""
        rows, columns = (
            (n - m * torch.arange(g)).clamp(max=m)
            for n, m, g in zip(self.code.size, self.shape, self._grid, strict=True)
        )
        return rows.repeat_interleave(self._grid[1]), columns.repeat(self._grid[0])

    def split(self, image: Tensor) -> Tensor:
        """An upright image (C, h, w) as its MCUs (N, C, V, H), filled up with zeros."""
        stored = self.code.stored(image)
        (rows, columns), (v, h) = self._grid, self.shape
        padded = stored.new_zeros(self.channels, rows * v, columns * h)
        padded[:, : stored.shape[-2], : stored.shape[-1]] = stored
        mcus = padded.view(self.channels, rows, v, columns, h).permute(1, 3, 0, 2, 4)
        return mcus.reshape(self.count, self.channels, v, h)

    def join(self, mcus: Tensor) -> Tensor:
        """The inverse of `split`."""
        (rows, columns), (v, h), (height, width) = self._grid, self.shape, self.code.size
        parts = mcus.reshape(rows, columns, self.channels, v, h).permute(2, 0, 3, 1, 4)
        return self.code.upright(parts.reshape(self.channels, rows * v, columns * h)[:, :height, :width])

    def spread(self, component: int) -> tuple[Tensor, Tensor]:
        """The integers of a component by MCU, (N, m, n) float64, and which of them the file holds."""
        values = self.code.coefficients[component].double()
        rows, columns = self._grid
        down, across = (1, 1) if component else self.code.sampling
        blocks = values.new_full((rows * down, columns * across, 8, 8), math.nan)
        blocks[: values.shape[0], : values.shape[1]] = values
        blocks = blocks.view(rows, down, columns, across, 8, 8).transpose(1, 2)
        planes = plane_of(blocks).flatten(0, 1)
        return planes.nan_to_num(0.0), ~planes.isnan()

    def assembled(self, blocks: Tensor) -> Tensor:
        """Blocks by MCU, (N, rows, columns, 8, 8), as those of the whole: (rows, columns, 8, 8)."""
        return blocks.unflatten(0, self._grid).transpose(1, 2).flatten(2, 3).flatten(0, 1)

    @cached_property
    def copies(self) -> list[tuple[Tensor, Tensor]]:
        """Of Y, and of subsampled Cb and Cr: from which row and column of an MCU each is copied, (N, m) and (N, n)."""
        kinds = []
        for kind in range(min(self.channels, 2)):
            axes = []
            for axis, used in enumerate(self.used):
                sampled = self.code.sampling[axis] if kind else 1
                last = -(-used // sampled) - 1
                if sampled > 1 and axis:  # columns are copied before the subsampling: means of copies only come last
                    last = torch.where(used % sampled == 1, last, last + 1)
                axes.append(torch.minimum(torch.arange(self.shape[axis] // sampled), last[:, None]))
            kinds.append((axes[0], axes[1]))
        return kinds

    @cached_property
    def maps(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of Y, and of Cb and Cr: rows, columns of an MCU to coefficients, (N, m, V), (N, n, H); pseudo-inverses."""
        kinds = []
        for kind in range(min(self.channels, 2)):
            there, back = [], []
            for axis, used in enumerate(self.used):
                sampled = self.code.sampling[axis] if kind else 1
                distinct, inverse = used.unique(return_inverse=True)
                maps = torch.stack([_axis_map(self.shape[axis], int(n), sampled, axis == 0) for n in distinct])
                there.append(maps[inverse])
                back.append(torch.linalg.pinv(maps)[inverse])
            kinds.append((there[0], there[1], back[0], back[1]))
        return kinds


def _axis_map(length: int, used: int, sampled: int, vertical: bool) -> Tensor:
    """Pixels of an MCU along an axis to DCT coefficients, (length / sampled, length)."""
    place, count = torch.arange(length), length // sampled
    mean = torch.zeros(count, length, dtype=torch.float64)
    share = torch.full((length,), 1 / sampled, dtype=torch.float64)
    mean.index_put_((place // sampled, place.clamp(max=used - 1)), share, accumulate=True)
    if vertical:  # libjpeg fills up the rows once more after the subsampling
        mean = mean[torch.arange(count).clamp(max=-(-used // sampled) - 1)]
    mean[8 * -(-used // (8 * sampled)) :] = 0  # the file does not hold these blocks
    return torch.block_diag(*[dct_matrix(8)] * (count // 8)) @ mean
