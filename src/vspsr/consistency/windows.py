"""A window of an image as a small problem of its own, what surrounds it held fixed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.consistency.integer_image import IntegerImage

FAR = 10.0
"""A bound that never binds, in units of the range."""


_CONNECTED = 4
"""LR pixels: missed values in the same or in neighbouring squares of this side are one group. D reaches as far."""


@dataclass(frozen=True)
class Problem:
    """Find x in [0, 1] with low ≤ D_h clip(D_v x + row_offset) + value_offset ≤ high; clip only if ``clips``.

    Attributes:
        x0: (H, W) float64, the present image of the window, in units of the range like everything here.
        down_v: (h, H); down_h: (w, W): D between the window and all LR pixels that it touches.
        row_offset: (h, W), what the surroundings add to the rows; value_offset: (h, w), the same for the LR values.
        low, high: (h, w), bounds of the LR values.
        clips: whether the rows are clipped to [0, 1], as they are where they are rounded to integers.
    """

    x0: Tensor
    down_v: Tensor
    down_h: Tensor
    row_offset: Tensor
    value_offset: Tensor
    low: Tensor
    high: Tensor
    clips: bool

    def clipped(self, beyond: float) -> Tensor:
        """(h, W): 1 or −1 where the rows of ``x0`` are above or below the range by more than ``beyond``, else 0."""
        rows = self.down_v @ self.x0 + self.row_offset
        return ((rows > 1 + beyond).int() - (rows < -beyond).int()) * self.clips


class Window:
    """The HR pixels under a rectangle of LR pixels of one channel, and all LR values that depend on them."""

    def __init__(self, state: IntegerImage, channel: int, lr_rows: slice, lr_columns: slice) -> None:
        self.state = state
        hr_v, lr_v, self.down_v = state.rows.window(lr_rows.start, lr_rows.stop)
        hr_h, lr_h, self.down_h = state.columns.window(lr_columns.start, lr_columns.stop)
        self.hr = (channel, hr_v, hr_h)
        self.row = (channel, lr_v, hr_h)
        self.lr = (channel, lr_v, lr_h)
        self.inside = (
            slice(lr_rows.start - lr_v.start, lr_rows.stop - lr_v.start),
            slice(lr_columns.start - lr_h.start, lr_columns.stop - lr_h.start),
        )

    @classmethod
    def around(cls, state: IntegerImage, group: Tensor, margin: int) -> "Window":
        """The window of some LR values (n, 3) of one channel, as (channel, row, column), and a margin around them."""
        h, w = state.target.shape[1:]
        (channel, top, left), (_, bottom, right) = group.amin(0).tolist(), group.amax(0).tolist()
        rows = slice(max(top - margin, 0), min(bottom + margin + 1, h))
        return cls(state, channel, rows, slice(max(left - margin, 0), min(right + margin + 1, w)))

    def problem(self, slack: float) -> Problem:
        """The problem of LR values within ``slack`` levels of their targets; values beside may stay as they are."""
        state, peak = self.state, self.state.peak
        value, target = state.value[self.lr], state.target[self.lr]
        low, high = target - slack, target + slack
        beside = torch.ones_like(target, dtype=torch.bool)
        beside[self.inside] = False
        low = torch.where(beside, torch.minimum(low, value), low)
        high = torch.where(beside, torch.maximum(high, value), high)
        return Problem(
            x0=state.image[self.hr] / peak,
            down_v=self.down_v,
            down_h=self.down_h,
            row_offset=(state.vertical[self.row] - self.down_v @ state.integers[self.hr]) / peak,
            value_offset=(value - state.inner[self.row] @ self.down_h.T) / peak,
            low=torch.where(target <= 0, -FAR, low / peak),
            high=torch.where(target >= peak, FAR, high / peak),
            clips=state.per_pass,
        )

    def residual(self) -> Tensor:
        """What is missed, (h, w), in levels."""
        return self.state.deviation(self.state.value[self.lr], target=self.state.target[self.lr])

    def replace(self, image: Tensor) -> None:
        """Set the image (H, W), in levels, and its integers."""
        self.state.image[self.hr], self.state.integers[self.hr] = image, image.round()
        channel, rows, _ = self.lr
        self.state.update_residual_near(channel, torch.arange(rows.start, rows.stop), 0)

    def improve(self, image: Tensor) -> bool:
        """`replace` if that makes the sum of squared misses smaller; whether it did."""
        before, missed = self.state.image[self.hr].clone(), self.residual().square().sum()
        self.replace(image)
        if image.isfinite().all() and self.residual().square().sum() < missed:
            return True
        self.replace(before)
        return False


def missed_groups(missed: Tensor, extent: int) -> list[Tensor]:
    """Connected groups of missed LR values (C, h, w), cut up where they extend over more than ``extent`` LR pixels.

    Returns:
        Groups (n, 3) of (channel, row, column): small ones first.
    """
    index = missed.nonzero()
    cells, cell_of = torch.cat([index[:, :1], index[:, 1:] // _CONNECTED], 1).unique(dim=0, return_inverse=True)
    if not len(index):
        return []
    label_of = _connected(cells)[cell_of]
    count = int(label_of.max()) + 1
    place, label = index[:, 1:], label_of[:, None].expand(-1, 2)
    first = torch.full((count, 2), missed.numel()).scatter_reduce(0, label, place, "amin")
    size = torch.zeros(count, 2, dtype=torch.int64).scatter_reduce(0, label, place, "amax") - first + 1
    step = -(-size // -(-size // extent))
    key = torch.cat([label_of[:, None], (place - first[label_of]) // step[label_of]], 1)
    _, group_of, sizes = key.unique(dim=0, return_inverse=True, return_counts=True)
    groups = index[group_of.argsort(stable=True)].split(sizes.tolist())
    return sorted(groups, key=len)


def _connected(cells: Tensor) -> Tensor:
    """Numbers (n,) of the components of cells (n, 3): cells of a channel are connected to their eight neighbours."""
    unseen = {tuple(cell): k for k, cell in enumerate(cells.tolist())}
    labels = torch.empty(len(cells), dtype=torch.int64)
    component = 0
    while unseen:
        cell, k = unseen.popitem()
        labels[k] = component
        waiting = [cell]
        while waiting:
            channel, i, j = waiting.pop()
            for neighbour in ((channel, i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)):
                if neighbour in unseen:
                    labels[unseen.pop(neighbour)] = component
                    waiting.append(neighbour)
        component += 1
    return labels
