"""Where alternating projections crawl or fail: windows of the image, solved with an interior-point method."""

import torch
from torch import Tensor

from vspsr.consistency.integer_image import IntegerImage
from vspsr.consistency.interior_point import nearest_within

__all__ = ["solve_windows"]

_CELL = 10  # LR pixels missed in one square of this side are settled together
_FAR = 10.0  # a bound that never binds, in units of the range
_NEGLIGIBLE = 0.01  # levels
_NEARLY = 1.5  # levels: misses below are due to rounding
_AT_THE_END = 5e-4  # of the range
_MORE = 8  # solutions tried with rows beyond the range


def solve_windows(state: IntegerImage, slack: float, margin: int) -> None:
    """Solve a window around every group of missed LR values, the rest of the image held fixed.

    Args:
        state: updated.
        slack: how far LR values may be from their integers before rounding.
        margin: LR pixels around the missed ones that take part.
    """
    h, w = state.target.shape[1:]
    index = state.residual().nonzero().cpu()
    cells = torch.cat([index[:, :1], index[:, 1:] // _CELL], 1)
    for cell in cells.unique(dim=0):
        group = index[(cells == cell).all(1)][:, 1:]
        (top, left), (bottom, right) = (group.amin(0) - margin).tolist(), (group.amax(0) + margin + 1).tolist()
        lr = (slice(max(top, 0), min(bottom, h)), slice(max(left, 0), min(right, w)))
        window = _Window(state, int(cell[0]), *lr)
        window.solve(slack, clipped=0.0)
        # Rows that reach the end of the range may also go beyond, where they are clipped.
        for _ in range(_MORE if state.per_pass else 0):
            if window.worst() < _NEARLY or not window.solve(slack, clipped=max(0.5, _AT_THE_END * state.peak)):
                break


class _Window:
    """A piece of one channel and all that depends on it."""

    def __init__(self, state: IntegerImage, c: int, lr_rows: slice, lr_columns: slice) -> None:
        self.state, self.c = state, c
        self.hr_v, self.lr_v, self.down_v = state.rows.window(lr_rows.start, lr_rows.stop)
        self.hr_h, self.lr_h, self.down_h = state.columns.window(lr_columns.start, lr_columns.stop)
        self.under = slice(lr_rows.start - self.lr_v.start, lr_rows.stop - self.lr_v.start)
        self.within = slice(lr_columns.start - self.lr_h.start, lr_columns.stop - self.lr_h.start)

    def solve(self, slack: float, clipped: float) -> bool:
        """Replace the window if fewer or smaller misses result; whether it was replaced.

        Rows within ``clipped`` levels of an end of the range are taken to be clipped; if 0, only those beside the
        window that are clipped.
        """
        state, c, peak = self.state, self.c, self.state.peak
        image, integers = state.image[c, self.hr_v, self.hr_h], state.integers[c, self.hr_v, self.hr_h]
        vertical, inner = state.vertical[c, self.lr_v, self.hr_h], state.inner[c, self.lr_v, self.hr_h]
        before, missed = image.clone(), self._missed()
        if state.per_pass:
            above, below = vertical > peak - clipped, vertical < clipped
            if not clipped:
                above[self.under], below[self.under] = False, False
            row_low = torch.where(above, 1.0, torch.where(below, -_FAR, 0.0))
            row_high = torch.where(above, _FAR, torch.where(below, 0.0, 1.0))
            inner = torch.where(above, float(peak), torch.where(below, 0.0, inner))
            counted = torch.where(above | below, 0.0, 1.0).to(vertical)
        else:
            row_low, row_high = torch.full_like(vertical, -_FAR), torch.full_like(vertical, _FAR)
            counted = torch.ones_like(vertical)
        # What D_h adds to the LR values that is not counted in this window.
        value = state.value[c, self.lr_v, self.lr_h]
        fixed = value - (state.inner[c, self.lr_v, self.hr_h] - (1 - counted) * inner) @ self.down_h.T
        low, high = self._bounds(slack)
        x = nearest_within(
            image / peak,
            self.down_v,
            self.down_h,
            ((vertical - self.down_v @ integers) / peak, row_low.to(vertical), row_high.to(vertical)),
            ((low - fixed) / peak, (high - fixed) / peak),
            counted,
            _NEGLIGIBLE / peak,
        )
        self._replace(x * peak)
        better = bool(x.isfinite().all()) and self._missed() < missed
        if not better:
            self._replace(before)
        return better

    def worst(self) -> float:
        """The largest miss, in levels."""
        return float(self._missing().abs().max())

    def _bounds(self, slack: float) -> tuple[Tensor, Tensor]:
        value, target = self.state.value[self.c, self.lr_v, self.lr_h], self.state.target[self.c, self.lr_v, self.lr_h]
        low, high = target - slack, target + slack
        # LR values beside the window may stay as they are where they are met.
        beside = (value - target).abs() < 0.5
        beside[self.under, self.within] = False
        low = torch.where(beside, torch.minimum(low, value), low)
        high = torch.where(beside, torch.maximum(high, value), high)
        far = _FAR * self.state.peak
        return torch.where(target <= 0, -far, low), torch.where(target >= self.state.peak, far, high)

    def _missing(self) -> Tensor:
        return self.state.residual()[self.c, self.lr_v, self.lr_h]

    def _missed(self) -> float:
        return float(self._missing().square().sum())

    def _replace(self, image: Tensor) -> None:
        state, window = self.state, (self.c, self.hr_v, self.hr_h)
        state.image[window] = image
        state.integers[window] = image.round()
        rows = torch.arange(self.lr_v.start, self.lr_v.stop)
        state.update_residual_near(torch.full_like(rows, self.c), rows, 0)
