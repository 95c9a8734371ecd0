"""Linear systems whose matrix is only known by its products (Hestenes & Stiefel, 1952).

The residual of conjugate gradients rises and falls on its way. `smoothed_gradients` gives, at no cost, the combination
of all iterates whose residual is about the smallest (minimal residual smoothing: Zhou & Walker, SIAM J. Sci. Comput.
1994).
"""

import math
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vspsr.errors import ConvergenceWarning
from vspsr.space.estimates import report_progress

_LOOK_BACK = 5
_MAX_ITERATIONS = 1000  # 30 to 60 are usual; what takes more than 1,000 has a σ too small for the dtype


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, energy_tolerance: float = 0.0
) -> Tensor:
    """S⁻¹ b for a symmetric positive definite S. A ConvergenceWarning says if 1,000 products do not suffice.

    Args:
        product: S, (n,) → (n,); its result may be of lower precision than b.
        b: (n,), float64, so that many steps do not add up rounding errors.
        tolerance: of ‖b − S x‖ / ‖b‖ …
        energy_tolerance: … or of bᵀ S⁻¹ b, which grows with every step: stop when the last five steps added less than
            this share of it (Strakoš & Tichý, ETNA 2002). 0 for the first alone.
    """
    whole, gains, report = float(b @ b), [0.0], _reporter(float(b @ b), tolerance)
    for x, rest, gain in _iterates(product, b):
        report(float(rest @ rest))
        gains.append(gain)
        settled = len(gains) > _LOOK_BACK + 1 and sum(gains[-_LOOK_BACK:]) < energy_tolerance * sum(gains)
        if float(rest @ rest) <= tolerance**2 * whole or settled:
            return x
    _warn(float(rest @ rest), whole)
    return x


def smoothed_gradients(product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """S⁻¹ b and what is left, b − S x: (n,) and (n,). Arguments and the warning as in `conjugate_gradients`."""
    whole, report = float(b @ b), _reporter(float(b @ b), tolerance)
    best, left = torch.zeros_like(b), b.clone()
    for x, rest, _ in _iterates(product, b):
        change = left - rest
        share = float(left @ change) / max(float(change @ change), 1e-300)
        best.lerp_(x, share)
        left.lerp_(rest, share)
        report(float(left @ left))
        if float(left @ left) <= tolerance**2 * whole:
            return best, left
    _warn(float(left @ left), whole)
    return best, left


def _iterates(product: Callable[[Tensor], Tensor], b: Tensor) -> Iterator[tuple[Tensor, Tensor, float]]:
    """x, b − S x and the growth of bᵀ x, from x = 0 on. The tensors are overwritten by the next step."""
    x, rest, direction = torch.zeros_like(b), b.clone(), b.clone()
    square, gain = float(b @ b), 0.0
    for _ in range(_MAX_ITERATIONS):
        yield x, rest, gain
        if square == 0:
            return
        image = product(direction).to(b)
        step = square / float(direction @ image)
        gain = step * square
        x.add_(direction, alpha=step)
        rest.sub_(image, alpha=step)
        square, previous = float(rest @ rest), square
        direction.mul_(square / previous).add_(rest)
    yield x, rest, gain


def _reporter(whole: float, tolerance: float) -> Callable[[float], None]:
    """Reports progress by ‖b − S x‖², which falls about exponentially."""
    goal, done = -2 * math.log(tolerance) if 0 < tolerance < 1 else math.inf, 0

    def report(left: float) -> None:
        nonlocal done
        if left > 0:
            done = max(done, min(99, int(100 * math.log(whole / left) / goal)))
            report_progress(done, 100)

    return report


def _warn(square: float, whole: float) -> None:
    left = (square / max(whole, 1e-300)) ** 0.5
    text = f"a solve stopped after {_MAX_ITERATIONS} steps at a relative residual of {left:.1g}"
    warnings.warn(text, ConvergenceWarning, 3)
