"""The covariance of a space as an operator: C = c² M Mᵀ with M = (I − D⁺D) A, never formed.

A maps white noise to the stochastic part of an image; I − D⁺D, an orthogonal projection, takes away what would change
the LR image; c is the calibration, so that standard deviations are those that `SRSpace.stddev` states. Everything the
space can be asked is written against these products, whatever A is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.degradation.operator import Degradation
from vspsr.space.synthesis import Synthesis


@dataclass(frozen=True)
class Covariance:
    """Products with the covariance of one image (channels, H, W), and with its root.

    Attributes:
        synthesis: A, of a batch of one.
        degradation: D.
        calibration: c.
    """

    synthesis: Synthesis
    degradation: Degradation
    calibration: float

    def root(self, eps: Tensor) -> Tensor:
        """c M ε: noise (N, m, h, w) → images (N, channels, H, W), of which D gives 0."""
        with torch.autocast(eps.device.type, enabled=False):
            return self.calibration * self.detail(self._synthesis(len(eps)).apply(eps))

    def root_adjoint(self, x: Tensor) -> Tensor:
        """c Mᵀ x: images (N, channels, H, W) → noise (N, m, h, w)."""
        with torch.autocast(x.device.type, enabled=False):
            return self.calibration * self._synthesis(len(x)).adjoint(self.detail(x))

    def product(self, x: Tensor) -> Tensor:
        """C x: images (N, channels, H, W) → the same shape."""
        return self.root(self.root_adjoint(x))

    def quadratic(self, x: Tensor) -> Tensor:
        """xᵀ C x of images (N, channels, H, W): (N,), at half the cost of `product`."""
        return self.root_adjoint(x).flatten(1).square().sum(1)

    def detail(self, x: Tensor) -> Tensor:
        """(I − D⁺D) x: what of images (N, channels, H, W) the LR image does not fix."""
        return x - self.degradation.pseudo_inverse(self.degradation.down(x))

    def _synthesis(self, n: int) -> Synthesis:
        """A for n noise fields of the same image."""
        return self.synthesis.map_images(lambda t: t.expand(n, *[-1] * (t.ndim - 1)))
