"""What a network says of one image's SR space, and the synthesis of images from coefficients.

Patch at LR pixel i: Σ_c w_{i,c} · atom_c, a (k, k) patch centred on the s×s HR pixels of i. With k = s the patches
tile the image (pixel shuffle); with k > s they overlap and are added; what falls outside the image is cut off.
Colour is handled in G groups of 3/G channels: G = 3 gives each channel coefficients of its own (the paper), G = 1
lets atoms be patches in colour.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

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

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "SpaceParameters":
        """The same parameters with ``function`` applied to every tensor."""
        tensors = {k: function(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        basis = self.basis and replace(
            self.basis, mean=function(self.basis.mean), log_var=function(self.basis.log_var)
        )
        return replace(self, **tensors, basis=basis)


def synthesize(coefficients: Tensor, atoms: Tensor, scale: int) -> Tensor:
    """Σ_c w_c · atom_c at every LR pixel, overlap-added.

    Args:
        coefficients: (B, G, C, h, w).
        atoms: (B, G, C, 3/G, k, k).
        scale: s.

    Returns:
        (B, 3, s·h, s·w)
    """
    b, g, c, h, w = coefficients.shape
    patches = atoms.flatten(3).transpose(2, 3) @ coefficients.reshape(b, g, c, h * w)
    return synthesize_patches(patches.reshape(b, -1, h, w), atoms.shape[-1], scale)


def synthesize_patches(patches: Tensor, patch_size: int, scale: int, keep_overhang: bool = False) -> Tensor:
    """Overlap-add of one patch per LR pixel: (B, channels·k·k, h, w) → (B, channels, s·h, s·w).

    With ``keep_overhang`` the (k − s)/2 rows that overhang above and below are kept: (B, channels, s·h + k − s, s·w).
    """
    if patch_size == scale:
        return F.pixel_shuffle(patches, scale)
    h, w = patches.shape[-2:]
    overhang = (patch_size - scale) // 2
    size = (scale * h + (2 * overhang if keep_overhang else 0), scale * w)
    padding = (0 if keep_overhang else overhang, overhang)
    return F.fold(patches.flatten(2), size, patch_size, padding=padding, stride=scale)
