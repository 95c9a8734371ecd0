"""The comb in the histogram of DCT coefficients that were quantised once, and the position of the grid of blocks.

Coefficients of decoded pixels lie near multiples of the quantisation steps. The rounding of pixels to integers moves
them by 0.3 to 0.4, root mean square.
"""

import functools
import math

import torch
from torch import Tensor

from vspsr.degradation.banded import lasting_tensors
from vspsr.degradation.jpeg import dct_matrix

_LARGEST = 255  # steps of 8-bit tables
_BINS, _BIN = 1024, 0.25  # of a histogram of magnitudes; larger ones are left out
_LEAST = 100  # nonzero coefficients: with fewer, no comb is looked for
_FINEST = 3  # smaller steps leave no clear comb after the decoder's rounding
_RARE, _NEVER = 2.0, 4.5  # magnitudes that rounding alone rarely gives, and never
_STRAY = 0.02  # share of the blocks that may have the former without being quantised to other than 0
_MISSED = 0.02  # share of the latter that a step may take for 0
COMB = 0.2  # distance (see `Comb`) of a comb: 0 for an exact one, 1 for random values
_BLURRED = 0.7  # distance of a comb of step 2, or of means: rounding moves those of flat blocks alike
_ROUNDING = 0.02  # mean square by which rounding moves coefficients, at least
_SIDE = 192  # pixels along a side that `grid_offset` examines
_SMALL = 1.0  # magnitudes of coefficients that count as 0 there
_SIGNIFICANT = 5.0  # how far the best offset must exceed the median, in median deviations


class Comb:
    """Histograms of the coefficients of each frequency, compared with all quantisation steps.

    The distance of values to a step is the mean square of their distances to its multiples over that of random values,
    of those whose nearest multiple is not 0.

    Args:
        spectrum: (N, 8, 8) coefficients of N blocks, in the units of quantisation steps.
    """

    def __init__(self, spectrum: Tensor) -> None:
        bins = (spectrum.flatten(1).abs() / _BIN).round().long()
        index = bins.clamp(max=_BINS) + (_BINS + 1) * torch.arange(64)
        histogram = torch.bincount(index.flatten(), minlength=64 * (_BINS + 1)).view(64, -1)[:, :_BINS].float()
        squares, used = _multiples()
        self._count = len(spectrum)
        self._squares, self._used = histogram @ squares, histogram @ used  # (64, 255)
        rare, never = (round(bound / _BIN) for bound in (_RARE, _NEVER))
        self._stray = histogram[:, rare:never] @ (1 - used[rare:never])
        self._missed = histogram[:, never:] @ (1 - used[never:])
        self._nonzero = histogram[:, never:].sum(1)

    def distances(self, tables: Tensor) -> Tensor:
        """The distance to tables of steps, all frequencies but the mean taken together: (T, 8, 8) → (T,).

        Infinite where fewer than 100 values are not 0.
        """
        steps = tables.flatten(1).long()
        at = steps.T - 1
        counts = (steps >= _FINEST) & (torch.arange(64) > 0)  # means take many values whatever the step is
        squares = (self._squares.gather(1, at).T * counts).sum(1)
        used = self._used.gather(1, at).T * counts
        distance = squares / (steps.square() / 12 * used).sum(1).clamp(min=1e-9)
        return torch.where(used.sum(1) < _LEAST, math.inf, distance)

    def steps(self) -> tuple[Tensor, int]:
        """The largest step that explains the values of each frequency, (8, 8) int32, and how many show a clear comb.

        Where all values are 0, the step is unknown: 255, whose interval contains that of any other. The same holds
        where few are not 0: a step that explains them is a multiple of the true one.
        """
        size = torch.arange(1, _LARGEST + 1)
        # Rounding moves the largest of the steps that explain few values least: it is preferred.
        distance = (self._squares / self._used.clamp(min=1) + _ROUNDING) / (size.square() / 12)
        limit = torch.where(size < _FINEST, _BLURRED, COMB).repeat(64, 1)
        limit[0] = _BLURRED
        possible = (distance < limit) & (self._used > 0) & (self._stray <= _STRAY * self._count)
        possible &= self._missed <= _MISSED * self._nonzero[:, None]
        score = torch.where(possible, distance, math.inf)
        score[:, 0] = _BLURRED  # a step of 1 explains everything
        steps = score.argmin(1) + 1
        few = self._nonzero < _LEAST / 4
        clear = (steps >= _FINEST) & ~few
        steps[few & (steps < _FINEST)] = _LARGEST
        return steps.view(8, 8).int(), int(clear[1:].sum())


@functools.cache
@lasting_tensors()
def _multiples() -> tuple[Tensor, Tensor]:
    """The square of each bin's distance to the nearest multiple of each step, 0 if that is 0; whether it is not."""
    values = _BIN * torch.arange(_BINS, dtype=torch.float32)[:, None]
    steps = torch.arange(1, _LARGEST + 1, dtype=torch.float32)
    multiple = (values / steps).round()
    used = (multiple != 0).float()
    return (values - multiple * steps).square() * used, used


def grid_offset(plane: Tensor) -> tuple[int, int]:
    """The (row, column) 0 … 7 at which blocks begin in which most DCT coefficients are 0; (0, 0) if none stands out.

    ``plane``: (h, w) of 15 pixels each way at least, levels.
    """
    part, matrix = plane[:_SIDE, :_SIDE].float() - 128, dct_matrix(8).float()
    rows, columns = ((n - 7) // 8 * 8 for n in part.shape)
    across = part.unfold(1, 8, 1)[:, :columns] @ matrix.T
    spectra = matrix @ across.unfold(0, 8, 1)[:rows].transpose(-1, -2)
    small = (spectra.abs() < _SMALL).sum((-1, -2)).view(rows // 8, 8, columns // 8, 8)
    counts = small.sum((0, 2)).float().flatten()
    excess = counts - counts.median()
    best = int(excess.argmax())
    if float(excess[best]) <= _SIGNIFICANT * max(1.0, float(excess.abs().median())):
        return 0, 0
    return best // 8, best % 8
