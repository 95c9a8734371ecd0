"""The super-resolution space of an image: a distribution over HR images that all downscale to it.

x = Π(μ + z; y), z = Σ_i Σ_c w_{i,c} atom_c placed at LR pixel i, w ~ N(m, T² diag σ²). z is linear in the Gaussian
coefficients and Π is affine, so the space is a Gaussian over images, of which mean and standard deviation are known
in closed form. (A stochastic basis or nonlinear refinement, options of the paper's network, end that: `is_gaussian`.)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from vspsr.checks import check_seed, check_temperature
from vspsr.consistency.projection import project_unchecked
from vspsr.degradation.operator import Degradation
from vspsr.errors import VSpSRError
from vspsr.space.noise import BLOCK, noise_rows
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize, synthesize_patches
from vspsr.space.variance import PatchFactor, projected_variance

__all__ = ["NotGaussianError", "SRSpace"]

Noise = Callable[[int, int], Tensor]
"""(number of channels, row of blocks) → noise (channels, 32, w)."""


class NotGaussianError(VSpSRError):
    """A closed form was asked of a space that is not Gaussian."""


class SRSpace:
    """Distribution over HR images (B, 3, H, W), nominally in [0, 1], all of which downscale to the LR images y.

    Made by calling a `VSpSR` model. Names follow `torch.distributions`.

    Args:
        y: LR images (B, 3, h, w) in [0, 1] (one channel after `grey`).
        parameters: what the network said.
        degradation: D.
        temperature: factor T ≥ 0 on every σ, the default of `sample` and the one `stddev` refers to.
    """

    def __init__(
        self, y: Tensor, parameters: SpaceParameters, degradation: Degradation, temperature: float = 1.0
    ) -> None:
        self.y, self.parameters, self.degradation = y, parameters, degradation
        self.temperature = check_temperature(temperature)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.event_shape))
        return f"SRSpace(batch={len(self.y)}, images={shape}, {self.degradation}, temperature={self.temperature:g})"

    @property
    def batch_shape(self) -> torch.Size:
        """(B,)"""
        return self.y.shape[:1]

    @property
    def event_shape(self) -> torch.Size:
        """(channels, H, W)"""
        return self.parameters.deterministic.shape[1:]

    @property
    def is_gaussian(self) -> bool:
        """Whether the space is a Gaussian over images, so that its closed forms hold."""
        return self.parameters.refine is None and self.parameters.basis is None

    def to(self, device: torch.device | str) -> "SRSpace":
        """The same space on another device; its samples stay the same images."""
        if self.parameters.refine is not None:
            self.parameters.refine.to(device)
        parameters = self.parameters.map_tensors(lambda t: t.to(device))
        return SRSpace(self.y.to(device), parameters, self.degradation, self.temperature)

    def at(self, temperature: float) -> "SRSpace":
        """The same space with another default temperature."""
        return SRSpace(self.y, self.parameters, self.degradation, temperature)

    def grey(self) -> "SRSpace":
        """The space of the mean over the colour channels, one channel: for LR images that are grey.

        Raises:
            NotGaussianError: the space is not linear in its coefficients.
        """
        self._require_gaussian("grey")
        p = self.parameters

        def joined(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.flatten(1, 2)[:, None]

        # Channels with coefficients of their own become one channel with the coefficients of all.
        groups = p.atoms.shape[1]
        atoms = p.atoms.mean(3, keepdim=True).flatten(1, 2)[:, None] / groups
        parameters = replace(
            p,
            deterministic=p.deterministic.mean(1, keepdim=True),
            atoms=atoms,
            coefficient_mean=joined(p.coefficient_mean),
            coefficient_log_var=joined(p.coefficient_log_var),
        )
        return SRSpace(self.y.mean(1, keepdim=True), parameters, self.degradation, self.temperature)

    @cached_property
    def mean(self) -> Tensor:
        """Exact mean, Π(μ + Σ m·atom; y): (B, 3, H, W). NotGaussianError where there is no closed form."""
        self._require_gaussian("mean")
        return project_unchecked(self._centre, self.y, self.degradation)

    @cached_property
    def stddev(self) -> Tensor:
        """Exact standard deviation of each pixel at the space's temperature, projection included: (B, 3, H, W).

        diag((I − D⁺D) Σ (I − D⁺D)ᵀ) with Σ the covariance of z, from the local covariances of atoms and their LR
        images: see `vspsr.space.variance`. No gradient is kept. NotGaussianError where there is no closed form.
        """
        self._require_gaussian("stddev")
        p = self.parameters
        if p.coefficient_log_var is None:
            return torch.zeros_like(p.deterministic)
        with torch.no_grad():
            variance = projected_variance(p.coefficient_log_var.exp(), p.atoms, self.degradation)
        return self.temperature * variance.sqrt()

    def sample(self, n: int = 1, seed: int = 0, temperature: float | None = None) -> Tensor:
        """n images of the space: (n, B, 3, H, W). The network is not called; no gradient is kept.

        Sample i of a seed is the same image however many are drawn, alone or in a batch. Values may leave [0, 1]
        a little: `quantize` brings them to integers in range.

        Args:
            n: number of samples, ≥ 0.
            seed: ≥ 0.
            temperature: factor on every σ; None for the space's own.

        Raises:
            ValueError: an argument out of its range.
        """
        n = _check_count(n)
        out = self.parameters.deterministic.new_empty(n, *self.parameters.deterministic.shape)
        for i, image in enumerate(self.iter_samples(n, seed, temperature)):
            out[i] = image
        return out

    def rsample(self, n: int = 1, seed: int = 0, temperature: float | None = None) -> Tensor:
        """`sample`, differentiable in the parameters of the space (reparametrised)."""
        images = [self._draw(_noise_of(check_seed(seed), i, self), temperature) for i in range(_check_count(n))]
        return torch.stack(images) if images else self.sample(0)

    def iter_samples(
        self, n: int = 1, seed: int = 0, temperature: float | None = None, start: int = 0
    ) -> Iterator[Tensor]:
        """Samples ``start`` … ``start + n − 1`` one by one, each (B, 3, H, W): as `sample`, in the memory of one."""
        for i in range(start, start + n):
            with torch.no_grad():
                yield self._draw(_noise_of(check_seed(seed), i, self), temperature)

    def interpolate(self, seed_a: int, seed_b: int, t: float, temperature: float | None = None) -> Tensor:
        """A member of the space between sample 0 of two seeds: (B, 3, H, W).

        The noise fields are blended as cos(tπ/2)·a + sin(tπ/2)·b, which keeps their distribution, so every t gives
        an image as typical as the two ends, and consistent like them.

        Args:
            seed_a, seed_b: the image at t = 0 and at t = 1.
            t: 0 … 1.
            temperature: as in `sample`.

        Raises:
            ValueError: an argument out of its range.
        """
        if not 0 <= t <= 1:
            raise ValueError(f"`t` must lie in [0, 1], got {t}")
        a = _noise_of(check_seed(seed_a, "seed_a"), 0, self)
        b = _noise_of(check_seed(seed_b, "seed_b"), 0, self)
        # At the ends exactly the samples themselves: cos(π/2) is not 0 in floating point.
        u, v = (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)) if 0 < t < 1 else (1.0 - t, t)
        with torch.no_grad():
            return self._draw(lambda channels, row: u * a(channels, row) + v * b(channels, row), temperature)

    def _require_gaussian(self, what: str) -> None:
        if not self.is_gaussian:
            raise NotGaussianError(
                f"`{what}` has no closed form: the model's stochastic basis or refinement makes the space "
                "non-Gaussian; estimate it from `sample`"
            )

    @cached_property
    def _centre(self) -> Tensor:
        """μ plus the patches of the mean coefficients: (B, 3, H, W)."""
        p = self.parameters
        if p.coefficient_mean is None:
            return p.deterministic
        return p.deterministic + synthesize(p.coefficient_mean, p.atoms, self.degradation.scale)

    @cached_property
    def _factor(self) -> PatchFactor | None:
        """Where a patch has far fewer pixels than there are atoms: the Cholesky factor of its covariance."""
        p = self.parameters
        if p.coefficient_log_var is None or not self.is_gaussian:
            return None
        return PatchFactor.build(p.coefficient_log_var, p.atoms)

    @cached_property
    def _sigma(self) -> Tensor | None:
        log_var = self.parameters.coefficient_log_var
        return None if log_var is None else (0.5 * log_var).exp()

    def _draw(self, noise: Noise, temperature: float | None) -> Tensor:
        """One member of the space for a noise field: (B, 3, H, W). Each image of the batch by itself."""
        t = self.temperature if temperature is None else check_temperature(temperature)
        images = [self._draw_one(b, noise, t) for b in range(len(self.y))]
        return images[0] if len(images) == 1 else torch.cat(images)

    def _draw_one(self, b: int, noise: Noise, temperature: float) -> Tensor:
        """Image b alone: (1, 3, H, W)."""
        p, scale = self.parameters, self.degradation.scale
        if self.is_gaussian:
            x = self._centre[b : b + 1]
            if self._sigma is not None and temperature > 0:
                x = x + self._stochastic(b, noise, temperature)
        else:
            atoms, coefficients = self._draw_nonlinear(b, noise, temperature)
            z = synthesize(coefficients, atoms, scale)
            x = p.deterministic[b : b + 1] + (z if p.refine is None else p.refine(z))
        return project_unchecked(x, self.y[b : b + 1], self.degradation)

    def _stochastic(self, b: int, noise: Noise, temperature: float) -> Tensor:
        """T·Σ σ ε atom for image b, (1, 3, H, W): in bands of LR rows, so that patches need little memory."""
        p, scale = self.parameters, self.degradation.scale
        assert self._sigma is not None
        h, size = self.y.shape[-2], p.atoms.shape[-1]
        overhang = (size - scale) // 2
        bands = []
        for row in range(-(-h // BLOCK)):
            rows = slice(row * BLOCK, min((row + 1) * BLOCK, h))
            # Rows that overhang the band above and below are kept, and added to the neighbours'.
            bands.append(self._band(b, rows, noise, temperature))
        if len(bands) == 1:
            out = bands[0]
        else:
            out = bands[0].new_zeros(1, bands[0].shape[1], scale * h + 2 * overhang, bands[0].shape[3])
            for row, band in enumerate(bands):
                top = row * BLOCK * scale
                out[:, :, top : top + band.shape[2]] += band
        return out[:, :, overhang : overhang + scale * h]

    def _band(self, b: int, rows: slice, noise: Noise, temperature: float) -> Tensor:
        """What the patches of some LR rows add, overhang included: (1, 3, s·rows + k − s, W)."""
        p, scale = self.parameters, self.degradation.scale
        height, row = rows.stop - rows.start, rows.start // BLOCK
        if self._factor is not None:
            eps = noise(self._factor.channels, row)[:, :height].to(self.y)
            patches = self._factor.apply(b, rows, temperature * eps)
            return synthesize_patches(patches, p.atoms.shape[-1], scale, keep_overhang=True)
        assert self._sigma is not None
        sigma = self._sigma[b : b + 1, :, :, rows]
        eps = noise(sigma.shape[1] * sigma.shape[2], row)[:, :height].to(sigma)
        # Cheaper than scaling the coefficients: there are fewer atoms than LR pixels.
        atoms = temperature * p.atoms[b : b + 1]
        return synthesize(sigma * eps.view_as(sigma), atoms, scale, keep_overhang=True)

    def _draw_nonlinear(self, b: int, noise: Noise, temperature: float) -> tuple[Tensor, Tensor]:
        """Atoms and coefficients of image b where the space is not Gaussian."""
        p = self.parameters
        g, c = p.atoms.shape[1:3]
        h, w = self.y.shape[-2:]
        atoms = p.atoms[b : b + 1]
        if p.basis is not None:
            # One normal per code entry, from a row of blocks that no coefficient uses.
            eps = noise(g * c, -(-h // BLOCK))[:, 0, 0].to(self.y).view(1, g, c)
            spread = temperature * (0.5 * p.basis.log_var[b : b + 1]).exp()
            atoms = p.basis.decode(p.basis.mean[b : b + 1] + spread * eps)
        mean = p.coefficient_mean
        coefficients = self.y.new_zeros(1, g, c, h, w) if mean is None else mean[b : b + 1]
        if self._sigma is not None:
            rows = [noise(g * c, r) for r in range(-(-h // BLOCK))]
            eps = torch.cat(rows, 1)[:, :h].to(self.y).view(1, g, c, h, w)
            coefficients = coefficients + temperature * self._sigma[b : b + 1] * eps
        return atoms, coefficients


def _check_count(n: int) -> int:
    if n < 0 or int(n) != n:
        raise ValueError(f"`n` must be an integer of at least 0, got {n}")
    return int(n)


def _noise_of(seed: int, index: int, space: SRSpace) -> Noise:
    """The noise field of a sample. It is drawn on the CPU, the same for every device and image of a batch."""
    width = space.y.shape[-1]
    return lambda channels, row: noise_rows(seed, index, channels, row, width)
