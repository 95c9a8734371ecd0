"""Synthesis: the linear map A from white noise ε to the stochastic part of an image, z = A ε, and its adjoint.

z = S w. S adds up the atoms: the patch at LR pixel i, Σ_c w_{i,c} · atom_c, is (k, k) and centred on the s×s HR pixels
of i. With k = s the patches tile the image (pixel shuffle); with k > s they overlap; what falls outside the image is
cut off. The coefficients w = B ε are

- independent: w = σ ⊙ ε; or
- correlated: n₀ = g₀ ⊙ ε, n_l = n_{l−1} + g_l ⊙ (K_l ∗ n_{l−1}), w = (1 + g) ⊙ (K ∗ n_L), a chain of convolutions
  without bias, zero-padded, whose gains g are the image's. Neighbouring coefficients then move together, along edges
  and within textures.

Either way A is linear, so that the space is a Gaussian over images. Nothing here forms a matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class IndependentNoise:
    """w = σ ⊙ ε.

    Attributes:
        sigma: (B, G, C, h, w).
    """

    sigma: Tensor
    reach: ClassVar[int] = 0

    @property
    def channels(self) -> int:
        """Normals at each LR pixel: G·C."""
        return int(self.sigma.shape[1] * self.sigma.shape[2])

    def coefficients(self, eps: Tensor) -> Tensor:
        """w = B ε: (B, channels, h, w) → (B, G, C, h, w)."""
        return self.sigma * eps.unflatten(1, self.sigma.shape[1:3])

    def adjoint(self, w: Tensor) -> Tensor:
        """Bᵀ w: (B, G, C, h, w) → (B, channels, h, w)."""
        return (self.sigma * w).flatten(1, 2)

    def map_tensors(self, function: Map, shared: Map) -> "IndependentNoise":
        """See `NoiseChain`; nothing is shared."""
        return IndependentNoise(function(self.sigma))


@dataclass(frozen=True)
class NoiseChain:
    """w = (1 + g) ⊙ (K ∗ n_L), for atoms joint in colour (G = 1).

    Attributes:
        gains: g₀ … g_L, (B, L + 1, m, h, w).
        output_gain: g, (B, C, h, w).
        kernels: K_1 … K_L, (m, m, 3, 3) each.
        output_kernel: K, (C, m, 3, 3).
        dilations: of K_1 … K_L.
    """

    gains: Tensor
    output_gain: Tensor
    kernels: tuple[Tensor, ...]
    output_kernel: Tensor
    dilations: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Normals at each LR pixel: m."""
        return int(self.gains.shape[2])

    @property
    def reach(self) -> int:
        """How far the coefficients of an LR pixel look for noise, in LR pixels."""
        return sum(self.dilations) + 1

    def coefficients(self, eps: Tensor) -> Tensor:
        """w = B ε: (B, channels, h, w) → (B, 1, C, h, w)."""
        # Convolutions of few channels are about twice as fast on the CPU with channels last. The first factor decides.
        n = eps.contiguous(memory_format=torch.channels_last) * self.gains[:, 0]
        for gain, kernel, dilation in zip(self.gains[:, 1:].unbind(1), self.kernels, self.dilations, strict=True):
            n = torch.addcmul(n, gain, F.conv2d(n, kernel, padding=dilation, dilation=dilation))
        out = F.conv2d(n, self.output_kernel, padding=1)
        return torch.addcmul(out, out, self.output_gain)[:, None]

    def adjoint(self, w: Tensor) -> Tensor:
        """Bᵀ w: (B, 1, C, h, w) → (B, channels, h, w)."""
        out = torch.addcmul(w[:, 0], w[:, 0], self.output_gain)
        n = F.conv_transpose2d(out, self.output_kernel, padding=1)
        layers = list(zip(self.gains[:, 1:].unbind(1), self.kernels, self.dilations, strict=True))
        for gain, kernel, dilation in reversed(layers):
            n = n + F.conv_transpose2d(gain * n, kernel, padding=dilation, dilation=dilation)
        return self.gains[:, 0] * n

    def map_tensors(self, function: Map, shared: Map) -> "NoiseChain":
        """``function`` applied to the tensors that have a batch axis, ``shared`` to the others."""
        gains, output_gain = function(self.gains), function(self.output_gain)
        kernels, output_kernel = tuple(shared(k) for k in self.kernels), shared(self.output_kernel)
        return NoiseChain(gains, output_gain, kernels, output_kernel, self.dilations)


@dataclass(frozen=True)
class Synthesis:
    """A of a batch of B images of h×w LR pixels.

    Attributes:
        atoms: (B, G, C, 3/G, k, k), k − s even and ≥ 0.
        scale: s.
        noise: B, from noise to coefficients.
    """

    atoms: Tensor
    scale: int
    noise: IndependentNoise | NoiseChain

    @property
    def channels(self) -> int:
        """Normals at each LR pixel."""
        return self.noise.channels

    @property
    def reach(self) -> int:
        """LR pixels beyond which noise has no effect on the s×s HR pixels of an LR pixel."""
        overhang = (self.atoms.shape[-1] - self.scale) // 2
        return self.noise.reach - (-overhang // self.scale)

    def apply(self, eps: Tensor, by_place: Tensor | None = None) -> Tensor:
        """A ε: (B, channels, h, w) → (B, 3, s·h, s·w). Differentiable.

        ``by_place`` (h, w) is a factor on the coefficients of each LR pixel.
        """
        w = self.noise.coefficients(eps)
        return synthesize(w if by_place is None else by_place * w, self.atoms, self.scale)

    def adjoint(self, z: Tensor) -> Tensor:
        """Aᵀ z: (B, 3, s·h, s·w) → (B, channels, h, w). Differentiable."""
        return self.noise.adjoint(analyze(z, self.atoms, self.scale))

    def map_images(self, function: Map) -> "Synthesis":
        """``function`` applied to every tensor that has a batch axis."""
        return Synthesis(function(self.atoms), self.scale, self.noise.map_tensors(function, lambda t: t))


def synthesize(coefficients: Tensor, atoms: Tensor, scale: int) -> Tensor:
    """Σ_c w_c · atom_c at every LR pixel, overlap-added.

    Args:
        coefficients: (B, G, C, h, w).
        atoms: (B, G, C, 3/G, k, k).
        scale: s.

    Returns:
        (B, 3, s·h, s·w)
    """
    if atoms.shape[-1] == 2 * scale and scale % 2 == 0:
        return _synthesize_quadrants(coefficients, atoms, scale)
    b, _, _, h, w = coefficients.shape
    patches = atoms.flatten(3).transpose(2, 3) @ coefficients.flatten(3)
    return synthesize_patches(patches.reshape(b, -1, h, w), atoms.shape[-1], scale)


def synthesize_patches(patches: Tensor, patch_size: int, scale: int) -> Tensor:
    """Overlap-add of one patch per LR pixel: (B, channels·k·k, h, w) → as `synthesize`."""
    if patch_size == scale:
        return F.pixel_shuffle(patches, scale)
    size = (scale * patches.shape[-2], scale * patches.shape[-1])
    return F.fold(patches.flatten(2), size, patch_size, padding=(patch_size - scale) // 2, stride=scale)


def analyze(z: Tensor, atoms: Tensor, scale: int) -> Tensor:
    """Sᵀ z, the adjoint of `synthesize`: (B, 3, s·h, s·w) → (B, G, C, h, w)."""
    h, w = (n // scale for n in z.shape[-2:])
    k = atoms.shape[-1]
    patches = F.unfold(z, k, padding=(k - scale) // 2, stride=scale)
    return (atoms.flatten(3) @ patches.unflatten(1, (atoms.shape[1], -1))).unflatten(-1, (h, w))


def _synthesize_quadrants(coefficients: Tensor, atoms: Tensor, scale: int) -> Tensor:
    """`synthesize` for k = 2s, with the sum over overlapping patches inside the matrix products.

    On the grid of s×s cells shifted by s/2, a cell is covered by one quadrant each of the atoms of four LR pixels: the
    sum is a 2×2 convolution of the coefficients, and no patch is ever formed. Where each image has a basis of its own,
    or gradients are asked for, the coefficients, padded by a zero border and flattened, are read at four offsets
    instead.
    """
    b, g, _, h, w = coefficients.shape
    colours = atoms.shape[3]
    quadrants = atoms.unflatten(5, (2, scale)).unflatten(4, (2, scale))  # (B, G, C, colours, 2, s, 2, s)
    if b * g == 1 and not torch.is_grad_enabled():
        kernel = quadrants[0, 0].permute(1, 3, 5, 0, 2, 4).flatten(0, 2).flip(2, 3)
        source = coefficients[:, 0].contiguous(memory_format=torch.channels_last)  # so that strides decide nothing
        cells = F.conv2d(source, kernel, padding=1).contiguous()
    else:
        pitch = w + 2
        flat = F.pad(coefficients, (1, 1, 1, 2)).flatten(3)  # one row more, so that every offset stays inside
        count = (h + 1) * pitch
        cells = flat.new_zeros(())
        for m in (0, 1):
            for n in (0, 1):
                offset = (1 - m) * pitch + (1 - n)
                matrix = quadrants[:, :, :, :, m, :, n, :].flatten(3).transpose(2, 3)
                cells = cells + matrix @ flat[..., offset : offset + count]
        cells = cells.reshape(b, g * colours * scale**2, h + 1, pitch)[..., : w + 1]
    half = scale // 2
    return F.pixel_shuffle(cells, scale)[..., half : half + scale * h, half : half + scale * w]
