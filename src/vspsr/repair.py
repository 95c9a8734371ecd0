"""Single steps of single HR pixels that mend the last LR values an integer image misses."""

import torch
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.resize import round_to_range

__all__ = ["repair"]

_STEPS = (1.0, 2.0, 4.0, -1.0, -2.0, -4.0)
_TRIES = 40  # steps spent on one LR value


def repair(
    integers: Tensor,
    target: Tensor,
    places: list[list[int]],
    degradation: Degradation,
    peak: int,
    rounding: str,
) -> None:
    """Greedy descent on what is missed at ``places`` (channel, row, column); ``integers`` (C, H, W) is updated.

    For every HR pixel under an LR value and every small step, the LR values around it are computed anew, rounding
    included; the step that leaves least missing is taken.
    """
    rows, columns = (_Footprints(degradation, n, target.device) for n in target.shape[1:])
    for channel, i, j in places:
        _mend(integers[channel], target[channel], i, j, rows, columns, peak, rounding)


class _Footprints:
    """Along one axis: which HR pixels an LR pixel sees, and which LR pixels these touch, as dense pieces of D."""

    def __init__(self, degradation: Degradation, n_lr: int, device: torch.device) -> None:
        n = degradation.scale * n_lr
        self.operator, self.transposed = degradation.axis(n), degradation.axis(n).transpose()
        self.width, self.height = self.operator.weights.shape[1], self.transposed.weights.shape[1]
        self.device = device

    def __call__(self, i: int) -> tuple[slice, slice, slice, Tensor, Tensor]:
        """HR pixels seen, LR pixels touched, HR pixels those see, D (touched, seen), D (touched, all)."""
        n_lr, n = self.operator.shape
        seen = slice(int(self.operator.start[i]), min(int(self.operator.start[i]) + self.width, n))
        first = int(self.transposed.start[seen.start])
        last = min(int(self.transposed.start[seen.stop - 1]) + self.height, n_lr)
        touched = slice(first, last)
        everything = slice(
            int(self.operator.start[touched].min()),
            min(int(self.operator.start[touched].max()) + self.width, n),
        )
        return (
            seen,
            touched,
            everything,
            self.operator.dense(touched, seen).to(self.device),
            self.operator.dense(touched, everything).to(self.device),
        )


def _mend(
    image: Tensor,
    target: Tensor,
    i: int,
    j: int,
    rows: _Footprints,
    columns: _Footprints,
    peak: int,
    rounding: str,
) -> None:
    """Step HR pixels under LR value (i, j) of one channel until it is met or no step helps."""
    seen_v, touched_v, all_v, step_v, down_v = rows(i)
    seen_h, touched_h, all_h, step_h, down_h = columns(j)
    wanted = target[touched_v, touched_h]
    inner_h = slice(seen_h.start - all_h.start, seen_h.stop - all_h.start)
    steps = torch.tensor(_STEPS, dtype=image.dtype, device=image.device)

    def inner(vertical: Tensor) -> Tensor:
        return round_to_range(vertical, peak) if rounding == "per-pass" else vertical

    for _ in range(_TRIES):
        vertical = down_v @ image[all_v, all_h]  # (touched rows, all columns)
        value = inner(vertical) @ down_h.T
        smooth = vertical.clamp(0, peak) @ down_h.T
        now = _cost(value, smooth, wanted, peak)
        if abs(float(_missing(value, wanted, peak)[i - touched_v.start, j - touched_h.start])) == 0:
            return
        # Candidates: (step, HR row, HR column). A step of one pixel moves one column of `vertical`.
        old = vertical[:, inner_h]
        new = old[None, None] + steps[:, None, None, None] * step_v.T[None, :, :, None]
        change = inner(new) - inner(old)  # (steps, HR rows, touched rows, HR columns)
        smooth_change = new.clamp(0, peak) - old.clamp(0, peak)
        # (steps, HR rows, touched rows, HR columns, touched columns)
        values = value[:, None] + change[..., None] * step_h.T
        smooths = smooth[:, None] + smooth_change[..., None] * step_h.T
        costs = _cost(values.transpose(2, 3), smooths.transpose(2, 3), wanted, peak)
        pixels = image[seen_v, seen_h]
        moved = pixels + steps[:, None, None]
        costs = torch.where((moved >= 0) & (moved <= peak), costs, float("inf"))
        best = int(costs.argmin())
        if not float(costs.flatten()[best]) < float(now) - 1e-12:
            return
        step, p, q = (int(k) for k in torch.unravel_index(torch.tensor(best), costs.shape))
        image[seen_v.start + p, seen_h.start + q] += steps[step]


def _missing(value: Tensor, wanted: Tensor, peak: int) -> Tensor:
    """Distance of a value from the interval that rounds (and clips) to what is wanted."""
    excess = (value - wanted).abs() - 0.499
    one_sided = ((wanted <= 0) & (value <= 0)) | ((wanted >= peak) & (value >= peak))
    return torch.where(one_sided, 0.0, excess.clamp_min(0))


def _cost(value: Tensor, smooth: Tensor, wanted: Tensor, peak: int) -> Tensor:
    """What is missed dominates; the same before rounding the rows breaks ties, so that small steps add up."""
    missed = _missing(value, wanted, peak).square().sum((-1, -2))
    count = (_missing(value, wanted, peak) > 0).sum((-1, -2))
    return 10.0 * missed + 0.1 * count + 0.1 * _missing(smooth, wanted, peak).square().sum((-1, -2))
