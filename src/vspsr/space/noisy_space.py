"""The super-resolution space of a noisy LR image: x = Π(μ + z; u), u the LR image without noise.

y = u + n does not say what u is, only that u ~ N(û, diag q) given y (`vspsr.degradation.noise`). So each
sample has an LR image of its own. Since Π(x; û + e) = Π(x; û) + D⁺e, this space is that of û taken as exact, plus
D⁺e with e ~ N(0, diag q), independent of z. It is a Gaussian:

    mean:       Π(μ; û)
    covariance: (I − D⁺D) Σ (I − D⁺D)ᵀ + D⁺ diag(q) D⁺ᵀ
    variance:   its diagonal, that of the second part being (D⁺ ∘ D⁺) q,   ∘ for the product of entries

Regions, conditions, closest members and likelihood ratios follow from the covariance, which acts on the joint noise
(ε, e): see `vspsr.space.covariance`. They may change D x, as far as q allows. Without noise û = y and q = 0, and it is
the space of an exact LR image.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from vspsr.checks import check_types, tensor_text
from vspsr.consistency.projection import shifted
from vspsr.degradation.banded import apply_passes
from vspsr.space.covariance import Covariance
from vspsr.space.drawing import Noise
from vspsr.space.noise import BLOCK
from vspsr.space.sr_space import SRSpace

_LR_ROWS = 2**30  # row of blocks from which on the noise is e: no picture has as many


class NoisySpace(SRSpace):
    """Distribution over HR images (B, C, H, W), whose LR images are as close to a noisy one as its noise allows.

    Made by `from_space`. `y` holds û, which the mean downscales to. The temperature scales the spread of the LR image
    too; the calibration does not. Conditions belong to the covariance with the calibration: if that is not 1, samples
    given conditions have the conditional mean, and a spread that is only nearly the conditional one.

    Attributes:
        lr_variance: q, (B, C, h, w).
    """

    lr_variance: Tensor

    @classmethod
    def from_space(cls, space: SRSpace, lr_variance: Tensor) -> "NoisySpace":
        """The space of noisy LR images from that of û.

        Args:
            space: made from û, which must be a Gaussian.
            lr_variance: q, (B, C, h, w) as `space.y`, ≥ 0.

        Raises:
            ValueError: variances of another shape, or that are negative or not finite.
            NotGaussianError: the space is not a Gaussian.
        """
        check_types(space=(space, SRSpace))
        space._require_gaussian("noise")
        if not isinstance(lr_variance, Tensor) or lr_variance.shape != space.y.shape:
            raise ValueError(f"`lr_variance` must be {tuple(space.y.shape)}, got {tensor_text(lr_variance)}")
        if not bool((lr_variance >= 0).all()) or not bool(lr_variance.isfinite().all()):
            raise ValueError("`lr_variance` must be finite numbers of at least 0")
        return space._as(cls, lr_variance=lr_variance.to(space.y, copy=True), _cache={})

    @property
    def exact(self) -> SRSpace:
        """The space that takes û as exact, with the same settings."""
        return self._as(SRSpace)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each pixel: (B, C, H, W), no gradient. The calibration is that of the model's part."""
        of_lr = self._cached("lr_part", lambda: self._spread_of(self.lr_variance), gradient=False)
        return (self.exact.stddev.square() + of_lr).sqrt()

    def stddev_at(self, temperature: float | Tensor) -> Tensor:
        """As in `SRSpace`. The temperature scales the spread of the LR image too."""
        temperature = self._check_temperature(temperature)
        of_lr = self._computed(lambda: self._spread_of(temperature**2 * self.lr_variance))
        return (self.exact.stddev_at(temperature).square() + of_lr).sqrt()

    def _spread_of(self, lr_variance: Tensor) -> Tensor:
        """(D⁺ ∘ D⁺) q"""
        inverses = (self.degradation.axis_pseudo_inverse(n, self.y.dtype).squared() for n in self.event_shape[1:])
        return apply_passes(lr_variance, zip(inverses, (-2, -1), strict=True))

    @property
    def stddev_error(self) -> Tensor:
        """Standard error of `stddev`, (B, C, H, W): the share of the LR image's spread is exact."""
        return self.exact.stddev * self.exact.stddev_error / self.stddev.clamp_min(torch.finfo(self.y.dtype).tiny)

    def grey(self) -> "NoisySpace":  # type: ignore[override]
        """Not offered, always a ValueError: the noise is that of the channels."""
        raise ValueError("`grey` must come before `NoisySpace.from_space`: the noise is that of the channels")

    def _map_lr(self, function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        return {"lr_variance": function(self.lr_variance), **super()._map_lr(function)}

    def _covariance(self) -> Covariance:
        return replace(super()._covariance(), lr_variance=self.lr_variance[0])

    def _moved(self, x: Tensor, shift: Tensor, origin: tuple[int, int]) -> Tensor:
        return shifted(x, shift, origin, self.degradation.scale)

    def _drawn_at_calibration(self) -> Self:
        # The temperature is a factor on √q, the calibration is not; conditions need one above 0.
        return self._with(lr_variance=self.lr_variance / self.calibration**2)

    def _draw_one(self, b: int, noise: Noise, temperature: float | Tensor) -> Tensor:
        x, variance = super()._draw_one(b, noise, temperature), self.lr_variance[b]
        if self.parameters.by_place:  # x was drawn in bands, each with its e
            return x
        channels, h, _ = variance.shape
        e = torch.cat([noise(channels, _LR_ROWS + row) for row in range(-(-h // BLOCK))], 1)[:, :h].to(variance)
        size = (x.shape[-2], x.shape[-1])
        return x + self.degradation.pseudo_inverse(temperature * variance.sqrt() * e, size)[None]
