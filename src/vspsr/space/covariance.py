"""The covariance of a space as an operator: C = c² M Mᵀ + D⁺ diag(q) D⁺ᵀ with M = (I − D⁺D) A, never formed.

A maps white noise to the stochastic part of an image; I − D⁺D, an orthogonal projection, takes away what would change
the LR image; c is the calibration, so that standard deviations are those that `SRSpace.stddev` states. q is the
variance of the LR image if that is not exact (`NoisySpace`), else 0. So C = R Rᵀ with R = [c M, D⁺ diag(√q)], which
acts on joint white noise (ε, e) and whose two parts are orthogonal. Everything the space can be asked is written
against these products, whatever A is.

Given observations G x = v with variances R it becomes C − C Gᵀ S⁻¹ G C, S = G C Gᵀ + R. S⁻¹ is applied by conjugate
gradients, or by a Cholesky factor of S where the values observed are few or products with this covariance are wanted.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vspsr.consistency.progress import report_progress
from vspsr.degradation.operator import Degradation
from vspsr.space.conjugate_gradients import smoothed_gradients
from vspsr.space.linear_maps import LinearMap
from vspsr.space.synthesis import Synthesis

_FEW = 64  # observed values up to which S is factored: a product for each value, as many as one iterative solve takes
_MAX_OBSERVED = 3000  # up to which it is for covariances: 72 MB
_CHUNK = 16  # columns of S made at once: bounds the memory


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
            x = self.calibration * self.detail(self.synthesis.apply(eps[:, :m]))
            if self.lr_variance is None:
                return x
            return x + self.degradation.pseudo_inverse(self.lr_variance.sqrt() * eps[:, m:])

    def root_adjoint(self, x: Tensor) -> Tensor:
        """The transpose of `root`: images (N, channels, H, W) → noise (N, m, h, w)."""
        with torch.autocast(x.device.type, enabled=False):
            eps = self.calibration * self.synthesis.adjoint(self.detail(x))
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


@dataclass(frozen=True)
class ObservedSystem:
    """The equations G x = v ± √R of some observations, on a window of the picture.

    Attributes:
        maps: G, one after the other.
        values, stddev: v and √R, (n,).
        covariance: C of the window.
        direct: whether S is factored for `solve` although many values are observed: cheaper for very many solves.
    """

    maps: tuple[LinearMap, ...]
    values: Tensor
    stddev: Tensor
    covariance: Covariance
    direct: bool = False

    def observe(self, x: Tensor) -> Tensor:
        """G x: (N, channels, H, W) → (N, n)."""
        return torch.cat([g.apply(x) for g in self.maps], 1)

    def spread(self, u: Tensor) -> Tensor:
        """Gᵀ u: (N, n) → (N, channels, H, W)."""
        parts = u.split([g.count for g in self.maps], 1)
        return torch.stack([g.adjoint(p) for g, p in zip(self.maps, parts, strict=True)]).sum(0)

    def solve(self, b: Tensor) -> Tensor:
        """S⁻¹ b, (n,) float64.

        In float32 the solve stops when what is left is a tenth of the observations' own σ: the answer is exact for
        values that differ by as little.
        """
        if self.direct or len(b) <= _FEW:
            return torch.cholesky_solve(b.double()[:, None], self.factor)[:, 0]
        dtype, sigma = self.values.dtype, self.stddev.double()

        def product(u: Tensor) -> Tensor:  # in units of σ, which also evens out observations of different σ
            spread = self.spread((u / sigma).to(dtype)[None])
            return self.observe(self.covariance.product(spread))[0].double() / sigma + u

        scaled = b.double() / sigma
        near = 0.1 * min(1.0, len(b) ** 0.5 / max(float(scaled.norm()), 1e-300))
        tolerance = 1e-12 if dtype == torch.float64 else near
        return smoothed_gradients(product, scaled, tolerance, smallest=1.0, energy_tolerance=1.0)[0] / sigma

    def for_many_solves(self) -> "ObservedSystem":
        """The same equations, to be solved some hundred times."""
        return replace(self, direct=len(self.values) <= _MAX_OBSERVED)

    @cached_property
    def factor(self) -> Tensor:
        """Cholesky factor of S, (n, n) float64."""
        n = len(self.values)
        if n > _MAX_OBSERVED:
            raise ValueError(
                f"the covariance given {n} observed values is not offered, at most {_MAX_OBSERVED}: observe fewer"
            )
        eye = torch.eye(n, dtype=self.values.dtype, device=self.values.device)
        columns, parts = [], eye.split(_CHUNK)
        for i, part in enumerate(parts):
            report_progress(i, len(parts))
            columns.append(self.observe(self.covariance.product(self.spread(part))))
        s = torch.cat(columns).double()
        s = 0.5 * (s + s.T) + torch.diag(self.stddev.double().square())
        factor, failed = torch.linalg.cholesky_ex(s)
        if failed:  # rounding errors of C, where observations depend on each other and have small σ
            lift = 4 * n * torch.finfo(self.values.dtype).eps * s.diagonal().amax()
            factor = torch.linalg.cholesky(s + torch.diag(lift.expand(n)))
        return factor


@dataclass(frozen=True, kw_only=True)
class ConditionedCovariance(Covariance):
    """C − C Gᵀ S⁻¹ G C.

    Attributes:
        system: G on the images of this covariance, which may be larger than the window that S is computed on.
        factor: Cholesky factor of S.
    """

    system: ObservedSystem
    factor: Tensor

    def product(self, x: Tensor) -> Tensor:
        before = super().product(x)
        half = torch.cholesky_solve(self.system.observe(before).double().T, self.factor).T
        return before - super().product(self.system.spread(half.to(x)))

    def quadratic(self, x: Tensor) -> Tensor:
        observed = self.system.observe(super().product(x)).double()
        half = torch.linalg.solve_triangular(self.factor, observed.T, upper=False)
        return super().quadratic(x) - half.square().sum(0).to(x)
