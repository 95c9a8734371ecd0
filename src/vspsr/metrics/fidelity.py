"""Distance from the truth, value by value: PSNR and SSIM.

PSNR = 10·log₁₀(peak²/MSE). SSIM is that of Wang, Bovik, Sheikh & Simoncelli (IEEE TIP 2004, eq. 13), with their
Gaussian window of 11×11, σ = 1.5, K₁ = 0.01, K₂ = 0.03, over all places where the window fits into the image.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from vspsr.checks import check_integer
from vspsr.degradation.banded import Banded, lasting_tensors
from vspsr.errors import size_text
from vspsr.metrics.images import check_pair, select

_WINDOW, _SIGMA = 11, 1.5


def psnr(a: Tensor, b: Tensor, peak: float = 255, channel: str = "rgb", border: int = 0) -> Tensor:
    """Peak signal-to-noise ratio in dB.

    Range [0, ∞], higher is better; infinite where the images are identical.

    Args:
        a, b: (..., C, H, W), integers or floating point in 0 … peak; leading axes broadcast.
        peak: 255 for 8 bits, 65535 for 16, 1 for [0, 1].
        channel: "rgb" for the mean squared error over all channels (the challenge's), "y" for that of BT.601 luma as
            of MATLAB's ``rgb2ycbcr``, not rounded (what SR papers mostly report).
        border: pixels left out on each side; SR papers leave out as many as the scale.

    Returns:
        (...) float64.

    Raises:
        ValueError: shapes that do not fit, values out of range, an unknown option.
    """
    check_pair(a, b, peak)
    border = check_integer(border, "border", 0, 2**31)

    def one(x: Tensor, y: Tensor) -> Tensor:
        difference = select(x, peak, channel, border) - select(y, peak, channel, border)
        return decibels(difference.square_().mean(), peak)

    return per_image(one, a, b)


def decibels(mse: Tensor, peak: float) -> Tensor:
    """10·log₁₀(peak²/MSE); infinite where MSE is 0."""
    return 10 * torch.log10(peak**2 / mse)


def ssim(a: Tensor, b: Tensor, peak: float = 255, channel: str = "rgb", border: int = 0) -> Tensor:
    """Structural similarity; that of the channels is averaged.

    Range [−1, 1], higher is better; 1 where the images are identical.

    Args and errors as in `psnr`; after the border at least 11×11 pixels must be left.

    Returns:
        (...) float64. Equals scikit-image's ``structural_similarity`` with ``gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False``.
    """
    check_pair(a, b, peak)
    border = check_integer(border, "border", 0, 2**31)
    height, width = (n - 2 * border for n in a.shape[-2:])
    if min(height, width) < _WINDOW:
        size = size_text((height, width))
        raise ValueError(f"`a` must have at least {_WINDOW}×{_WINDOW} pixels within the border, got {size}")
    rows, columns = _smoothing(height), _smoothing(width)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    known: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # address → what depends on b alone: often one truth for all

    def smooth(v: Tensor) -> Tensor:
        return columns.apply(rows.apply(v, -2), -1)

    def one(u: Tensor, v: Tensor) -> Tensor:
        if v.data_ptr() not in known:
            y = select(v, peak, channel, border)
            mean_y = smooth(y)
            known.clear()
            known[v.data_ptr()] = y, mean_y, smooth(y * y) - mean_y * mean_y
        x, (y, mean_y, variance_y) = select(u, peak, channel, border), known[v.data_ptr()]
        mean_x = smooth(x)
        cross, square = mean_x * mean_y, mean_x * mean_x
        covariance, variance = smooth(x * y) - cross, smooth(x * x) - square + variance_y
        similarity = (2 * cross + c1) * (2 * covariance + c2)
        return (similarity / ((square + mean_y * mean_y + c1) * (variance + c2))).mean()

    return per_image(one, a, b)


def per_image(metric: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """A metric of two images (C, H, W), image by image in bounded memory: (*leading axes broadcast, *metric's)."""
    batch = torch.broadcast_shapes(a.shape[:-3], b.shape[:-3])
    a, b = a.expand(*batch, *a.shape[-3:]), b.expand(*batch, *b.shape[-3:])
    values = [metric(a[index], b[index]) for index in product(*(range(n) for n in batch))]
    return torch.stack(values).reshape((*batch, *values[0].shape))


@lru_cache(maxsize=16)
@lasting_tensors()
def _smoothing(n: int) -> Banded:
    """Gaussian smoothing of an axis of n pixels, where the window fits: (n − 10, n)."""
    offset = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    taps = torch.exp(-0.5 * (offset / _SIGMA) ** 2)
    n_out = n - _WINDOW + 1
    return Banded(torch.arange(n_out), (taps / taps.sum()).repeat(n_out, 1), n)
