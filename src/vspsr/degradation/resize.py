"""MATLAB's `imresize`: separable resampling with antialiasing and symmetric borders.

Along one axis of length n, output pixel i (from 0) is centred at u = (i + ½)/r − ½ of the input, r = output/input
scale. With antialiasing (r < 1) the kernel is stretched to r·k(r·(u − j)); the weights of each output pixel are
normalised to sum 1, and an index outside the image is mirrored about its border (half-sample symmetric). One thing
differs: integers at exact halves are rounded to even here, as by numpy and the NTIRE 2021 evaluator, away from zero by
MATLAB.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Real

import torch
from torch import Tensor

from vspsr.checks import check_choice, check_integer, tensor_text, value_text
from vspsr.degradation.banded import Banded, apply_passes, lasting_tensors

LARGEST = 2**31 - 1  # pixels of an axis


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = −0.5 (Keys 1981, eq. 15)."""
    a = x.abs()
    near = 1.5 * a**3 - 2.5 * a**2 + 1
    far = -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
    return torch.where(a <= 1, near, torch.where(a <= 2, far, 0.0))


def _bilinear(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _lanczos3(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


def _box(x: Tensor) -> Tensor:
    return ((x >= -0.5) & (x < 0.5)).to(x.dtype)


KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "bicubic": (_bicubic, 4.0),
    "bilinear": (_bilinear, 2.0),
    "lanczos3": (_lanczos3, 6.0),
    "box": (_box, 1.0),
}
"""Name → (function of the distance in pixels, full width of its support)."""


def mirrored(index: Tensor, n: int) -> Tensor:
    """Indices of any sign folded into 0 … n−1 about the half-sample borders."""
    index = index.remainder(2 * n)
    return torch.where(index < n, index, 2 * n - 1 - index)


@lru_cache(maxsize=32)
@lasting_tensors()
def axis_operator(n_in: int, n_out: int, scale: float, kernel: str) -> Banded:
    """The resampling of one axis as a banded matrix (n_out, n_in)."""
    function, width = KERNELS[kernel]
    stretch = min(scale, 1.0)
    width /= stretch
    centre = (torch.arange(n_out, dtype=torch.float64) + 0.5) / scale - 0.5
    left = torch.floor(centre - width / 2).long()
    index = left[:, None] + torch.arange(math.ceil(width) + 2)
    weights = stretch * function(stretch * (centre[:, None] - index))
    weights = weights / weights.sum(1, keepdim=True)
    rows = torch.arange(n_out)[:, None].expand_as(index)
    keep = weights != 0
    return Banded.from_entries(rows[keep], mirrored(index[keep], n_in), weights[keep], (n_out, n_in))


def round_to_range(x: Tensor, peak: int) -> Tensor:
    """Round, halves to even as the NTIRE 2021 evaluator does, then clip to 0 … peak; x is not changed."""
    return x.round().clamp_(0, peak)


def check_size(size: object) -> tuple[int, int]:
    """The size as (H, W); ValueError unless it is two integers of at least 1."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"`size` must be (height, width), got {value_text(size)}")
    return check_integer(size[0], "size", 1, LARGEST), check_integer(size[1], "size", 1, LARGEST)


def image_size(x: Tensor, name: str = "x") -> tuple[int, int]:
    """(height, width); ValueError unless there are at least two axes and one pixel."""
    if not isinstance(x, Tensor) or x.ndim < 2 or 0 in x.shape[-2:]:
        raise ValueError(f"`{name}` must be an image (..., H, W) of at least one pixel, got {tensor_text(x)}")
    return x.shape[-2], x.shape[-1]


def imresize(
    x: Tensor,
    scale: float | None = None,
    size: Sequence[int] | None = None,
    kernel: str = "bicubic",
) -> Tensor:
    """Resample an image as MATLAB's ``imresize(x, scale)`` or ``imresize(x, size)`` does, antialiasing on.

    Args:
        x: (..., H, W), floating point, or uint8 (then rounded and clipped after each axis, as in MATLAB).
        scale: output/input ratio of both axes; the output has ceil(scale·size) pixels.
        size: (H_out, W_out), instead of ``scale``; each axis then has a ratio of its own.
        kernel: a name in `KERNELS`.

    Returns:
        (..., H_out, W_out), same dtype as x.

    Raises:
        ValueError: neither or both of ``scale`` and ``size`` given, a size below 1, an unknown kernel, or an image of
            another dtype.
    """
    height, width = image_size(x)
    check_choice(kernel, "kernel", KERNELS)
    if (scale is None) == (size is None):
        raise ValueError(f"give one of `scale` and `size`, got scale={scale}, size={size}")
    if size is not None:
        out_h, out_w = check_size(size)
        scale_h, scale_w = out_h / height, out_w / width
    else:
        if not isinstance(scale, Real) or isinstance(scale, bool) or not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"`scale` must be positive and finite, got {value_text(scale)}")
        scale_h = scale_w = float(scale)
        out_h, out_w = (check_integer(math.ceil(scale_h * n), "size", 1, LARGEST) for n in (height, width))
    axes = [(scale_h, height, out_h, -2), (scale_w, width, out_w, -1)]
    axes.sort(key=lambda axis: axis[0])  # MATLAB: the smaller ratio first, rows on a tie
    passes = [(axis_operator(n, n_out, ratio, kernel), dim) for ratio, n, n_out, dim in axes]
    if x.dtype != torch.uint8:
        return apply_passes(x, passes)
    out = x.double().contiguous()
    for operator, dim in passes:
        out = round_to_range(operator.apply(out, dim), 255)
    return out.to(x.dtype)
