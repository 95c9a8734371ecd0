"""Synthesis of images from coefficients: z = Σ_i Σ_c w_{i,c} atom_c placed at LR pixel i.

The patch at LR pixel i, Σ_c w_{i,c} · atom_c, is (k, k) and centred on the s×s HR pixels of i. With k = s the patches
tile the image (pixel shuffle); with k > s they overlap and are added; what falls outside the image is cut off.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["synthesize", "synthesize_patches"]


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
    """`synthesize` for k = 2s, with the sum over overlapping patches inside the matrix products.

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
