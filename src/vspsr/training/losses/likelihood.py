"""How far an image is from the truth, pixel by pixel: the Gaussian likelihood of the paper, and plain distances.

Zhou et al. 2021, eq. 4: p(x | w, y) = N(x; x̂(w, y), σ² I). Per HR value

    −log p = ½ log(2πσ²) + (x − x̂)² / 2σ²,

of which the mean squared error, which the authors' code uses, is the case σ² = ½ without the constant.
"""

import math

from torch import Tensor

__all__ = ["gaussian_nll", "l1", "mse"]


def gaussian_nll(x: Tensor, estimate: Tensor, stddev: float) -> Tensor:
    """Mean over HR values of −log N(x; estimate, stddev²), in nats. Any equal shapes → scalar; stddev > 0."""
    return 0.5 * math.log(2 * math.pi * stddev**2) + mse(x, estimate) / (2 * stddev**2)


def mse(x: Tensor, estimate: Tensor) -> Tensor:
    """Mean squared error."""
    return (x - estimate).square().mean()


def l1(x: Tensor, estimate: Tensor) -> Tensor:
    """Mean absolute error."""
    return (x - estimate).abs().mean()
