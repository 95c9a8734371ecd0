"""Drawing the stochastic part z = A ε of one image of a space for a given noise field.

With far more atoms than a patch has values, the patches are drawn through the Cholesky factor of their covariance
instead of through the coefficients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.space.noise import BLOCK
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import Synthesis, synthesize, synthesize_patches

Noise = Callable[[int, int], Tensor]
"""(number of channels, row of blocks) → the noise of one image, (channels, 32, w)."""

NoiseOf = Callable[[int, int, int], Tensor]
"""(image of the batch, number of channels, row of blocks) → its noise."""


@dataclass(frozen=True)
class Sampler:
    """The stochastic part of one image of a space.

    Attributes:
        parameters: of the space.
        scale: s.
        synthesis: A of the batch; None if coefficients are not random.
        factor: of the patches' covariance, where drawing through it is cheaper.
    """

    parameters: SpaceParameters
    scale: int
    synthesis: Synthesis | None
    factor: "PatchFactor | None"

    @classmethod
    def build(cls, parameters: SpaceParameters, scale: int) -> "Sampler":
        """The sampler of a space's parameters."""
        log_var, factor = parameters.coefficient_log_var, None
        if log_var is not None and parameters.is_linear:
            factor = PatchFactor.build(log_var, parameters.atoms)
        return cls(parameters, scale, parameters.synthesis(scale), factor)

    def linear(self, b: int, noise: Noise, temperature: float | Tensor) -> Tensor:
        """T·Σ σ ε atom of image b, without the mean of the coefficients: (1, channels, H, W).

        A map (h, w) of the temperature is a factor on the patches of each LR pixel.
        """
        if self.factor is not None:
            patches = self.factor.apply(b, temperature * self._noise(noise, self.factor.channels))
            return synthesize_patches(patches, self.parameters.atoms.shape[-1], self.scale)
        a = self._of_image(b)
        eps = self._noise(noise, a.channels)
        return a.apply(eps, temperature) if isinstance(temperature, Tensor) else a.apply(eps.mul_(temperature))

    def _of_image(self, b: int) -> Synthesis:
        assert self.synthesis is not None
        return self.synthesis.map_images(lambda t: t[b : b + 1])

    def _noise(self, noise: Noise, channels: int) -> Tensor:
        """(1, channels, h, w)"""
        h = self.parameters.deterministic.shape[-2] // self.scale
        eps = torch.cat([noise(channels, row) for row in range(-(-h // BLOCK))], 1)
        return eps[None, :, :h].to(self.parameters.deterministic)

    def nonlinear(self, b: int, noise: Noise, temperature: float | Tensor) -> Tensor:
        """The stochastic part of image b, mean included, of a space that is not Gaussian: (1, channels, H, W)."""
        p = self.parameters
        _, g, c = p.atoms.shape[:3]
        h, w = (n // self.scale for n in p.deterministic.shape[-2:])
        atoms = p.atoms[b : b + 1]
        if p.basis is not None:
            # One normal for each entry of the code, from a row of blocks that no coefficient uses.
            eps = noise(g * c, -(-h // BLOCK))[:, 0, 0].to(atoms).view(1, g, c)
            spread = temperature * (0.5 * p.basis.log_var[b : b + 1]).exp()
            atoms = p.basis.decode(p.basis.mean[b : b + 1] + spread * eps)
        mean = p.coefficient_mean
        coefficients = atoms.new_zeros(1, g, c, h, w) if mean is None else mean[b : b + 1]
        if self.synthesis is not None:
            eps = self._noise(noise, g * c)
            coefficients = coefficients + temperature * self._of_image(b).noise.coefficients(eps)
        z = synthesize(coefficients, atoms, self.scale)
        return z if p.refine is None else p.refine(z)


@dataclass(frozen=True)
class PatchFactor:
    """Cholesky factor of the covariance Bᵀ diag(σ²) B of the patch at every LR pixel.

    With C atoms of D < C/2 values (colours of a group × k × k) a patch is a Gaussian of D dimensions only: D normals
    through the factor have the same distribution as C coefficients.

    Attributes:
        columns: column e of the factor from the diagonal down, (B, G, D − e, h, w), for each e of 0 … D − 1.
    """

    columns: tuple[Tensor, ...]

    @classmethod
    def build(cls, log_var: Tensor, atoms: Tensor) -> "PatchFactor | None":
        """Factor of log-variances (B, G, C, h, w) and atoms (B, G, C, 3/G, k, k); None where it would not help.

        A batched library call factors one small matrix after the other; here each step is one operation on LR planes.
        """
        basis = atoms.flatten(3)  # (B, G, C, D)
        n_atoms, dimension = basis.shape[2:]
        if n_atoms <= 2 * dimension:  # the factor's D² planes must be worth the normals they save
            return None
        i, j = torch.triu_indices(dimension, dimension, device=atoms.device)
        products = basis[..., i] * basis[..., j]  # (B, G, C, D·(D + 1)/2)
        lower = (products.transpose(2, 3) @ log_var.exp().flatten(3)).unflatten(3, log_var.shape[3:])
        columns = list(lower.split(list(range(dimension, 0, -1)), 2))
        # A basis of deficient rank has a singular covariance: lift the diagonal by what rounding errors amount to.
        diagonal = torch.stack([column[:, :, 0] for column in columns]).mean(0)[:, :, None]
        lift = 2 * dimension * torch.finfo(lower.dtype).eps * diagonal + 1e-20
        for e, column in enumerate(columns):
            pivot = column[:, :, :1] + lift
            # A pivot below this, which none is in exact arithmetic, would let rounding errors grow without bound.
            inverse = torch.where(pivot > 0.5 * lift, pivot, torch.inf).rsqrt()
            columns[e] = torch.cat([pivot, column[:, :, 1:]], 2) * inverse
            for f in range(e + 1, dimension):
                below = columns[e][:, :, f - e :]
                columns[f] = torch.addcmul(columns[f], below, below[:, :, :1], value=-1)
        return cls(tuple(columns))

    @property
    def channels(self) -> int:
        """Normals needed at each LR pixel: G·D."""
        return int(self.columns[0].shape[1] * self.columns[0].shape[2])

    def apply(self, b: int, eps: Tensor) -> Tensor:
        """Patches (1, G·D, h, w) of image b for standard normals of the same shape."""
        normals = eps.unflatten(1, self.columns[0].shape[1:3])
        patches = torch.zeros_like(normals)
        for e, column in enumerate(self.columns):
            patches[:, :, e:] = patches[:, :, e:].addcmul(column[b : b + 1], normals[:, :, e : e + 1])
        return patches.flatten(1, 2)
