"""An image of integers and what it downscales to, kept up to date while the solver changes it."""

from functools import lru_cache

import torch
from torch import Tensor

from vspsr.degradation.banded import lasting_tensors
from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import round_to_range

RADIUS = 3
"""LR pixels to each side over which the local correction of one LR value acts: columns of D⁺ have decayed to 3 % of
their largest entry there."""

TOLERANCE = 0.5 - 1e-6
"""How far a value may be from its integer: short of one half, where rounding rules differ."""

_BAND = 16
"""LR rows that are downscaled together. Fewer need more products; more include rows that have not changed."""


class Axis:
    """An axis of n_lr LR pixels: D, D⁺, and the columns of D⁺ cut off where they have decayed."""

    @lasting_tensors()
    def __init__(self, degradation: Degradation, n_lr: int) -> None:
        self.scale = degradation.scale
        n = self.scale * n_lr
        self.down, self.up = degradation.axis(n), degradation.axis_pseudo_inverse(n)
        self.across = self.down.transposed
        self.width = min(2 * RADIUS + 1, n_lr) * self.scale
        self.start = (self.scale * (torch.arange(n_lr) - RADIUS)).clamp(0, n - self.width)
        rows = torch.arange(n_lr)
        columns = self.index(rows)
        self.bumps, self.weights = self.up.at(columns, rows[:, None]), self.down.at(rows[:, None], columns)

    def index(self, lr: Tensor) -> Tensor:
        """HR indices of the truncated columns of D⁺ of LR pixels ``lr`` (N,): (N, width)."""
        return self.start[lr][:, None] + torch.arange(self.width)

    def window(self, first: int, last: int) -> tuple[slice, slice, Tensor]:
        """HR pixels under LR pixels first … last − 1, all LR pixels they touch, and D between the two."""
        hr = slice(self.scale * first, self.scale * last)
        start = self.across.start[hr]
        touched = slice(int(start.min()), min(int(start.max()) + self.across.weights.shape[1], self.down.shape[0]))
        return hr, touched, self.across.dense(hr, touched).T


axis_of = lru_cache(maxsize=64)(Axis)
"""`Axis`, kept for the next image of this size."""


class IntegerImage:
    """An image (C, H, W), its integers and their LR values, all in levels.

    Attributes:
        image: (C, H, W) float64, in range; integers: the same, rounded.
        vertical: (C, h, W): D_v · integers, before rounding.
        inner: (C, h, W): the same, rounded and clipped where the convention does so.
        value: (C, h, w): D_h · inner, before rounding.
        target: (C, h, w): the LR integers wanted.
        skipped: (C, h, w) bool: those that are given up.
    """

    def __init__(self, image: Tensor, target: Tensor, degradation: Degradation, peak: int, per_pass: bool) -> None:
        self.target, self.peak, self.per_pass = target, peak, per_pass
        self.skipped = torch.zeros_like(target, dtype=torch.bool)
        self.rows, self.columns = (axis_of(degradation, n) for n in target.shape[1:])
        self.set_image(image)

    def set_image(self, image: Tensor) -> None:
        """Start anew from an image (C, H, W)."""
        self.image = image.contiguous()  # it is changed through flat views
        self.integers = self.image.round()
        self.vertical = self.rows.down.apply(self.integers, -2)
        self.inner = self.rounded(self.vertical)
        self.value = self.columns.down.apply(self.inner, -1)

    def update_residual_near(self, channel: Tensor | int, lr_row: Tensor, margin: int) -> None:
        """Downscale anew where integers changed at most ``margin`` LR rows from the given ones."""
        h = self.value.shape[1]
        changed = torch.zeros(self.value.shape[0], -(-h // _BAND), dtype=torch.bool)
        for shift in range(-margin, margin + _BAND, _BAND):
            band = (lr_row + min(shift, margin)).clamp(0, h - 1) // _BAND
            changed[channel, band] = True
        for c, band in changed.nonzero().tolist():
            lr = slice(band * _BAND, min((band + 1) * _BAND, h))
            first, part = self.rows.down.part(lr)
            vertical = part.apply(self.integers[c, first : first + part.shape[1]], -2)
            self.vertical[c, lr] = vertical
            self.inner[c, lr] = self.rounded(vertical)
            self.value[c, lr] = self.columns.down.apply(self.inner[c, lr], -1)

    def rounded(self, vertical: Tensor) -> Tensor:
        """Rows of LR pixels as the convention leaves them."""
        return round_to_range(vertical, self.peak) if self.per_pass else vertical

    def residual(self, tolerance: float = TOLERANCE) -> Tensor:
        """(C, h, w): target − value where it exceeds ``tolerance`` and is not given up, else 0."""
        return self.deviation(self.value, tolerance).masked_fill_(self.skipped, 0.0)

    def deviation(self, value: Tensor, tolerance: float = TOLERANCE, target: Tensor | None = None) -> Tensor:
        """Target − value. Targets 0 and peak accept any value beyond the range, because LR values are clipped."""
        target = self.target if target is None else target
        residual = target - value
        residual = torch.where(target <= 0, residual.clamp_max(0), residual)
        residual = torch.where(target >= self.peak, residual.clamp_min(0), residual)
        return torch.where(residual.abs() > tolerance, residual, 0.0)
