"""The leading eigenpairs of a covariance that is only known by its products.

Randomised block Krylov iteration (Halko, Martinsson & Tropp, *Finding Structure with Randomness*, SIAM Review 2011,
with the whole Krylov space instead of its last block as in Musco & Musco, NeurIPS 2015): from a random block Q₀ the
space of Q₀, C Q₀, C² Q₀ … is orthonormalised block by block, and the eigenpairs of C in that space are taken
(Rayleigh–Ritz). Each comes with its residual ‖C v − λ v‖: an eigenvalue of C lies within it of λ.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.consistency.progress import report_progress

_ROUNDING = 8  # units of rounding of the largest eigenvalue, which products add; about 2 were measured


@dataclass(frozen=True)
class PrincipalComponents:
    """The k directions of largest variance of a region of s·height × s·width HR pixels.

    Attributes:
        directions: (k, channels, s·height, s·width), of unit length and orthogonal to each other.
        stddev: (k,), standard deviation along each, the calibration included, in units of the image: falling.
        explained: (k,), share of the region's variance along each, 0 … 1.
        residual: (k,), ‖C v − λ v‖ / λ of each, rounding errors included: the relative accuracy of its variance λ, at
            worst.
    """

    directions: Tensor
    stddev: Tensor
    explained: Tensor
    residual: Tensor


def leading_eigenpairs(
    product: Callable[[Tensor], Tensor], start: Tensor, k: int, tolerance: float, max_dimensions: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """The k largest eigenvalues and their vectors. A step of its progress is one that is found.

    Args:
        product: (N, n) → (N, n), C applied to each of N vectors: symmetric, positive semi-definite.
        start: (b, n), the random block.
        k: number of eigenpairs, ≤ n.
        tolerance: stop when every residual is below this share of its eigenvalue …
        max_dimensions: … or when the space has this many dimensions, ≥ k.

    Returns:
        Values λ, (k,) float64, largest first; vectors v, (k, n), orthonormal; ‖C v − λ v‖ with what rounding errors may
        add, (k,) float64; the space in which they were found, (m, n), orthonormal; the trace of C within it.
    """
    n = start.shape[1]
    basis = _orthonormal(start[: min(len(start), n)], start[:0])
    projected = torch.zeros(0, 0, dtype=torch.float64, device=start.device)
    done = 0
    block = basis
    while True:
        image = product(block)
        column = (basis @ image.T).double()  # (m, b)
        m, b = column.shape
        grown = projected.new_zeros(m, m)
        grown[: m - b, : m - b] = projected
        grown[:, m - b :] = column
        grown[m - b :] = column.T
        grown[m - b :, m - b :] = 0.5 * (column[m - b :] + column[m - b :].T)
        projected = grown
        rest = image - column.T.to(image) @ basis
        values, y = torch.linalg.eigh(projected)
        values, y = values.flip(0), y.flip(1)
        # The residual of a Ritz vector is what its part in the last block brings from outside of the space.
        residuals = (rest.double().T @ y[m - b :, :k]).norm(dim=0)
        wanted = values[:k].clamp_min(torch.finfo(start.dtype).tiny)
        room = min(n, max(max_dimensions, k)) - m
        found = residuals <= tolerance * wanted
        if m >= k and (room <= 0 or bool(found.all())):
            vectors = y[:, :k].T.to(basis) @ basis
            residuals = residuals + _ROUNDING * torch.finfo(start.dtype).eps * values[0]
            return values[:k].clamp_min(0), vectors, residuals, basis, float(projected.trace())
        done = max(done, int(found.sum()))
        report_progress(done, k)
        block = _orthonormal(rest[: max(room, 1)], basis)
        basis = torch.cat([basis, block])


def _orthonormal(vectors: Tensor, against: Tensor) -> Tensor:
    """Orthonormal rows that span ``vectors`` (b, n), orthogonal to the orthonormal rows of ``against``."""
    for _ in range(2):  # once is not enough in floating point
        vectors = vectors - (vectors @ against.T) @ against
        vectors = torch.linalg.qr(vectors.T)[0].T
    return vectors
