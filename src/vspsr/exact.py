"""The solver behind `quantize`: integers in range whose degradation is exactly a given LR image.

Rounding an image that downscales to y moves each LR value by about 0.06 levels (0.13 when the first axis is rounded
too), so all but one LR value in a thousand round back to y at once; more are missed in saturated areas, where the
range clamp pulls the image away from consistency. Correction, clamp and rounding therefore alternate only where an
LR value is missed: each adds its own column of D⁺, cut off where it has decayed. When misses are many, the whole
image is treated instead, which is then cheaper. What resists is repaired by single steps of single HR pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.repair import repair
from vspsr.resize import round_to_range

__all__ = ["solve_integers", "unmet"]

_REACH = 3  # LR pixels to each side over which the correction of one LR value acts
_PATIENCE = 8  # rounds without progress before single HR pixels are stepped
_PASSES = 6
_BAND = 16  # LR rows that are looked at again together


def unmet(value: Tensor, target: Tensor, peak: int, slack: float = 0.5 - 1e-6) -> Tensor:
    """What is missing, target − value, where it exceeds ``slack``; 0 elsewhere.

    A target at either end of the range is met by every value beyond it, since LR values are clipped. The slack is
    just short of one half, so that no value met is a tie that another rounding rule would round the other way.
    """
    residual = target - value
    residual = torch.where(target <= 0, residual.clamp_max(0), residual)
    residual = torch.where(target >= peak, residual.clamp_min(0), residual)
    return torch.where(residual.abs() > slack, residual, 0.0)


@dataclass
class _State:
    """The integers of an image and what they downscale to, before the last rounding."""

    image: Tensor  # (C, H, W) float64, in range, levels
    integers: Tensor  # (C, H, W) float64
    vertical: Tensor  # (C, h, W): D_v · integers
    inner: Tensor  # (C, h, W): the same, rounded and clipped where the convention does so
    value: Tensor  # (C, h, w): D_h · inner


class _Axis:
    """One axis: D, D⁺, its truncated columns, and D in bands of rows."""

    def __init__(self, degradation: Degradation, n_lr: int, device: torch.device) -> None:
        scale = degradation.scale
        n = scale * n_lr
        self.down, self.up = degradation.axis(n), degradation.axis_pseudo_inverse(n)
        self.width = min(2 * _REACH + 1, n_lr) * scale
        start = (scale * (torch.arange(n_lr) - _REACH)).clamp(0, n - self.width)
        columns = self.up.transpose()
        index = start[:, None] + torch.arange(self.width) - columns.start[:, None]
        inside = (index >= 0) & (index < columns.weights.shape[1])
        values = columns.weights.gather(1, index.clamp(0, columns.weights.shape[1] - 1))
        self.start = start.to(device)
        self.bumps = torch.where(inside, values, 0.0).to(device)  # (h, width)
        self.device = device

    def index(self, lr: Tensor) -> Tensor:
        """HR indices of the truncated columns of D⁺ of LR pixels ``lr`` (N,): (N, width)."""
        return self.start[lr][:, None] + torch.arange(self.width, device=self.device)


@lru_cache(maxsize=64)
def _axis(degradation: Degradation, n_lr: int, device: torch.device) -> _Axis:
    return _Axis(degradation, n_lr, device)


def solve_integers(
    x: Tensor, target: Tensor, degradation: Degradation, bits: int, rounding: str
) -> tuple[Tensor, Tensor]:
    """Integers near an image that downscale to ``target``, as far as possible.

    Args:
        x: (C, H, W) floating point, 0 … 1 nominally; H = s·h, W = s·w.
        target: (C, h, w) float64, integers 0 … 2^bits − 1.
        degradation, bits, rounding: as in `quantize`.

    Returns:
        Integers (C, H, W) float64 and what they downscale to, (C, h, w) float64.
    """
    peak = 2**bits - 1
    # float32 cannot hold 16-bit levels and the small residuals beside them.
    image = x * float(peak) if bits == 8 and x.dtype == torch.float32 else x.double() * peak
    missing = unmet(degradation.down(image), target.to(image.dtype), peak, slack=0.02)
    if missing.any():
        image = image + degradation.pseudo_inverse(missing)
    image = image.double().clamp_(0, peak)
    empty = image.new_empty(0)
    state = _State(image, image.round(), empty, empty, empty)
    rows, columns = (_axis(degradation, n, x.device) for n in target.shape[1:])
    _look(state, rows, columns, peak, rounding)
    for _ in range(_PASSES):
        if _alternate(state, target, rows, columns, peak, rounding):
            break
        repair(state.integers, target, degradation, peak, rounding)
        state.image.copy_(state.integers)
        _look(state, rows, columns, peak, rounding)
    return state.integers, degradation.down_integers(state.integers, bits, rounding).double()


def _alternate(state: _State, target: Tensor, rows: _Axis, columns: _Axis, peak: int, rounding: str) -> bool:
    """Correct, clamp and round until nothing is missed (True) or until that has stopped to help (False)."""
    fewest, since = target.numel() + 1, 0
    while True:
        missing = unmet(state.value, target, peak)
        index = missing.nonzero()
        if not len(index):
            return True
        since = 0 if len(index) < fewest else since + 1
        fewest = min(fewest, len(index))
        if since > _PATIENCE:
            return False
        if len(index) * rows.width * columns.width > state.image.numel() // 2:
            _correct_everywhere(state, missing, rows, columns, peak, rounding)
            _look(state, rows, columns, peak, rounding)
        else:
            _correct_locally(state, missing, index, rows, columns, peak, rounding)
            _look_again(state, index, rows, columns, peak, rounding)


def _look(state: _State, rows: _Axis, columns: _Axis, peak: int, rounding: str) -> None:
    state.vertical = rows.down.apply(state.integers, -2)
    state.inner = _rounded(state.vertical, peak, rounding)
    state.value = columns.down.apply(state.inner, -1)


def _look_again(state: _State, index: Tensor, rows: _Axis, columns: _Axis, peak: int, rounding: str) -> None:
    """`_look`, in the bands of LR rows that corrections at ``index`` (N, 3) may have changed."""
    h = state.value.shape[1]
    margin = _REACH + 1 + rows.down.weights.shape[1] * h // state.integers.shape[1]
    changed = torch.zeros(state.value.shape[0], -(-h // _BAND), dtype=torch.bool)
    for shift in (-margin, 0, margin):
        band = (index[:, 1] + shift).clamp(0, h - 1) // _BAND
        changed[index[:, 0].cpu(), band.cpu()] = True
    for channel, band in changed.nonzero().tolist():
        lr = slice(band * _BAND, min((band + 1) * _BAND, h))
        first, part = rows.down.part(lr)
        vertical = part.apply(state.integers[channel, first : first + part.shape[1]], -2)
        state.vertical[channel, lr] = vertical
        state.inner[channel, lr] = _rounded(vertical, peak, rounding)
        state.value[channel, lr] = columns.down.apply(state.inner[channel, lr], -1)


def _rounded(vertical: Tensor, peak: int, rounding: str) -> Tensor:
    return round_to_range(vertical, peak) if rounding == "per-pass" else vertical


def _step(moved: Tensor, inner: Tensor, vertical: Tensor, peak: int, rounding: str) -> Tensor:
    """By how much D_v x has to change where the rounded rows shall move by ``moved``.

    Rounded rows are clipped: one that is beyond the range has first to come back to it.
    """
    if rounding == "single":
        return moved
    goal = (inner + moved).clamp(0, peak)
    beyond = (vertical < 0) | (vertical > peak)
    return torch.where(goal != inner, goal - torch.where(beyond, vertical, inner), 0.0)


def _correct_everywhere(state: _State, missing: Tensor, rows: _Axis, columns: _Axis, peak: int, rounding: str) -> None:
    moved = columns.up.apply(missing, -1)
    state.image += rows.up.apply(_step(moved, state.inner, state.vertical, peak, rounding), -2)
    state.image.clamp_(0, peak)
    state.integers = state.image.round()


def _correct_locally(
    state: _State, missing: Tensor, index: Tensor, rows: _Axis, columns: _Axis, peak: int, rounding: str
) -> None:
    channel, i, j = index.T
    across = columns.index(j)
    moved = missing[channel, i, j][:, None] * columns.bumps[j]
    row = (channel[:, None], i[:, None], across)
    step = _step(moved, state.inner[row], state.vertical[row], peak, rounding)
    height, width = state.image.shape[1:]
    flat = (channel[:, None, None] * height + rows.index(i)[:, :, None]) * width + across[:, None, :]
    flat = flat.flatten()
    image, integers = state.image.view(-1), state.integers.view(-1)
    image.index_add_(0, flat, (rows.bumps[i][:, :, None] * step[:, None, :]).flatten())
    values = image[flat].clamp_(0, peak)
    image[flat] = values
    integers[flat] = values.round_()
