"""Linear systems whose matrix is only known by its products (Hestenes & Stiefel, 1952)."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from vspsr.errors import ConvergenceWarning

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    tolerance: float,
    most: int = 1000,
    preconditioner: Tensor | float = 1.0,
) -> Tensor:
    """S⁻¹ b for a symmetric positive definite S. A ConvergenceWarning says if ``most`` products do not suffice.

    Args:
        product: S, (n,) → (n,); its result may be of lower precision than b.
        b: (n,), float64, so that many steps do not add up rounding errors.
        tolerance: of ‖b − S x‖ / ‖b‖.
        most: products.
        preconditioner: diagonal of an approximate S⁻¹, (n,).
    """
    x, rest = torch.zeros_like(b), b.clone()
    wanted = tolerance * float(b.norm())
    z = preconditioner * rest
    direction, energy = z.clone(), float(rest @ z)
    for _ in range(most):
        if float(rest.norm()) <= wanted:
            return x
        image = product(direction).to(b)
        step = energy / float(direction @ image)
        x.add_(direction, alpha=step)
        rest.sub_(image, alpha=step)
        z = preconditioner * rest
        energy, previous = float(rest @ z), energy
        direction.mul_(energy / previous).add_(z)
    left = float(rest.norm()) / max(float(b.norm()), 1e-300)
    warnings.warn(f"a solve stopped after {most} steps at a relative residual of {left:.1g}", ConvergenceWarning, 2)
    return x
