"""Traces of a JPEG in pixels that were decoded from one and saved again without loss.

The DCT of the 8×8 blocks of such pixels lies near multiples of the quantisation steps: a comb in its histogram. It is
compared with libjpeg's tables of all qualities. What fits must also reproduce the pixels when they are saved so again.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.degradation.jpeg import jpeg, quality_tables
from vspsr.degradation.jpeg_arithmetic import blocks_of, dct, idct, plane_of, quantised, rgb_to_ycc
from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.jpeg_encode import encode_jpeg

__all__ = ["JpegTraces", "jpeg_traces"]

_SIDE = 512  # pixels that are examined along each side, at most: bounds the time
_LEAST = 100  # nonzero coefficients: with fewer, no comb is looked for
_FINEST = 3  # smaller steps leave no comb after the decoder's rounding
_COMB = 0.2  # mean square of the distance to a multiple, over that of random values: 0 for a comb, 1 without
_CANDIDATES = 3  # qualities that are compared by saving again
_SAME = 0.5  # share of the values that saving again reproduces: nearly all of a JPEG's, few of others


@dataclass(frozen=True)
class JpegTraces:
    """A JPEG that pixels may have been.

    Attributes:
        quality: libjpeg's.
        sampling: (1, 1) for 4:4:4 and grey, (2, 2) for 4:2:0.
    """

    quality: int
    sampling: tuple[int, int]

    def coefficients(self, pixels: Tensor) -> JpegCoefficients:
        """The coefficients that pixels, (C, h, w), integers 0 … 255, were decoded from, by saving them again."""
        tables = quality_tables(torch.tensor([self.quality]))[0].int()
        return encode_jpeg(pixels, [tables[0], tables[1], tables[1]][: len(pixels)], self.sampling)


def jpeg_traces(pixels: Tensor) -> JpegTraces | None:
    """The JPEG that pixels were decoded from, None if there is no sign of one.

    Found are JPEGs with libjpeg's tables, 4:4:4, 4:2:0 or grey, below quality 96, neither cropped nor resized.

    Args:
        pixels: (C, h, w), integers 0 … 255; C = 1 or 3.
    """
    height, width = (min(n, _SIDE) // 16 * 16 for n in pixels.shape[-2:])
    part = pixels[:, :height, :width].double()
    if not part.numel():
        return None
    planes = rgb_to_ycc(part).double() if len(part) == 3 else part
    spectra = [dct(blocks_of(plane)).flatten(0, 1) / 8 for plane in planes]
    tables = quality_tables(torch.arange(1, 100)).double()
    distances = torch.tensor([_distance(spectra[0], table) for table in tables[:, 0]])
    near = [int(i) for i in distances.argsort()[:_CANDIDATES] if distances[i] < _COMB]
    found = {_sampling_and_share(part, planes, spectra, tables[i]): i + 1 for i in near}
    (sampling, share), quality = max(found.items(), key=lambda item: item[0][1], default=(((1, 1), 0.0), 0))
    return JpegTraces(quality, sampling) if share > _SAME else None


def _sampling_and_share(
    part: Tensor, planes: Tensor, spectra: list[Tensor], tables: Tensor
) -> tuple[tuple[int, int], float]:
    """The subsampling with which saving again reproduces pixels best, and the share of values that it reproduces."""
    if len(part) == 1:
        grey = plane_of(idct(quantised(dct(blocks_of(planes[0])), tables[0]) * tables[0]))
        return (1, 1), _share(grey, planes[0])
    again = jpeg(part.float().expand(2, -1, -1, -1), tables.float().expand(2, -1, -1, -1), torch.tensor([False, True]))
    whole, half = (_share(image, part) for image in again)
    if whole > _SAME and all(not _COMB < _distance(spectrum, tables[1]) < math.inf for spectrum in spectra[1:]):
        return (1, 1), whole
    return (2, 2), half if half > whole else 0.0


def _distance(spectrum: Tensor, steps: Tensor) -> float:
    """Mean square of the distance to a multiple, over that of random values; infinite if too few are not 0."""
    multiples = (spectrum / steps).round()
    used = (multiples != 0) & (steps >= _FINEST)
    used[:, 0, 0] = False  # means take many values whatever the step is
    if int(used.sum()) < _LEAST:
        return math.inf
    return float(((spectrum - multiples * steps).square() * used).sum() / (steps.square() / 12 * used).sum())


def _share(a: Tensor, b: Tensor) -> float:
    return float((a == b).double().mean())
