"""Douglas–Rachford splitting, for windows with rows that are clipped: their LR values are no convex condition.

The unknowns (x, b, a, y) satisfy linear equations, b = D_v x and y = D_h a, and conditions entry by entry: x in
range, a = clip(b), y within its bounds. Both sets are projected onto in closed form, the second although a = clip(b)
is a bent line. Reflecting in one set and then in the other finds points of both far from convexity too (Elser,
Rankenburg & Thibault, *Searching with iterated maps*, PNAS 2007); where there are none, the nearest pair of points.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vspsr.consistency.windows import Problem

_WEIGHT = 8.0
"""Weight of distances in b = D_v x against those in x, and in y = D_h a against those in a: D averages many pixels, so
that its values move less than these. From 4 to 16 it takes about as many iterations, at 1 twice as many."""


def splitting_iterates(problem: Problem, every: int) -> Iterator[Tensor]:
    """Images x (H, W) in [0, 1] that come ever closer to a solution: one every so many iterations, without end."""
    down_v, down_h = problem.down_v, problem.down_h
    lift_v, lift_h = _lift(down_v), _lift(down_h)
    x = problem.x0
    b = down_v @ x + problem.row_offset
    a = b.clamp(0, 1) if problem.clips else b
    y = a @ down_h.T + problem.value_offset
    while True:
        for _ in range(every):
            near_x, near_y = x.clamp(0, 1), torch.minimum(torch.maximum(y, problem.low), problem.high)
            near_b, near_a = _onto_clip(b, a) if problem.clips else ((b + a) / 2,) * 2
            flat_x, flat_a = 2 * near_x - x, 2 * near_a - a
            rows = down_v @ flat_x + problem.row_offset
            flat_x += lift_v @ (2 * near_b - b - rows)
            values = flat_a @ down_h.T + problem.value_offset
            flat_a += (2 * near_y - y - values) @ lift_h.T
            x = x + flat_x - near_x
            a = a + flat_a - near_a
            b = b + (down_v @ flat_x + problem.row_offset) - near_b
            y = y + (flat_a @ down_h.T + problem.value_offset) - near_y
        yield x.clamp(0, 1)


def _lift(down: Tensor) -> Tensor:
    """Dᵀ(D Dᵀ + 1/weight)⁻¹: adding it times what D x misses projects onto the graph of D, (n, n_lr)."""
    gram = down @ down.T
    gram.diagonal().add_(1 / _WEIGHT)
    return torch.linalg.solve(gram, down).T


def _onto_clip(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest (b, a) with a = clip(b): on the diagonal, or on one of the two rays beyond the range."""
    both = ((b + a) / 2).clamp(0, 1)
    beyond = torch.where(b > 0.5, b.clamp_min(1), b.clamp_max(0))
    end = (b > 0.5).to(b.dtype)
    ray = (beyond - b).square() + (end - a).square() < (both - b).square() + (both - a).square()
    return torch.where(ray, beyond, both), torch.where(ray, end, both)
