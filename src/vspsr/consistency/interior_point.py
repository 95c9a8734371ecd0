"""The image nearest to a given one within narrow bounds: an interior-point method for one window.

Alternating projections crawl where most pixels are black or white. Here the nearest image x to x₀ with

    0 ≤ x ≤ 1,   a_low ≤ a ≤ a_high,   y_low ≤ D_h a + e ≤ y_high,   a = D_v x + what surrounds the window,

is found in ten to forty Newton steps, however narrow the bounds (Mehrotra's predictor-corrector method; Nocedal &
Wright, *Numerical Optimization*, ch. 14 and 16). The bounds of a keep the rows from being clipped when they are
rounded to integers, or keep them clipped. The slack e is heavily penalised: it is 0 if the bounds are feasible, and
the smallest miss if they are not.
"""

import math
import time

import torch
from torch import Tensor

from vspsr.consistency.windows import FAR, Problem

_PENALTY = 1e10
"""On e², where the distance to x₀ weighs 1: a miss of one 16-bit level costs 2, more than any other image saves."""

_TO_BOUNDARY = 0.99
"""Share of the way to the nearest bound that a step may go: usual, and keeps the next step from being short."""

_START_MARGIN = 0.05
"""Distance of the first iterate from its bounds, as a share of the room between them and at most in the range."""

_START_MULTIPLIER = 0.1
"""Multipliers of the first iterate: of the order of the final ones, so that few steps are spent on their size."""

_COMPLEMENTARITY = 1e-3
"""Mean complementarity at the end, as a share of the precision."""


class _Bounded:
    """A variable between two bounds, with the multipliers of both."""

    def __init__(self, value: Tensor, low: Tensor, high: Tensor) -> None:
        margin = (_START_MARGIN * (high - low)).clamp_max(_START_MARGIN)
        self.low, self.high = low, high
        self.value = torch.minimum(torch.maximum(value, low + margin), high - margin)
        self.lower = torch.full_like(value, _START_MULTIPLIER)
        self.upper = self.lower.clone()
        self.step = self.lower_step = self.upper_step = torch.zeros_like(value)

    def measure(self) -> float:
        """Update the gaps to the bounds and the curvature of the barrier; the total complementarity."""
        self.below, self.above = self.value - self.low, self.high - self.value
        self.curvature = self.lower / self.below + self.upper / self.above
        return float((self.below * self.lower + self.above * self.upper).sum())

    def newton_rhs(self, centre: float, corrected: bool) -> Tensor:
        """Its part of the right-hand side of a step to complementarity ``centre``, of second order if ``corrected``."""
        self.lower_goal = centre - self.below * self.lower
        self.upper_goal = centre - self.above * self.upper
        if corrected:
            self.lower_goal = self.lower_goal - self.step * self.lower_step
            self.upper_goal = self.upper_goal + self.step * self.upper_step
        return self.lower_goal / self.below - self.upper_goal / self.above

    def set_step(self, step: Tensor) -> None:
        """The step of the variable, from which those of its multipliers follow."""
        self.step = step
        self.lower_step = (self.lower_goal - self.lower * step) / self.below
        self.upper_step = (self.upper_goal + self.upper * step) / self.above

    def max_step(self) -> tuple[float, float]:
        """The longest steps, of the variable and of its multipliers, that keep all of them positive."""
        return (
            min(_longest(self.below, self.step), _longest(self.above, -self.step)),
            min(_longest(self.lower, self.lower_step), _longest(self.upper, self.upper_step)),
        )

    def ahead(self, primal: float, dual: float) -> float:
        """Total complementarity after a step."""
        below = (self.below + primal * self.step) * (self.lower + dual * self.lower_step)
        above = (self.above - primal * self.step) * (self.upper + dual * self.upper_step)
        return float((below + above).sum())

    def move(self, primal: float, dual: float) -> None:
        self.value = self.value + primal * self.step
        self.lower = self.lower + dual * self.lower_step
        self.upper = self.upper + dual * self.upper_step


def _longest(gap: Tensor, step: Tensor) -> float:
    return 1.0 / max(1.0, float((-step / gap).max()))


def nearest_within(
    problem: Problem, clipped: Tensor, precision: float, deadline: float = math.inf, steps: int = 50
) -> tuple[Tensor, str]:
    """The image in range nearest to ``problem.x0`` that meets its bounds, or misses them by as little as possible.

    Args:
        problem: the window.
        clipped: (h, W): which rows are clipped at the upper (1) or at the lower end (−1) of the range, and stay so;
            the others (0) stay within the range if ``problem.clips``.
        precision: what is negligible, in units of the range.
        deadline: a time of `time.thread_time` after which no further step is begun.
        steps: the most Newton steps to take.

    Returns:
        x (H, W) in [0, 1], the last iterate, and how the method ended: "converged", "iteration limit", "time limit" or
        "numerically singular".
    """
    x0, down_v, down_h, around = problem.x0, problem.down_v, problem.down_h, problem.row_offset
    above, below = clipped > 0, clipped < 0
    counted = torch.where(above | below, 0.0, 1.0).to(x0)
    row_low = torch.where(above, 1.0, torch.where(below, -FAR, 0.0 if problem.clips else -FAR)).to(x0)
    row_high = torch.where(above, FAR, torch.where(below, 0.0, 1.0 if problem.clips else FAR)).to(x0)
    constant = above.to(x0) @ down_h.T + problem.value_offset
    value_low, value_high = problem.low - constant, problem.high - constant
    x = _Bounded(x0, torch.zeros_like(x0), torch.ones_like(x0))
    a = _Bounded(down_v @ x.value + around, row_low, row_high)
    y = _Bounded((counted * a.value) @ down_h.T, value_low, value_high)
    parts = (x, a, y)
    size = 2 * sum(part.value.numel() for part in parts)
    of_rows, of_values = torch.zeros_like(a.value), torch.zeros_like(y.value)  # multipliers; e = of_values / penalty
    shape, identity = y.value.shape, torch.eye(down_v.shape[0], dtype=x0.dtype)
    pairs = torch.einsum("ip,kp->ikp", down_v, down_v).flatten(0, 1)
    across = torch.einsum("jq,lq->qjl", down_h, down_h).flatten(1)
    status = "iteration limit"
    for _ in range(steps):
        mean = sum(part.measure() for part in parts) / size
        if not all(part.curvature.isfinite().all() for part in parts):
            status = "numerically singular"  # a gap is 0 in floating point: no further step can be computed
            break
        miss_rows = down_v @ x.value + around + of_rows / _PENALTY - a.value
        miss_values = (counted * a.value) @ down_h.T + of_values / _PENALTY - y.value
        if (
            mean < _COMPLEMENTARITY * precision
            and max(float(m.abs().max()) for m in (miss_rows, miss_values)) < precision
        ):
            status = "converged"
            break
        if time.thread_time() > deadline:
            status = "time limit"
            break
        # Minus the gradient of the Lagrangian.
        downhill_x = x0 - x.value + down_v.T @ of_rows + x.lower - x.upper
        downhill_a = counted * (of_values @ down_h) - of_rows + a.lower - a.upper
        downhill_y = y.lower - y.upper - of_values
        # x, then a are eliminated, which leaves one equation per LR value. K couples the entries of a column of a;
        # (K + 1/curvature)⁻¹ = rootᵀ root.
        inverse_x = 1 / (1 + x.curvature)
        k = (pairs @ inverse_x).T.reshape(-1, *identity.shape) + identity / _PENALTY
        root_curvature = a.curvature.T.sqrt()[:, :, None]
        factor = torch.linalg.cholesky_ex(identity + root_curvature * k * root_curvature.mT).L
        root = torch.linalg.solve_triangular(factor, torch.diag_embed(root_curvature[:, :, 0]), upper=False)
        half = root @ k
        coupled = (k - half.mT @ half) * counted.T[:, :, None] * counted.T[:, None, :]
        hessian = (coupled.flatten(1).T @ across).reshape(shape[0], shape[0], shape[1], shape[1])
        hessian = hessian.transpose(1, 2).reshape(y.value.numel(), -1)
        hessian.diagonal().add_((1 / y.curvature + 1 / _PENALTY).flatten())
        outer, failed = torch.linalg.cholesky_ex(hessian)
        if failed:
            status = "numerically singular"
            break

        def columns(blocks: Tensor, of: Tensor) -> Tensor:
            return (blocks @ of.T[:, :, None])[:, :, 0].T

        def solve(centre: float, corrected: bool) -> tuple[Tensor, Tensor]:
            """One Newton step towards the point of complementarity ``centre``."""
            of_x, of_a, of_y = (
                downhill + part.newton_rhs(centre, corrected)
                for downhill, part in zip((downhill_x, downhill_a, downhill_y), parts, strict=True)
            )
            known = down_v @ (inverse_x * of_x) + miss_rows

            def row_step(value_step: Tensor) -> Tensor:
                wanted = counted * (value_step @ down_h) + of_a
                return wanted - columns(root.mT, columns(root, columns(k, wanted) + known))

            free = columns(k, row_step(torch.zeros_like(of_y))) + known
            right = of_y / y.curvature - miss_values - (counted * free) @ down_h.T
            step_values = torch.cholesky_solve(right.reshape(-1, 1), outer).reshape(shape)
            step_rows = row_step(step_values)
            x.set_step(inverse_x * (down_v.T @ step_rows + of_x))
            a.set_step(columns(k, step_rows) + known)
            y.set_step((of_y - step_values) / y.curvature)
            return step_values, step_rows

        solve(0.0, corrected=False)
        primal, dual = (min(steps) for steps in zip(*(part.max_step() for part in parts), strict=True))
        ahead = sum(part.ahead(primal, dual) for part in parts) / size
        step_values, step_rows = solve(mean * (ahead / mean) ** 3, corrected=True)
        primal, dual = (_TO_BOUNDARY * min(steps) for steps in zip(*(part.max_step() for part in parts), strict=True))
        for part in parts:
            part.move(primal, dual)
        of_values, of_rows = of_values + dual * step_values, of_rows + dual * step_rows
    return x.value.clamp(0, 1), status
