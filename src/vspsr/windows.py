"""Where alternating projections crawl or fail: windows of the image, solved with an interior-point method."""

import torch
from torch import Tensor

from vspsr.interior import nearest_within
from vspsr.state import State

__all__ = ["settle"]

_CELL = 10  # LR pixels missed in one square of this side are settled together
_FAR = 10.0  # a bound that never binds, in units of the range
_NEGLIGIBLE = 0.01  # levels


def settle(state: State, slack: float, margin: int) -> None:
    """Solve a window around every group of missed LR values, the rest of the image held fixed.

    Args:
        state: updated.
        slack: how far LR values may be from their integers before rounding.
        margin: LR pixels around the missed ones that take part.
    """
    missing = state.missing()
    h, w = missing.shape[1:]
    index = missing.nonzero().cpu()
    cells = torch.cat([index[:, :1], index[:, 1:] // _CELL], 1)
    for cell in cells.unique(dim=0):
        group = index[(cells == cell).all(1)][:, 1:]
        (top, left), (bottom, right) = (group.amin(0) - margin).tolist(), (group.amax(0) + margin + 1).tolist()
        _settle_window(state, int(cell[0]), (max(top, 0), min(bottom, h)), (max(left, 0), min(right, w)), slack)


def _settle_window(state: State, c: int, lr_rows: tuple[int, int], lr_columns: tuple[int, int], slack: float) -> None:
    hr_v, lr_v, down_v = state.rows.window(*lr_rows)
    hr_h, lr_h, down_h = state.columns.window(*lr_columns)
    peak = state.peak
    image, integers = state.image[c, hr_v, hr_h], state.integers[c, hr_v, hr_h]
    before = image.clone(), integers.clone()
    missed = _missed(state, c, lr_v, lr_h)
    vertical, inner = state.vertical[c, lr_v, hr_h], state.inner[c, lr_v, hr_h]
    value, target = state.value[c, lr_v, lr_h], state.target[c, lr_v, lr_h]

    # Rows under the window stay unclipped; those beside it that are clipped stay so, and do not count.
    row_low, row_high = torch.zeros_like(vertical), torch.ones_like(vertical)
    counted = torch.ones_like(vertical)
    if state.per_pass:
        beside = torch.ones_like(vertical, dtype=torch.bool)
        beside[lr_rows[0] - lr_v.start : lr_rows[1] - lr_v.start] = False
        above, below = beside & (vertical > peak), beside & (vertical < 0)
        row_low = torch.where(above, 1.0, torch.where(below, -_FAR, row_low))
        row_high = torch.where(above, _FAR, torch.where(below, 0.0, row_high))
        counted = torch.where(above | below, 0.0, counted)
    else:
        row_low, row_high = row_low - _FAR, row_high + _FAR

    # LR values beside the window may stay as they are where they are met.
    low, high = target - slack, target + slack
    met = (value - target).abs() < 0.5
    low, high = torch.where(met, torch.minimum(low, value), low), torch.where(met, torch.maximum(high, value), high)
    inside = (
        slice(lr_rows[0] - lr_v.start, lr_rows[1] - lr_v.start),
        slice(lr_columns[0] - lr_h.start, lr_columns[1] - lr_h.start),
    )
    low[inside], high[inside] = (target - slack)[inside], (target + slack)[inside]
    low = torch.where(target <= 0, -_FAR * peak, low)
    high = torch.where(target >= peak, _FAR * peak, high)
    fixed = value - (counted * inner) @ down_h.T
    x = nearest_within(
        image / peak,
        down_v,
        down_h,
        ((vertical - down_v @ integers) / peak, row_low, row_high),
        ((low - fixed) / peak, (high - fixed) / peak),
        counted,
        _NEGLIGIBLE / peak,
    )
    state.image[c, hr_v, hr_h] = x * peak
    _update(state, c, hr_v, hr_h, lr_v)
    if _missed(state, c, lr_v, lr_h) > missed:
        state.image[c, hr_v, hr_h] = before[0]
        _update(state, c, hr_v, hr_h, lr_v)


def _missed(state: State, c: int, lr_v: slice, lr_h: slice) -> float:
    return float(state.missing()[c, lr_v, lr_h].square().sum())


def _update(state: State, c: int, hr_v: slice, hr_h: slice, lr_v: slice) -> None:
    state.integers[c, hr_v, hr_h] = state.image[c, hr_v, hr_h].round()
    rows = torch.arange(lr_v.start, lr_v.stop)
    state.look_again(torch.full_like(rows, c), rows, 0)
