"""JPEG as libjpeg does it, on batches of pictures: colour, subsampling, DCT, quantisation, and back.

These are the steps of libjpeg's defaults ("islow" transforms, "fancy" upsampling), bit for bit, on any device and
without a loop over pictures. Integers are held in float32 or float64, in which all of them are exact. Huffman coding
loses nothing and is left out.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

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


def dct_matrix(n: int) -> Tensor:
    """The orthonormal DCT-II of n values, (n, n) float64."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(torch.pi / (2 * n) * k[:, None] * (2 * k + 1)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


def blocks_of(plane: Tensor) -> Tensor:
    """(..., m, n) → (..., m/8, n/8, 8, 8)."""
    return plane.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)


def plane_of(blocks: Tensor) -> Tensor:
    """The inverse of `blocks_of`."""
    return blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2)


def _fix(x: float) -> int:
    return int(x * 65536 + 0.5)


def rgb_to_ycc(rgb: Tensor) -> Tensor:
    """jccolor.c, 16-bit fixed point, rounded: integers (..., 3, h, w) → float32."""
    r, g, b = rgb.int().unbind(-3)
    half = 1 << 15
    y = (_fix(0.299) * r + _fix(0.587) * g + _fix(0.114) * b + half) >> 16
    centre = (128 << 16) + half - 1
    cb = (-_fix(0.168735892) * r - _fix(0.331264108) * g + _fix(0.5) * b + centre) >> 16
    cr = (_fix(0.5) * r - _fix(0.418687589) * g - _fix(0.081312411) * b + centre) >> 16
    return torch.stack([y, cb, cr], -3).float()


def ycc_to_rgb(ycc: Tensor) -> Tensor:
    """jdcolor.c: integers (..., 3, h, w) → float32."""
    y, cb, cr = ycc.int().unbind(-3)
    cb, cr, half = cb - 128, cr - 128, 1 << 15
    r = y + ((_fix(1.402) * cr + half) >> 16)
    g = y + ((-_fix(0.344136286) * cb - _fix(0.714136286) * cr + half) >> 16)
    b = y + ((_fix(1.772) * cb + half) >> 16)
    return torch.stack([r, g, b], -3).clamp(0, 255).float()


def downsampled(planes: Tensor, vertical: int = 2, horizontal: int = 2) -> Tensor:
    """jcsample.c: rounded means of ``vertical`` × ``horizontal`` values, (..., h, w) to the quotients of the sides.

    The rounding of 2×2 and of 1×2 is biased by 1 and 2, or 0 and 1, in turn along a row.
    """
    count = vertical * horizontal
    if count == 1:
        return planes
    total = planes.unflatten(-1, (-1, horizontal)).sum(-1).unflatten(-2, (-1, vertical)).sum(-2)
    return ((total + mean_bias(vertical, horizontal, total.shape[-1], planes.device)) / count).floor()


def mean_bias(vertical: int, horizontal: int, length: int, device: torch.device | None = None) -> Tensor:
    """What `downsampled` adds to each sum along a row before it divides and rounds down: (length,)."""
    if horizontal == 2 and vertical in (1, 2):
        return vertical - 1.0 + torch.arange(length, device=device).remainder(2)
    return torch.full((length,), float(vertical * horizontal // 2), device=device)


def upsampled(planes: Tensor, vertical: int = 2, horizontal: int = 2) -> Tensor:
    """jdsample.c, "fancy": a triangle filter, 3:1 along each axis that is doubled; ``vertical``, ``horizontal`` 1 or 2.

    Rounding is biased by 8 and 7 in turn along a row if both axes are doubled, else by 1 and 2 along the doubled axis.
    """
    first, second, scale = (8, 7, 16) if vertical == horizontal else (1, 2, 4)
    if vertical == 2:
        padded = F.pad(planes, (0, 0, 1, 1), mode="replicate")
        above, below = 3 * planes + padded[..., :-2, :], 3 * planes + padded[..., 2:, :]
        if horizontal == 1:
            above, below = ((above + first) / scale).floor(), ((below + second) / scale).floor()
        planes = torch.stack([above, below], -2).flatten(-3, -2)
    if horizontal == 2:
        padded = F.pad(planes, (1, 1, 0, 0), mode="replicate")
        before, after = 3 * planes + padded[..., :-2], 3 * planes + padded[..., 2:]
        columns = [((before + first) / scale).floor(), ((after + second) / scale).floor()]
        planes = torch.stack(columns, -1).flatten(-2)
    return planes


_BITS, _EXTRA = 13, 2  # fractional bits of the transforms' constants, and of what is kept between two passes
_TRANSFORM = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)
"""jfdctint.c and jidctint.c as a matrix (frequency, place), places 0 to 3; even rows are symmetric, odd ones the
opposite: 2^13·√8 times the orthonormal DCT-II, with the roundings of the constants there. Both add up all products
of a pass before they round once, so that a pass is an integer matrix product, exact in float64."""


def _matrix(device: torch.device) -> Tensor:
    half = torch.tensor(_TRANSFORM, dtype=torch.float64)
    sign = 1.0 - 2.0 * torch.arange(8).remainder(2)
    return torch.cat([half, sign[:, None] * half.flip(1)], 1).to(device, non_blocking=True)


def _descaled(x: Tensor, bits: int) -> Tensor:
    """x / 2^bits, halves rounded up."""
    return (x * 2.0**-bits + 0.5).floor_()


def dct(blocks: Tensor) -> Tensor:
    """jfdctint.c: integers 0 … 255 (..., 8, 8) → 8 times the orthonormal DCT of their values less 128, float64."""
    matrix = _matrix(blocks.device)
    rows = _descaled((blocks.double() - 128) @ matrix.T, _BITS - _EXTRA)
    return _descaled(matrix @ rows, _BITS + _EXTRA)


def quantised(spectrum: Tensor, steps: Tensor) -> Tensor:
    """jcdctmgr.c: what `dct` gives, divided by 8 times the steps (..., 8, 8), halves away from zero."""
    return torch.sign(spectrum) * (spectrum.abs() / (8 * steps) + 0.5).floor_()


def idct(coefficients: Tensor) -> Tensor:
    """jidctint.c: coefficients times their steps (..., 8, 8), float64 → integers 0 … 255, float64."""
    matrix = _matrix(coefficients.device)
    columns = _descaled(matrix.T @ coefficients, _BITS - _EXTRA)
    restored = _descaled(columns @ matrix, _BITS + _EXTRA + 3)
    return (restored + 128).clamp_(0, 255)
