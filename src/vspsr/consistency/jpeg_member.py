"""From an image near those that give a JPEG file to 8-bit integers that libjpeg encodes to exactly this file.

Each MCU is treated by itself:

1. it is projected onto intervals that are smaller by a margin (`JpegSet.nearest`), rounded and verified;
2. if that fails for all margins, as where quantisation steps are 1 or 2, integers of Y, Cb and Cr are searched, and
   then RGB for them (`jpeg_search`);
3. if that fails, as at the ends of the range, integers are searched anywhere in the set, once for the file, from
   several places.

An MCU for which all of this fails keeps the best integers found, and its wrong coefficients are counted. That happens
where most quantisation steps are 1 (qualities above 97), and in files whose coefficients no RGB image gives.
"""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.checks import check_image
from vspsr.consistency.jpeg_search import pixels_for, search_mcus, search_planes
from vspsr.degradation.banded import lasting_tensors
from vspsr.degradation.jpeg import blocks_of, dct_matrix, mean_bias, plane_of
from vspsr.degradation.jpeg_set import JpegSet

_CENTRES = 1e9
_ROUNDED, _SEARCHED, _FURTHER = (1.0, 2.0), (1.0, 0.1), (0.5, 0.1, _CENTRES)
"""Levels: the margins of the three steps. Rounding moves a coefficient by 0.35 levels (standard deviation); a small
margin leaves room at the ends of the range; the largest leaves only the centres."""

_AROUND, _FURTHER_AROUND = 1, 2
"""Levels around its exact value in which RGB is searched."""

_ATTEMPTS, _AWAY = 16, 8.0
"""Places from which the third step starts anew: this many levels (standard deviation) from the decoded pixels. Of seven
MCUs of skimage's astronaut that nothing else gives, at qualities 93 and 97, all were found by the seventh."""

_NEARLY = 8
"""Wrong coefficients of an MCU up to which further places are tried."""

_FREE = 1e6
"""Quantisation step where the file holds no coefficient: every value fits."""

_UNKNOWN = 1 << 30
"""Number of wrong coefficients where nothing was tried."""

_FURTHER_LOCK = threading.Lock()  # of the module, because objects with a lock cannot be copied


@dataclass(frozen=True)
class JpegMember:
    """Integers near an image, and how well they give the file.

    Attributes:
        image: (C, h, w) uint8, upright.
        coefficients_wrong: coefficients that libjpeg saves differently.
    """

    image: Tensor
    coefficients_wrong: int

    @property
    def exact(self) -> bool:
        """Whether the image, saved with the file's tables and subsampling, is the file, coefficient for coefficient."""
        return self.coefficients_wrong == 0


class _BestMcus:
    """The best integers of each MCU so far, and how many of their coefficients are wrong."""

    def __init__(self, mcus: Tensor, jpeg_set: JpegSet) -> None:
        self.mcus, self.wrong, self._set = mcus, torch.full((len(mcus),), _UNKNOWN), jpeg_set

    def improve(self, index: Tensor, tried: Tensor) -> Tensor:
        """Keep what is better for the MCUs ``index``. Returns those of them that still have wrong coefficients."""
        wrong = self._set.wrong_coefficients(tried, index)
        better = wrong < self.wrong[index]
        self.mcus[index[better]], self.wrong[index[better]] = tried[better], wrong[better]
        return index[self.wrong[index] > 0]


class JpegMembers:
    """The 8-bit images that libjpeg encodes to the coefficients of a file, that of ``jpeg_set``."""

    @lasting_tensors()
    def __init__(self, jpeg_set: JpegSet) -> None:
        self.set = jpeg_set
        shape = (jpeg_set.count, jpeg_set.channels, *jpeg_set.shape)
        self._further = _BestMcus(torch.full(shape, 128.0, dtype=torch.float64), jpeg_set)

    @lasting_tensors()
    def near(self, y: Tensor) -> JpegMember:
        """A member near an image. It depends on this image only, not on earlier calls.

        Args:
            y: (C, h, w) floating point, 0 … 1 nominally, upright.

        Raises:
            ValueError: another size or number of channels, values that are not finite.
        """
        check_image(y, "y")
        self.set.check_size(y, "y")
        mcus = self.set.split(y.double().cpu() * 255)
        best, left = _BestMcus(mcus.clone(), self.set), torch.arange(len(mcus))
        for margin in _ROUNDED:
            if len(left):
                inside = self.set.nearest(mcus[left], left, margin, in_range=True)
                left = best.improve(left, inside.round().clamp(0, 255))
        for margin in _SEARCHED:
            if len(left):
                inside = self.set.nearest(mcus[left], left, margin, in_range=True)
                left = best.improve(left, self._searched(inside, left, _AROUND))
        if len(left):
            with _FURTHER_LOCK:
                self._search_further(left[self._further.wrong[left] == _UNKNOWN])
            best.improve(left, self._further.mcus[left])
        return JpegMember(self.set.join(best.mcus).byte(), int(best.wrong.sum()))

    def _search_further(self, index: Tensor) -> None:
        """Search integers of MCUs whatever the image is, into `_further`."""
        grey = torch.full_like(self._further.mcus, 128)
        for margin in _FURTHER:
            if len(index):
                inside = self.set.nearest(grey[index], index, margin, in_range=True)
                index = self._further.improve(index, self._searched(inside, index, _FURTHER_AROUND))
        if len(index):
            index = self._further.improve(index, search_mcus(self._further.mcus[index], self.set, index))
        generator = torch.Generator().manual_seed(0)
        for attempt in range(_ATTEMPTS):
            index = index[self._further.wrong[index] <= _NEARLY]
            if not len(index):
                return
            # The same for all MCUs, so that what is found does not depend on which others are left.
            noise = _AWAY * torch.randn(grey.shape[1:], generator=generator, dtype=torch.float64)
            decoded = self.set.nearest(grey[index], index, _CENTRES, in_range=True)
            margin = _FURTHER[attempt % 2]
            inside = self.set.nearest(decoded + noise, index, margin, in_range=True)
            found = self._searched(inside, index, _FURTHER_AROUND)
            index = self._further.improve(index, search_mcus(found, self.set, index))

    def _searched(self, mcus: Tensor, index: Tensor, around: int) -> Tensor:
        """RGB integers near MCUs within the set: (N, C, V, H)."""
        ycc = self.set.to_ycc(mcus)
        planes = [self._plane(ycc, c, index) for c in range(self.set.channels)]
        return self._pixels(ycc, planes, index, around)

    def _plane(self, ycc: Tensor, component: int, index: Tensor) -> Tensor:
        """Integers of a component that have the file's coefficients, as far as they are found: (N, m, n) float64."""
        matrix = dct_matrix(8)
        exact = blocks_of(self.set.coefficients(ycc, component, index))
        wanted, known = (blocks_of(x[component][index]) for x in (self.set.integers, self.set.known))
        rows, columns = (_within_blocks(i[index]) for i in self.set.copies[component > 0])
        found = search_planes(
            (matrix.T @ exact @ matrix + 128).flatten(0, 2),
            wanted.flatten(0, 2),
            blocks_of(self.set.steps[component]).where(known, _FREE).flatten(0, 2),
            rows[:, :, None].expand(*exact.shape[:3], 8).flatten(0, 2),
            columns[:, None].expand(*exact.shape[:3], 8).flatten(0, 2),
            component > 0 and self.set.code.sampling == (2, 2),
        )
        return plane_of(found.view(exact.shape))

    def _pixels(self, ycc: Tensor, planes: list[Tensor], index: Tensor, around: int) -> Tensor:
        """RGB integers near MCUs in YCbCr whose planes are given, as far as they exist: (N, C, V, H)."""
        if self.set.channels == 1:
            return planes[0][:, None]
        # libjpeg rounds means of several integers with a bias: aim at the middle of the sums that give an integer.
        (down, across), matrix = self.set.code.sampling, dct_matrix(8)
        count = down * across
        middle = ((count - 1) / 2 - mean_bias(down, across, planes[1].shape[-1])) / count
        for c in (1, 2):
            aim = plane_of(matrix @ blocks_of(planes[c] + middle - 128) @ matrix.T)
            ycc[:, c] += self.set.back(aim - self.set.coefficients(ycc, c, index), c, index)
        targets = ycc + 128
        targets[:, 0] = planes[0]
        return pixels_for(targets, self.set, index, around)


def _within_blocks(copies: Tensor) -> Tensor:
    """Places in an MCU, (N, m), as places in its blocks, (N, m/8, 8)."""
    blocks = copies.unflatten(-1, (-1, 8))
    return (blocks - 8 * torch.arange(blocks.shape[-2])[:, None]).clamp(min=0)
