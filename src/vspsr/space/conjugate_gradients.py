"""Linear systems whose matrix is only known by its products (Hestenes & Stiefel, 1952).

The residual of conjugate gradients rises and falls on its way. `smoothed_gradients` gives, at no cost, the combination
of all iterates whose residual is about the smallest (minimal residual smoothing: Zhou & Walker, SIAM J. Sci. Comput.
1994). How far an iterate is off is bounded from a number that no eigenvalue of S is below (Meurant & Tichý, Numer.
Algorithms 2013).
"""

import math
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vspsr.consistency.progress import report_progress
from vspsr.errors import ConvergenceWarning

_MAX_ITERATIONS = 1000  # 30 to 400 are usual; what takes more than 1,000 has a σ too small for the dtype


def smoothed_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, smallest: float, energy_tolerance: float
) -> tuple[Tensor, float]:
    """x = S⁻¹ b and the energy bᵀ S⁻¹ b for a symmetric positive definite S: (n,) and a number.

    x is that of the first step that reaches its tolerance, however many more the energy takes. A ConvergenceWarning
    says if 1,000 products do not suffice.

    Args:
        product: S, (n,) → (n,); its result may be of lower precision than b.
        b: (n,), float64, so that many steps do not add up rounding errors.
        tolerance: of ‖b − S x‖ / ‖b‖.
        smallest: no eigenvalue of S is smaller.
        energy_tolerance: error of the energy that is allowed, as a share of it.
    """
    whole = float(b @ b)
    report = _reporter(whole)
    best, left = torch.zeros_like(b), b.clone()
    found: Tensor | None = None
    for bound, x, rest in _iterates(product, b, smallest):
        change = left - rest
        share = float(left @ change) / max(float(change @ change), 1e-300)
        best.lerp_(x, share)
        left.lerp_(rest, share)
        square, energy = float(left @ left), float(x @ (b + rest))
        report(square, tolerance**2 * whole)
        if found is None and square <= tolerance**2 * whole:
            found = best.clone()
        if found is not None and bound <= energy_tolerance * energy:
            return found, energy
    _warn(square, whole)
    return best if found is None else found, energy


def inverse_form(
    product: Callable[[Tensor], Tensor], u: Tensor, v: Tensor, smallest: float, accuracy: tuple[float, float]
) -> float:
    """uᵀ S⁻¹ v, from x ≈ S⁻¹ u and z ≈ S⁻¹ v as xᵀ v + zᵀ (u − S x): its error is the product of both errors.

    Args:
        product, u, v: as in `smoothed_gradients`.
        smallest: no eigenvalue of S is smaller.
        accuracy: the error allowed, absolute or as a share, whichever is more. A ConvergenceWarning if 1,000 steps do
            not suffice.
    """
    absolute, share = accuracy
    report = _reporter(float(u.norm() * v.norm()) / smallest)
    for (of_x, x, left), (of_z, z, _) in zip(*(_iterates(product, b, smallest) for b in (u, v)), strict=False):
        value, bound = float(x @ v + z @ left), (of_x * of_z) ** 0.5
        goal = max(absolute, share * abs(value))
        report(bound, goal)
        if bound <= goal:
            return value
    _warn(float(left @ left), float(u @ u))
    return value


def _iterates(
    product: Callable[[Tensor], Tensor], b: Tensor, smallest: float
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """A bound of (b − S x)ᵀ S⁻¹ (b − S x), x and b − S x, from x = 0 on. The tensors are overwritten by the next step.

    ``smallest``: no eigenvalue of S is smaller.
    """
    x, rest, direction = torch.zeros_like(b), b.clone(), b.clone()
    square, inverse = float(b @ b), 1 / smallest
    for _ in range(_MAX_ITERATIONS):
        yield inverse * square, x, rest
        if square == 0:
            return
        image = product(direction).to(b)
        step = square / float(direction @ image)
        x.add_(direction, alpha=step)
        rest.sub_(image, alpha=step)
        square, previous = float(rest @ rest), square
        direction.mul_(square / previous).add_(rest)
        ahead = inverse - step  # by rounding alone it may be negative
        inverse = ahead / (smallest * ahead + square / previous) if ahead > 0 else 1 / smallest
    yield inverse * square, x, rest


def _reporter(whole: float) -> Callable[[float, float], None]:
    """Reports progress by something that falls about exponentially from ``whole``: what it is, and what it shall be."""
    done = 0

    def report(left: float, goal: float) -> None:
        nonlocal done
        if 0 < goal < whole and left > 0:
            done = max(done, min(99, int(100 * math.log(whole / left) / math.log(whole / goal))))
        report_progress(done, 100)

    return report


def _warn(square: float, whole: float) -> None:
    left = (square / max(whole, 1e-300)) ** 0.5
    text = f"a solve stopped after {_MAX_ITERATIONS} steps at a relative residual of {left:.1g}, which may be "
    warnings.warn(f"{text}too much: take a larger `stddev`, or a space in float64", ConvergenceWarning, 3)
