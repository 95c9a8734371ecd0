"""Linear systems whose matrix is only known by its products (Hestenes & Stiefel, 1952)."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from vspsr.errors import ConvergenceWarning

_LOOK_BACK = 5


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, tolerance: float, energy_tolerance: float = 0.0, most: int = 1000
) -> Tensor:
    """S⁻¹ b for a symmetric positive definite S. A ConvergenceWarning says if ``most`` products do not suffice.

    Args:
        product: S, (n,) → (n,); its result may be of lower precision than b.
        b: (n,), float64, so that many steps do not add up rounding errors.
        tolerance: of ‖b − S x‖ / ‖b‖ …
        energy_tolerance: … or of bᵀ S⁻¹ b, which grows with every step: stop when the last five steps added less than
            this share of it (Strakoš & Tichý, ETNA 2002). 0 for the first alone.
        most: products.
    """
    x, rest, direction = torch.zeros_like(b), b.clone(), b.clone()
    square = float(b @ b)
    wanted, gains = tolerance**2 * square, [0.0]
    for _ in range(most):
        settled = len(gains) > _LOOK_BACK and sum(gains[-_LOOK_BACK:]) < energy_tolerance * sum(gains)
        if square <= wanted or settled:
            return x
        image = product(direction).to(b)
        step = square / float(direction @ image)
        gains.append(step * square)
        x.add_(direction, alpha=step)
        rest.sub_(image, alpha=step)
        square, previous = float(rest @ rest), square
        direction.mul_(square / previous).add_(rest)
    left = (square / max(float(b @ b), 1e-300)) ** 0.5
    warnings.warn(f"a solve stopped after {most} steps at a relative residual of {left:.1g}", ConvergenceWarning, 2)
    return x
