"""Linear systems whose matrix is only known by its products (Hestenes & Stiefel, 1952)."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from vspsr.errors import ConvergenceWarning

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
    x, rest, direction = torch.zeros_like(b), b.clone(), b.clone()
    square = float(b @ b)
    wanted, gains = tolerance**2 * square, [0.0]
    for _ in range(_MAX_ITERATIONS):
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
    warnings.warn(
        f"a solve stopped after {_MAX_ITERATIONS} steps at a relative residual of {left:.1g}", ConvergenceWarning, 2
    )
    return x
