"""The set of LR images that give a JPEG file: an interval for each DCT coefficient.

K takes RGB to the orthonormal DCT of Y and of the subsampled Cb and Cr. The file states that each coefficient of K y
lies within half a quantisation step of (integer · step). In an MCU that lies within the picture, K Kᵀ is diagonal in
YCbCr, so y + K⁺(clip(K y) − K y) is the point of the set nearest to y, distances being taken in YCbCr. Where the border
cuts an MCU, the same step is repeated (alternating projections) until it changes nothing.

The set is that of exact arithmetic. Integers are verified with libjpeg's own: `JpegSet.wrong`.

An MCU is the smallest part of a JPEG with whole blocks of all components: 8×8 pixels for 4:4:4, 16×16 for 4:2:0. An
encoder works in each by itself. It fills up those at the right and at the lower border with copies of the last pixels.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from vspsr.checks import check_image, check_types
from vspsr.degradation.banded import lasting_tensors
from vspsr.degradation.jpeg import blocks_of, dct, dct_matrix, downsampled, plane_of, quantised, rgb_to_ycc
from vspsr.degradation.jpeg_coefficients import JpegCoefficients

_YCC = (  # ITU-T T.871
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_CENTRE = 128.0  # of Y; Cb and Cr have their centre at 0 here
_ITERATIONS, _RELAXATION = 30, 1.7  # of alternating projections
_TOLERANCE, _COARSE = 0.01, 0.25  # levels; where a margin is left


class JpegSet:
    """The LR images that give a JPEG file of the content ``code``.

    Further methods work on lists of MCUs (N, C, V, H) in levels 0 … 255. ``index``, (N,), says which of all they are.

    Attributes:
        shape: (V, H) pixels of an MCU.
        grid: (rows, columns) of MCUs.
        count: N, their number, in reading order.
        channels: C, 1 or 3.
        whole: (N,) bool, false for the MCUs that the border cuts.
        integers: of each component, the file's integers by MCU, (N, m, n) float64.
        known: of each component, whether the file holds them, (N, m, n).
        steps: of each component, the quantisation steps, (m, n) float64.
        colours, colours_back: RGB to YCbCr and its inverse, (3, 3) float64.
    """

    @lasting_tensors()
    def __init__(self, code: JpegCoefficients) -> None:
        check_types(code=(code, JpegCoefficients))
        self.code, self.channels = code, len(code.coefficients)
        self.shape = (8 * code.sampling[0], 8 * code.sampling[1])
        self.grid = tuple(-(-n // m) for n, m in zip(code.size, self.shape, strict=True))
        self.count = self.grid[0] * self.grid[1]
        self.whole = (self.used[0] == self.shape[0]) & (self.used[1] == self.shape[1])
        self.colours = torch.tensor(_YCC, dtype=torch.float64)
        self.colours_back = torch.linalg.inv(self.colours)
        self.integers, self.known = zip(*(self.spread(c) for c in range(self.channels)), strict=True)
        self.steps = [
            table.double().repeat(*(m // 8 for m in values.shape[1:]))
            for table, values in zip(code.tables, self.integers, strict=True)
        ]

    @lasting_tensors()
    def project(self, y: Tensor) -> Tensor:
        """The image of the set that is nearest to y in YCbCr (near it, in MCUs that the border cuts).

        Args:
            y: (..., C, h, w) floating point, 0 … 1 nominally, upright.

        Returns:
            The same shape and dtype; values may leave [0, 1], as those of y.

        Raises:
            ValueError: another size or number of channels, values that are not finite.
        """
        check_image(y, "y")
        self.check_size(y, "y")
        images = y.double().cpu().reshape(-1, *y.shape[-3:])
        every = torch.arange(self.count)
        out = torch.stack([self.join(self.nearest(self.split(image * 255), every)) / 255 for image in images])
        return out.view(y.shape).to(y)

    @lasting_tensors()
    def wrong(self, image: Tensor) -> Tensor:
        """How many coefficients libjpeg would save differently for integers 0 … 255, (..., C, h, w): (...) int64.

        0 means that the image, saved with the file's tables and subsampling, is the file, coefficient for coefficient.

        Raises:
            ValueError: another size or number of channels.
        """
        check_types(image=(image, Tensor))
        self.check_size(image, "image")
        images = image.cpu().flatten(0, -4) if image.ndim > 3 else image.cpu()[None]
        every = torch.arange(self.count)
        counts = [self.wrong_coefficients(self.split(one), every).sum() for one in images]
        return torch.tensor([int(count) for count in counts]).view(image.shape[:-3])

    def check_size(self, image: Tensor, name: str) -> None:
        """ValueError unless an image has the size and the channels of the file's picture."""
        wanted = (self.channels, *self.code.upright_size)
        if tuple(image.shape[-3:]) != wanted:
            raise ValueError(f"`{name}` must be {wanted} as the JPEG file, got {tuple(image.shape[-3:])}")

    def nearest(self, mcus: Tensor, index: Tensor, margin: float = 0.0, in_range: bool = False) -> Tensor:
        """`project` of MCUs, float64, to intervals that are smaller by ``margin`` at both ends.

        An interval shorter than two margins becomes its centre. With ``in_range``, alternating projections bring the
        values into 0 … 255 as well, as far as both can be had.
        """
        ycc = self.to_ycc(mcus)
        self._step(ycc, index, margin)
        pending = ~self.whole[index]
        if in_range:
            pending |= ((rgb := self.to_rgb(ycc)) < -0.5).flatten(1).any(1) | (rgb > 255.5).flatten(1).any(1)
        tolerance = min(max(_TOLERANCE, margin / 4), _COARSE) if in_range else _TOLERANCE
        for _ in range(_ITERATIONS):
            active = pending.nonzero()[:, 0]
            if not len(active):
                break
            part = ycc[active]
            if in_range:
                part = self.to_ycc(self.to_rgb(part).clamp(0, 255))
            pending[active] = self._step(part, index[active], margin, _RELAXATION) > tolerance
            ycc[active] = part
        return self.to_rgb(ycc)

    def _step(self, ycc: Tensor, index: Tensor, margin: float, relaxation: float = 1.0) -> Tensor:
        """y + K⁺(clip(K y) − K y), in place. Returns the largest change of a coefficient in each MCU, (N,)."""
        largest = ycc.new_zeros(len(ycc))
        for c in range(self.channels):
            values, steps = self.coefficients(ycc, c, index), self.steps[c]
            centre, half = self.integers[c][index] * steps, (steps / 2 - margin).clamp(min=0)
            change = torch.maximum(torch.minimum(values, centre + half), centre - half) - values
            change *= self.known[c][index]
            ycc[:, c] += relaxation * self.back(change, c, index)
            largest = torch.maximum(largest, change.flatten(1).abs().amax(1))
        return largest

    def coefficients(self, ycc: Tensor, component: int, index: Tensor) -> Tensor:
        """K: the coefficients of a component, (N, m, n), for MCUs in YCbCr."""
        rows, columns = (m[index] for m in self.maps[component > 0][:2])
        return rows @ ycc[:, component] @ columns.mT

    def back(self, change: Tensor, component: int, index: Tensor) -> Tensor:
        """K⁺: the smallest change of a component, (N, V, H), that changes its coefficients so, (N, m, n)."""
        rows, columns = (m[index] for m in self.maps[component > 0][2:])
        return rows @ change @ columns.mT

    def wrong_coefficients(self, mcus: Tensor, index: Tensor) -> Tensor:
        """How many coefficients of each MCU of integers libjpeg would save differently: (N,) int64."""
        count = torch.zeros(len(mcus), dtype=torch.int64)
        for c, plane in enumerate(self.planes(mcus, index)):
            saved = plane_of(quantised(dct(blocks_of(plane)), self.code.tables[c].double()))
            count += ((saved != self.integers[c][index]) & self.known[c][index]).sum((-2, -1))
        return count

    def planes(self, mcus: Tensor, index: Tensor) -> list[Tensor]:
        """The integers of Y, and of the subsampled Cb and Cr, that libjpeg transforms: (N, m, n) each."""
        rows, columns = (i[index] for i in self.copies[0])
        full = mcus.gather(-2, rows[:, None, :, None].expand(mcus.shape))
        full = full.gather(-1, columns[:, None, None].expand(mcus.shape))
        if self.channels == 1:
            return [full[:, 0].float()]
        ycc = rgb_to_ycc(full)
        chroma = downsampled(ycc[:, 1:], *self.code.sampling)
        chroma = chroma.gather(-2, self.copies[1][0][index][:, None, :, None].expand(chroma.shape))
        return [ycc[:, 0], chroma[:, 0], chroma[:, 1]]

    def to_ycc(self, rgb: Tensor) -> Tensor:
        """MCUs of RGB in YCbCr, in exact arithmetic, each component with its centre at 0."""
        if self.channels == 1:
            return rgb - _CENTRE
        ycc = torch.einsum("ij,njvh->nivh", self.colours, rgb)
        ycc[:, 0] -= _CENTRE
        return ycc

    def to_rgb(self, ycc: Tensor) -> Tensor:
        """The inverse of `to_ycc`."""
        if self.channels == 1:
            return ycc + _CENTRE
        return torch.einsum("ij,njvh->nivh", self.colours_back, ycc) + _CENTRE

    @cached_property
    def used(self) -> tuple[Tensor, Tensor]:
        """How many rows and how many columns of each MCU lie in the picture: (N,) each."""
        rows, columns = (
            (n - m * torch.arange(g)).clamp(max=m)
            for n, m, g in zip(self.code.size, self.shape, self.grid, strict=True)
        )
        return rows.repeat_interleave(self.grid[1]), columns.repeat(self.grid[0])

    def split(self, image: Tensor) -> Tensor:
        """An upright image (C, h, w) as its MCUs (N, C, V, H), filled up with zeros."""
        stored = self.code.stored(image)
        (rows, columns), (v, h) = self.grid, self.shape
        padded = stored.new_zeros(self.channels, rows * v, columns * h)
        padded[:, : stored.shape[-2], : stored.shape[-1]] = stored
        mcus = padded.view(self.channels, rows, v, columns, h).permute(1, 3, 0, 2, 4)
        return mcus.reshape(self.count, self.channels, v, h)

    def join(self, mcus: Tensor) -> Tensor:
        """The inverse of `split`."""
        (rows, columns), (v, h), (height, width) = self.grid, self.shape, self.code.size
        parts = mcus.reshape(rows, columns, self.channels, v, h).permute(2, 0, 3, 1, 4)
        return self.code.upright(parts.reshape(self.channels, rows * v, columns * h)[:, :height, :width])

    def spread(self, component: int) -> tuple[Tensor, Tensor]:
        """The integers of a component by MCU, (N, m, n) float64, and which of them the file holds."""
        values = self.code.coefficients[component].double()
        rows, columns = self.grid
        down, across = (1, 1) if component else self.code.sampling
        blocks = values.new_full((rows * down, columns * across, 8, 8), math.nan)
        blocks[: values.shape[0], : values.shape[1]] = values
        blocks = blocks.view(rows, down, columns, across, 8, 8).transpose(1, 2)
        planes = plane_of(blocks).flatten(0, 1)
        return planes.nan_to_num(0.0), ~planes.isnan()

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


@lasting_tensors()
def encode_jpeg(image: Tensor, tables: Sequence[Tensor], sampling: tuple[int, int] = (1, 1)) -> JpegCoefficients:
    """What libjpeg saves of an image, without the Huffman coding.

    Args:
        image: integers 0 … 255, (1, h, w) grey or (3, h, w) RGB.
        tables: the quantisation steps of Y, or of Y, Cb and Cr, (8, 8) each.
        sampling: (vertical, horizontal) pixels for each value of Cb and Cr.

    Raises:
        ValueError: numbers of channels and tables that do not fit.
    """
    size = (image.shape[-2], image.shape[-1])
    every = [sampling if c else (1, 1) for c in range(len(image))]
    counts = [[-(-n // (8 * s)) for n, s in zip(size, one, strict=True)] for one in every]
    empty = JpegCoefficients(size, [torch.zeros(*count, 8, 8) for count in counts], tables, sampling)
    grid = JpegSet(empty)
    coefficients = []
    planes = grid.planes(grid.split(image), torch.arange(grid.count))
    for plane, table, (rows, columns) in zip(planes, tables, counts, strict=True):
        saved = quantised(dct(blocks_of(plane)), table.double()).unflatten(0, grid.grid)  # by MCU
        whole = saved.transpose(1, 2).flatten(2, 3).flatten(0, 1)
        coefficients.append(whole[:rows, :columns].short())
    return JpegCoefficients(size, coefficients, tables, sampling)
