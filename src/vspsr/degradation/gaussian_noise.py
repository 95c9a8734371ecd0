"""Noise in an LR image: y = u + n, u = D x, n ~ N(0, σ²) in every value.

Its strength is estimated where the image is flat: J. Immerkær's filter (*Fast Noise Variance Estimation*, Computer
Vision and Image Understanding 64, 1996) lets no plane through; its response is taken in the flattest tenth of the
image's windows.

u given y is estimated with the local moments of J. S. Lee (*Digital Image Enhancement and Noise Filtering by Use of
Local Statistics*, IEEE PAMI 2, 1980): a priori u ~ N(m, s²) in each value, m the mean of y and s² the excess of its
variance over σ² in a window. Then u | y ~ N(m + K (y − m), K σ²), K = s² / (s² + σ²), Wiener's gain.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

_FILTER = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], dtype=torch.float64) / 6  # of norm 1
_FLAT, _FLAT_WINDOW = 0.1, 6  # share of windows, and their side
_OF_PURE_NOISE = 0.7314  # the estimate from white noise of σ = 1 before it is divided by this
_SMALLEST = 16  # pixels along a side
_LEVEL = 1 / 255  # below this, noise cannot be distinguished from rounding and fine texture
_WINDOW = 5  # side of Lee's


def estimate_noise(y: Tensor) -> Tensor:
    """Standard deviation of the noise in each channel, (C,) float64, in units of the full range.

    It is 0 below one level of 255, and for images of less than 16 pixels along a side. Of texture everywhere (fur, say)
    some is taken for noise: up to 2.5 levels of clean photographs of 48×48 pixels.

    Args:
        y: LR image (C, h, w) in [0, 1].
    """
    if min(y.shape[-2:]) < _SMALLEST:
        return torch.zeros(len(y), dtype=torch.float64)
    response = conv2d(y.double().cpu()[:, None], _FILTER[None, None])
    windows = avg_pool2d(response.square(), _FLAT_WINDOW, _FLAT_WINDOW // 2).flatten(1)
    sigma = windows.quantile(_FLAT, dim=1).sqrt() / _OF_PURE_NOISE
    return sigma.where(sigma >= _LEVEL, 0.0)


def lr_posterior(y: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each value of the LR image without noise, given y.

    Args:
        y: LR image (C, h, w).
        sigma: standard deviation of the noise, (C,), ≥ 0.

    Returns:
        (C, h, w) twice, of y's type: y and 0 where there is no noise.
    """
    noise = sigma.to(y).square()[:, None, None]
    mean = _window_mean(y)
    signal = (_window_mean(y.square()) - mean.square() - noise).clamp_min(0)
    gain = torch.where(noise > 0, signal / (signal + noise).clamp_min(torch.finfo(y.dtype).tiny), 1.0)
    return mean + gain * (y - mean), gain * noise


def _window_mean(y: Tensor) -> Tensor:
    reach = _WINDOW // 2
    return avg_pool2d(pad(y[None], [reach] * 4, mode="replicate"), _WINDOW, 1)[0]
