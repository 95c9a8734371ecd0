"""What a network says of one image's SR space, and the synthesis of images from coefficients.

Patch at LR pixel i: Σ_c w_{i,c} · atom_c, a (k, k) patch centred on the s×s HR pixels of i. With k = s the patches
tile the image (pixel shuffle); with k > s they overlap and are added; what falls outside the image is cut off.
Colour is handled in G groups of 3/G channels: G = 3 gives each channel coefficients of its own (the paper), G = 1
lets atoms be patches in colour.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SpaceParameters", "StochasticBasis", "synthesize", "synthesize_patches"]


@dataclass(frozen=True)
class StochasticBasis:
    """Gaussian codes of the atoms: ``mean`` and ``log_var`` (B, G, C); ``decode``, affine, maps them to atoms."""

    mean: Tensor
    log_var: Tensor
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SpaceParameters:
    """Parameters of the SR space of a batch of B LR images of h×w pixels, at scale s: H = s·h, W = s·w.

    Attributes:
        deterministic: μ, (B, 3, H, W), images in [0, 1] up to overshoot.
        atoms: (B, G, C, 3/G, k, k), k − s even and ≥ 0.
        coefficient_mean: m, (B, G, C, h, w), or None for 0.
        coefficient_log_var: log σ², (B, G, C, h, w), or None for deterministic coefficients.
        basis: distribution that ``atoms`` are the mean of, or None for a deterministic basis.
        refine: a nonlinear module (B, 3, H, W) → (B, 3, H, W) applied to the stochastic part, or None.
    """

    deterministic: Tensor
    atoms: Tensor
    coefficient_mean: Tensor | None
    coefficient_log_var: Tensor | None
    basis: StochasticBasis | None = None
    refine: nn.Module | None = None

    def tensors(self) -> list[Tensor]:
        """Every tensor, in the order in which `map_tensors` visits them."""
        found: list[Tensor] = []

        def note(t: Tensor) -> Tensor:
            found.append(t)
            return t

        self.map_tensors(note)
        return found

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "SpaceParameters":
        """The same parameters with ``function`` applied to every tensor."""
        tensors: dict[str, Any] = {k: function(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        basis = self.basis and replace(self.basis, mean=function(self.basis.mean), log_var=function(self.basis.log_var))
        return replace(self, **tensors, basis=basis)


def synthesize(coefficients: Tensor, atoms: Tensor, scale: int, keep_overhang: bool = False) -> Tensor:
    """Σ_c w_c · atom_c at every LR pixel, overlap-added.

    Args:
        coefficients: (B, G, C, h, w).
        atoms: (B, G, C, 3/G, k, k).
        scale: s.
        keep_overhang: keep the (k − s)/2 rows that patches overhang above and below.

    Returns:
        (B, 3, s·h, s·w), or (B, 3, s·h + k − s, s·w) with ``keep_overhang``.
    """
    if atoms.shape[-1] == 2 * scale and scale % 2 == 0:
        return _synthesize_quadrants(coefficients, atoms, scale, keep_overhang)
    b, _, _, h, w = coefficients.shape
    patches = atoms.flatten(3).transpose(2, 3) @ coefficients.flatten(3)
    return synthesize_patches(patches.reshape(b, -1, h, w), atoms.shape[-1], scale, keep_overhang)


def synthesize_patches(patches: Tensor, patch_size: int, scale: int, keep_overhang: bool = False) -> Tensor:
    """Overlap-add of one patch per LR pixel: (B, channels·k·k, h, w) → as `synthesize`."""
    if patch_size == scale:
        return F.pixel_shuffle(patches, scale)
    h, w = patches.shape[-2:]
    overhang = (patch_size - scale) // 2
    size = (scale * h + (2 * overhang if keep_overhang else 0), scale * w)
    padding = (0 if keep_overhang else overhang, overhang)
    return F.fold(patches.flatten(2), size, patch_size, padding=padding, stride=scale)


def _synthesize_quadrants(coefficients: Tensor, atoms: Tensor, scale: int, keep_overhang: bool) -> Tensor:
    """`synthesize` for k = 2s, where the sum over overlapping patches is left to the matrix products.

    On the grid of s×s cells shifted by s/2, a cell is covered by one quadrant each of the atoms of four LR pixels.
    The coefficients, padded by a zero border and flattened, are read at four offsets: no patch is ever formed.
    """
    b, g, _, h, w = coefficients.shape
    colours = atoms.shape[3]
    pitch = w + 2
    flat = F.pad(coefficients, (1, 1, 1, 2)).flatten(3)  # one row more, so that every offset stays inside
    quadrants = atoms.unflatten(5, (2, scale)).unflatten(4, (2, scale))  # (B, G, C, colours, 2, s, 2, s)
    count = (h + 1) * pitch
    cells: Tensor | None = None
    for m in (0, 1):
        for n in (0, 1):
            matrix = quadrants[:, :, :, :, m, :, n, :].flatten(3).transpose(2, 3)
            offset = (1 - m) * pitch + (1 - n)
            source = flat[..., offset : offset + count]
            if cells is None:
                cells = matrix @ source
            elif torch.is_grad_enabled():
                cells = cells + matrix @ source
            else:
                cells.view(b * g, -1, count).baddbmm_(matrix.flatten(0, 1), source.flatten(0, 1))
    assert cells is not None
    cells = cells.reshape(b, g * colours * scale**2, h + 1, pitch)[..., : w + 1]
    half = scale // 2
    out = F.pixel_shuffle(cells, scale)[..., half : half + scale * w]
    return out if keep_overhang else out[..., half : half + scale * h, :]
