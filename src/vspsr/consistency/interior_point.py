"""Where range and LR values leave little room: an interior-point method for one window of an image.

Alternating projections crawl where most pixels sit at black or white. Here the nearest image x to x₀ with

    0 ≤ x ≤ 1,   a_low ≤ a ≤ a_high,   y_low ≤ D_h a + e ≤ y_high,   a = D_v x + what surrounds the window,

is found in ten to thirty Newton steps, however narrow the room (Mehrotra's predictor-corrector method; Nocedal &
Wright, *Numerical Optimization*, ch. 14 and 16). The bounds of a keep the rows from being clipped when they are
rounded to integers. e, dearly paid for, is 0 where the bounds can be met, and the smallest miss where they cannot.
"""

import torch
from torch import Tensor

__all__ = ["nearest_within"]

_PENALTY = 1e10  # on e², where the distance to x₀ weighs 1
_STEPS = 30
_TO_BOUNDARY = 0.99


class _Bounded:
    """A variable between two bounds, with the multipliers of both."""

    def __init__(self, value: Tensor, low: Tensor, high: Tensor) -> None:
        margin = (0.05 * (high - low)).clamp_max(0.05)
        self.low, self.high = low, high
        self.value = torch.minimum(torch.maximum(value, low + margin), high - margin)
        self.lower, self.upper = torch.full_like(value, 0.1), torch.full_like(value, 0.1)
        self.step = self.lower_step = self.upper_step = torch.zeros_like(value)

    def measure(self) -> float:
        """Update the gaps to the bounds and the curvature of the barrier; the total complementarity."""
        self.below, self.above = self.value - self.low, self.high - self.value
        self.curvature = self.lower / self.below + self.upper / self.above
        return float((self.below * self.lower + self.above * self.upper).sum())

    def newton_rhs(self, centre: float, corrected: bool) -> Tensor:
        """Aim at complementarity ``centre`` (second order with the last step if ``corrected``): its pull."""
        self.lower_goal = centre - self.below * self.lower
        self.upper_goal = centre - self.above * self.upper
        if corrected:
            self.lower_goal = self.lower_goal - self.step * self.lower_step
            self.upper_goal = self.upper_goal + self.step * self.upper_step
        return self.lower_goal / self.below - self.upper_goal / self.above

    def set_step(self, step: Tensor) -> None:
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
    x0: Tensor,
    down_v: Tensor,
    down_h: Tensor,
    rows: tuple[Tensor, Tensor, Tensor],
    values: tuple[Tensor, Tensor],
    counted: Tensor,
    precision: float,
) -> Tensor:
    """The image in range nearest to x₀ within bounds on its rows and on its LR values.

    Args:
        x0: (H, W) float64, range 0 … 1.
        down_v: (h, H); down_h: (w, W): D.
        rows: what the surroundings add to a, and its lower and upper bounds, (h, W) each.
        values: the lower and upper bounds of D_h a, (h, w) each.
        counted: (h, W), 1 where a counts towards D_h a, 0 where it is clipped and stays so.
        precision: what is negligible, in units of the range.

    Returns:
        x (H, W).
    """
    around, row_low, row_high = rows
    value_low, value_high = values
    x = _Bounded(x0, torch.zeros_like(x0), torch.ones_like(x0))
    a = _Bounded(down_v @ x.value + around, row_low, row_high)
    y = _Bounded((counted * a.value) @ down_h.T, value_low, value_high)
    parts = (x, a, y)
    size = 2 * sum(part.value.numel() for part in parts)
    of_rows, of_values = torch.zeros_like(a.value), torch.zeros_like(y.value)  # multipliers; e = of_values / penalty
    shape, identity = y.value.shape, torch.eye(down_v.shape[0], dtype=x0.dtype, device=x0.device)
    pairs = torch.einsum("ip,kp->ikp", down_v, down_v).flatten(0, 1)
    across = torch.einsum("jq,lq->qjl", down_h, down_h).flatten(1)
    for _ in range(_STEPS):
        mean = sum(part.measure() for part in parts) / size
        if not all(part.curvature.isfinite().all() for part in parts):
            break  # a gap has shrunk to nothing in floating point: no further step can be computed
        miss_rows = down_v @ x.value + around + of_rows / _PENALTY - a.value
        miss_values = (counted * a.value) @ down_h.T + of_values / _PENALTY - y.value
        if mean < 1e-3 * precision and max(float(m.abs().max()) for m in (miss_rows, miss_values)) < precision:
            break
        # Minus the gradient of the Lagrangian.
        pull_x = x0 - x.value + down_v.T @ of_rows + x.lower - x.upper
        pull_a = counted * (of_values @ down_h) - of_rows + a.lower - a.upper
        pull_y = y.lower - y.upper - of_values
        # x, then a are eliminated, which leaves one equation per LR value. K couples the entries of a column of a;
        # b = (K + 1/curvature)⁻¹ = rootᵀ root tells how far their bounds keep them from moving.
        give_x = 1 / (1 + x.curvature)
        k = (pairs @ give_x).T.reshape(-1, *identity.shape) + identity / _PENALTY
        hessian = a.curvature.T.sqrt()[:, :, None]
        factor = torch.linalg.cholesky_ex(identity + hessian * k * hessian.mT).L
        root = torch.linalg.solve_triangular(factor, torch.diag_embed(hessian[:, :, 0]), upper=False)
        half = root @ k
        coupled = (k - half.mT @ half) * counted.T[:, :, None] * counted.T[:, None, :]
        matrix = (coupled.flatten(1).T @ across).reshape(shape[0], shape[0], shape[1], shape[1])
        matrix = matrix.transpose(1, 2).reshape(y.value.numel(), -1)
        matrix.diagonal().add_((1 / y.curvature + 1 / _PENALTY).flatten())
        outer, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            break

        def columns(blocks: Tensor, of: Tensor) -> Tensor:
            return (blocks @ of.T[:, :, None])[:, :, 0].T

        def solve(centre: float, corrected: bool) -> tuple[Tensor, Tensor]:
            """One Newton step towards the point of complementarity ``centre``."""
            of_x, of_a, of_y = (
                pull + part.newton_rhs(centre, corrected)
                for pull, part in zip((pull_x, pull_a, pull_y), parts, strict=True)
            )
            known = down_v @ (give_x * of_x) + miss_rows

            def row_step(value_step: Tensor) -> Tensor:
                wanted = counted * (value_step @ down_h) + of_a
                return wanted - columns(root.mT, columns(root, columns(k, wanted) + known))

            free = columns(k, row_step(torch.zeros_like(of_y))) + known
            right = of_y / y.curvature - miss_values - (counted * free) @ down_h.T
            step_values = torch.cholesky_solve(right.reshape(-1, 1), outer).reshape(shape)
            step_rows = row_step(step_values)
            x.set_step(give_x * (down_v.T @ step_rows + of_x))
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
    return x.value.clamp(0, 1)
