"""JPEG as libjpeg does it, on batches of pictures: colour, subsampling, DCT, quantisation, and back.

The arithmetic is libjpeg's own (`vspsr.degradation.jpeg_arithmetic`). Huffman coding loses nothing and is left out.
"""

import torch
from torch import Tensor

from vspsr.degradation.jpeg_arithmetic import (
    blocks_of,
    dct,
    downsampled,
    idct,
    plane_of,
    quantised,
    rgb_to_ycc,
    upsampled,
    ycc_to_rgb,
)

# ITU-T T.81, tables K.1 and K.2.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
_LOW = 4  # the low frequencies that say how coarse a table is: u, v < 4
_FULL = 8.0  # log2 of the coarsest step


def quality_tables(quality: Tensor) -> Tensor:
    """libjpeg's tables for qualities 1 … 100: (B,) → (B, 2, 8, 8) float32, luminance and chrominance."""
    quality = quality.to(torch.float64)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    base = torch.tensor([_LUMINANCE, _CHROMINANCE], dtype=torch.float64).to(quality.device, non_blocking=True)
    tables = ((base * scale[:, None, None, None] + 50) / 100).floor()
    return tables.clamp(1, 255).float()


def jpeg(image: Tensor, tables: Tensor, subsampled: Tensor) -> Tensor:
    """What a picture looks like after it was saved as a baseline JPEG and opened again.

    Args:
        image: (B, 3, h, w) float32 of integers 0 … 255, RGB; h and w multiples of 16.
        tables: (B, 2, 8, 8), as of `quality_tables`.
        subsampled: (B,) bool: 4:2:0 where true, else 4:4:4.

    Returns:
        (B, 3, h, w) float32 of integers 0 … 255.

    Raises:
        ValueError: sides that are not multiples of 16.
    """
    if image.shape[-2] % 16 or image.shape[-1] % 16:
        raise ValueError(f"`image` must have sides that are multiples of 16, got {tuple(image.shape)}")
    planes = rgb_to_ycc(image)
    luminance = coded(planes[:, :1], tables[:, :1])
    chrominance = planes[:, 1:]
    whole = coded(chrominance, tables[:, 1:])
    half = upsampled(coded(downsampled(chrominance), tables[:, 1:]))
    return ycc_to_rgb(torch.cat([luminance, torch.where(subsampled[:, None, None, None], half, whole)], 1))


def quantisation_map(tables: Tensor, subsampled: Tensor, height: int, width: int) -> Tensor:
    """How coarse a JPEG's values are, the second input of networks beside its pixels: (B, 3, h, w) in [0, 1].

    The first two channels are log2 of the mean quantisation step at low frequencies, over 8, of luminance and of
    chrominance (twice as coarse where it is subsampled): 0 for a picture that was never quantised. The third marks
    where the 8×8 grid lies: the first channel times the nearness to the next line of it. The grid begins at the upper
    left corner.

    Args:
        tables: (B, 2, 8, 8) quantisation steps, luminance and chrominance.
        subsampled: (B,) bool: chrominance at half the resolution.
    """
    steps = tables[..., :_LOW, :_LOW].mean((-2, -1)) * torch.stack([torch.ones_like(subsampled), 1 + subsampled], 1)
    coarse = (steps.log2() / _FULL).clamp(0, 1)[..., None, None]
    grid = torch.maximum(_near_grid(height)[:, None], _near_grid(width)).to(coarse, non_blocking=True)
    flat = coarse.expand(-1, -1, height, width)
    return torch.cat([flat, coarse[:, :1] * grid], 1)


def _near_grid(n: int) -> Tensor:
    """1 minus the distance to the nearest line of the 8×8 grid over its largest, 4: (n,)."""
    place = torch.arange(n).remainder(8) + 0.5
    return 1 - torch.minimum(place, 8 - place) / 4


def coded(planes: Tensor, tables: Tensor) -> Tensor:
    """Planes that were quantised and restored: (B, C, h, w) of integers 0 … 255, by (B, 1, 8, 8) or (B, C, 8, 8)."""
    steps = tables.double()[:, :, None, None]
    return plane_of(idct(quantised(dct(blocks_of(planes)), steps) * steps)).float()
