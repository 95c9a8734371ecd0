"""Traces of a JPEG in pixels that were decoded from one and saved again without loss.

The DCT of the 8×8 blocks of such pixels lies near multiples of the quantisation steps: a comb in its histogram. It is
compared with libjpeg's tables of all qualities; if none fits, the steps are estimated. What fits must also reproduce
the pixels when they are saved so again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vspsr.degradation.jpeg import (
    blocks_of,
    coded,
    dct,
    downsampled,
    quality_tables,
    rgb_to_ycc,
    upsampled,
    ycc_to_rgb,
)
from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.jpeg_set import encode_jpeg
from vspsr.images.jpeg_comb import COMB, Comb, grid_offset

_SIDE = 512  # pixels that are examined along each side, at most: bounds the time
_ESTIMATED = 2048  # pixels along each side from which tables are estimated
_CHECKED = 256  # pixels along each side that are saved again
_CANDIDATES = 3  # qualities that are compared by saving again
_SAME = 0.5  # share of the values that saving again reproduces: nearly all of a JPEG's, few of others
_CLEAR = 6  # frequencies with a clear comb, at least, of luminance and of chrominance, where the steps are estimated
_SAMPLINGS = ((1, 1), (2, 2), (1, 2), (2, 1))


@dataclass(frozen=True)
class JpegTraces:
    """A JPEG that pixels may have been.

    Attributes:
        quality: libjpeg's; None if the tables are none of libjpeg's.
        sampling: (vertical, horizontal) pixels for each value of Cb and Cr: (1, 1) for 4:4:4 and grey, (2, 2) 4:2:0.
        origin: (row, column) of the first whole MCU; not (0, 0) if the picture was cropped.
        estimable: whether `coefficients` can be estimated; if not, subsampling and origin are not known either.
    """

    quality: int | None
    sampling: tuple[int, int]
    origin: tuple[int, int] = (0, 0)
    estimable: bool = True

    @property
    def name(self) -> str:
        """What it is called in notes."""
        return "JPEG with tables of its own" if self.quality is None else f"JPEG of quality {self.quality}"

    def whole(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the whole MCUs in a picture of the size (H, W)."""
        height, width = (
            (n - start) // (8 * s) * 8 * s for n, start, s in zip(size, self.origin, self.sampling, strict=True)
        )
        return height, width

    def coefficients(self, pixels: Tensor) -> JpegCoefficients:
        """The coefficients that pixels (C, h, w) with (0, 0) as the origin were decoded from, by saving them again."""
        if self.quality is None:
            tables = _own_tables(_from(pixels, (0, 0), _ESTIMATED), self.sampling)[0]
        else:
            tables = _tables(self.quality, len(pixels))
        return encode_jpeg(pixels, list(tables.int()), self.sampling)


def jpeg_traces(pixels: Tensor) -> JpegTraces | None:
    """The JPEG that pixels were decoded from, None if there is no sign of one.

    Found are JPEGs with steps that are not too fine (libjpeg's up to quality 95), 4:4:4, 4:2:2, 4:2:0, 4:4:0 or grey,
    which were not resized. They may have been cropped.

    Args:
        pixels: (C, h, w), integers 0 … 255; C = 1 or 3.
    """
    if min(pixels.shape[-2:]) < 16:
        return None
    if (found := _traces_at(pixels, (0, 0))) is not None:
        return found
    offset = grid_offset(_planes(pixels[:, :_SIDE, :_SIDE])[0])
    return None if offset == (0, 0) else _traces_at(pixels, offset)


def _traces_at(pixels: Tensor, offset: tuple[int, int]) -> JpegTraces | None:
    """Traces of a JPEG whose grid of blocks begins at an offset, 0 … 7 each."""
    part = _from(pixels, offset, _SIDE)
    if not part.numel():
        return None
    planes, luminance = _planes(part), quality_tables(torch.arange(1, 100))[:, 0]
    distances = _comb(planes[0]).distances(luminance)
    near = [int(i) for i in distances.argsort()[:_CANDIDATES] if distances[i] < COMB]
    if near:
        elsewhere = _comb(_planes(_from(pixels, _shifted(offset), _SIDE))[0]).distances(luminance[near])
        near = [i + 1 for i, distance in zip(near, elsewhere, strict=True) if distance > COMB]
    found: list[tuple[float, JpegTraces]] = []
    places = list(_places(len(pixels), offset))
    for quality in near:
        tables = _tables(quality, len(pixels))
        usable = places
        if any(COMB < float(_comb(plane).distances(tables[-1:])) < math.inf for plane in planes[1:]):
            usable = [place for place in places if place[0] != (1, 1)]  # fine steps reproduce everything
        if not usable:
            continue
        shares = [(_share_reproduced(pixels, tables, *place), place) for place in usable]
        share, place = max(shares, key=lambda item: item[0])
        places = [place]  # the other qualities are compared at the same place
        found.append((share, JpegTraces(quality, *place)))
    share, traces = max(found, key=lambda item: item[0], default=(0.0, None))
    return traces if share > _SAME else _with_own_tables(pixels, offset)


def _with_own_tables(pixels: Tensor, offset: tuple[int, int]) -> JpegTraces | None:
    """Traces of a JPEG with tables that are none of libjpeg's."""
    parts = (_from(pixels, start, _SIDE) for start in (offset, _shifted(offset)))
    (tables, clear), (_, elsewhere) = (_steps(_planes(part)[0], _clipped(part)) for part in parts)
    if clear < _CLEAR or 2 * elsewhere > clear:
        return None
    if _share_reproduced(_planes(pixels[:, : 2 * _CHECKED, : 2 * _CHECKED])[:1], tables[None], (1, 1), offset) <= _SAME:
        return None
    places = list(_places(len(pixels), offset))
    # Fine steps reproduce everything: the combs of Cb and Cr tell the kinds of subsampling apart.
    own = [_own_tables(_from(pixels, origin, _SIDE), sampling) for sampling, origin in places]
    best = max(range(len(places)), key=lambda i: own[i][1])
    tables, clear = own[best]
    known = len(pixels) == 1 or clear >= _CLEAR
    known = known and _share_reproduced(pixels, tables, *places[best]) > _SAME
    return JpegTraces(None, *places[best]) if known else JpegTraces(None, (1, 1), offset, estimable=False)


def _places(channels: int, offset: tuple[int, int]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Kinds of subsampling, and where the first whole MCU may begin if blocks begin at an offset."""
    for sampling in _SAMPLINGS[: 1 if channels == 1 else None]:
        for row in range(offset[0], 8 * sampling[0], 8):
            for column in range(offset[1], 8 * sampling[1], 8):
                yield sampling, (row, column)


def _share_reproduced(pixels: Tensor, tables: Tensor, sampling: tuple[int, int], origin: tuple[int, int]) -> float:
    """The share of values that saving again reproduces: tables (C, 8, 8), of the whole MCUs from an origin on."""
    part = _from(pixels, origin, _CHECKED)
    if not part.numel():
        return 0.0
    planes = _planes(part)
    again = [coded(planes[None, :1], tables[None, :1])]
    if len(planes) == 3:
        again.append(upsampled(coded(downsampled(planes[None, 1:], *sampling), tables[None, 1:]), *sampling))
    image = torch.cat(again, 1)[0]
    return float(((ycc_to_rgb(image) if len(planes) == 3 else image) == part).double().mean())


def _own_tables(pixels: Tensor, sampling: tuple[int, int]) -> tuple[Tensor, int]:
    """The steps that explain the coefficients of pixels, (C, 8, 8) int32, and how many combs of Cb and Cr are clear."""
    part = _from(pixels, (0, 0), max(pixels.shape))  # whole MCUs
    clipped, planes = _clipped(part), _planes(part)
    found = [_steps(planes[0], clipped)]
    if len(planes) == 3:
        outside = F.max_pool2d(clipped.float()[None], sampling)[0].bool()
        found += [_steps(plane, outside) for plane in _before_upsampling(planes[1:], sampling)]
    return torch.stack([steps for steps, _ in found]), sum(clear for _, clear in found[1:])


def _shifted(offset: tuple[int, int]) -> tuple[int, int]:
    """An offset at which a JPEG has no comb: enlarged pixels, patterns and gradients may have one there, too."""
    return offset[0] + 4, offset[1] + 4


def _steps(plane: Tensor, clipped: Tensor) -> tuple[Tensor, int]:
    """`Comb.steps` of the blocks of which nothing was clipped."""
    return _comb(plane, ~clipped.flatten()).steps()


def _comb(plane: Tensor, used: Tensor | slice = slice(None)) -> Comb:
    """`Comb` of the blocks of a plane (h, w) that differ."""
    spectrum = (dct(blocks_of(plane)).flatten(0, 1) / 8)[used]
    return Comb(spectrum[_distinct(spectrum)])


def _before_upsampling(chroma: Tensor, sampling: tuple[int, int]) -> Tensor:
    """Cb and Cr before they were upsampled.

    The mean of two upsampled values is a value's 6/8 and 1/8 of each neighbour: this is undone.
    """
    values = F.avg_pool2d(chroma.double()[None], sampling)[0]
    for axis, factor in enumerate(sampling, start=1):
        if factor == 2:
            place = torch.arange(n := values.shape[axis])
            one = torch.eye(n, dtype=torch.float64)
            smoothing = (6 * one + one[(place - 1).clamp(min=0)] + one[(place + 1).clamp(max=n - 1)]) / 8
            lines = values.movedim(axis, 0)
            values = torch.linalg.solve(smoothing, lines.flatten(1)).reshape(lines.shape).movedim(0, axis)
    return values


def _from(pixels: Tensor, origin: tuple[int, int], side: int) -> Tensor:
    """The pixels from an origin on, at most ``side`` each way, cut to a multiple of 16."""
    height, width = (max(0, min(n - o, side)) // 16 * 16 for n, o in zip(pixels.shape[-2:], origin, strict=True))
    return pixels[:, origin[0] : origin[0] + height, origin[1] : origin[1] + width]


def _planes(pixels: Tensor) -> Tensor:
    return rgb_to_ycc(pixels) if len(pixels) == 3 else pixels.float()


def _clipped(pixels: Tensor) -> Tensor:
    """Whether a block holds black or white, (rows, columns): its values may have been clipped."""
    ends = (pixels == 0) | (pixels == 255)
    return blocks_of(ends.any(0)).flatten(-2).any(-1)


def _distinct(spectrum: Tensor) -> Tensor:
    """Which blocks come first of those that are equal up to their mean: patterns that repeat are no comb."""
    weights = torch.linspace(1, 2, 64, dtype=torch.float64).sqrt()
    weights[0] = 0
    keys = (spectrum.flatten(1) @ weights).sort()
    first = torch.ones_like(keys.values, dtype=torch.bool)
    first[1:] = keys.values.diff() > 1e-6
    return keys.indices[first]


def _tables(quality: int, channels: int) -> Tensor:
    """libjpeg's tables of a quality, for each channel: (C, 8, 8)."""
    return quality_tables(torch.tensor([quality]))[0, [0, 1, 1][:channels]]
