"""The covariance of a space as an operator: C = c² M Mᵀ + D⁺ diag(q) D⁺ᵀ with M = (I − D⁺D) A, never formed.

A maps white noise to the stochastic part of an image; I − D⁺D, an orthogonal projection, takes away what would change
the LR image; c is the calibration, so that standard deviations are those that `SRSpace.stddev` states. q is the
variance of the LR image if that is not exact (`NoisySpace`), else 0. So C = R Rᵀ with R = [c M, D⁺ diag(√q)], which
acts on joint white noise (ε, e) and whose two parts are orthogonal. Everything the space can be asked is written
against these products, whatever A is.
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
        lr_variance: q, (channels, h, w); None for an exact LR image.
    """

    synthesis: Synthesis
    degradation: Degradation
    calibration: float
    lr_variance: Tensor | None = None

    @property
    def open_share(self) -> float:
        """Share of an image's dimensions that the LR image does not fix."""
        return 1.0 if self.lr_variance is not None else 1 - self.degradation.scale**-2

    def root(self, eps: Tensor) -> Tensor:
        """c M ε + D⁺(√q e): noise (N, m, h, w), the channels of ε and, with an ``lr_variance``, those of e → images
        (N, channels, H, W). D of them is √q e."""
        m = self.synthesis.channels
        with torch.autocast(eps.device.type, enabled=False):
            x = self.calibration * self.detail(self._synthesis(len(eps)).apply(eps[:, :m]))
            if self.lr_variance is None:
                return x
            return x + self.degradation.pseudo_inverse(self.lr_variance.sqrt() * eps[:, m:])

    def root_adjoint(self, x: Tensor) -> Tensor:
        """The transpose of `root`: images (N, channels, H, W) → noise (N, m, h, w)."""
        with torch.autocast(x.device.type, enabled=False):
            eps = self.calibration * self._synthesis(len(x)).adjoint(self.detail(x))
            if self.lr_variance is None:
                return eps
            return torch.cat([eps, self.lr_variance.sqrt() * self.degradation.pseudo_inverse_adjoint(x)], 1)

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
