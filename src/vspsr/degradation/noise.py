"""Noise in an LR image: y = u + n, u = D x, n independent in each value with n ~ N(0, σ² + g u).

σ is the part that does not depend on the signal. The gain g is that of counted photons: y / g is a count, and the
variance of a count is its mean. This is the model of A. Foi, M. Trimeche, V. Katkovnik and K. Egiazarian (*Practical
Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data*, IEEE TIP 17, 2008), with g and σ² for their a
and b. Without a gain the noise is Gaussian.

u given y is estimated with the local moments of J. S. Lee (*Digital Image Enhancement and Noise Filtering by Use of
Local Statistics*, IEEE PAMI 2, 1980): a priori u ~ N(m, s²) in each value, m the mean of y and s² the excess of its
variance over that of the noise in a window. Then u | y ~ N(m + K (y − m), K v), v = σ² + g m, K = s² / (s² + v).
Without a gain this is exact. With one it is the best linear estimate, and K v is its mean squared error, since σ² + g u
is v on average (D. T. Kuan, A. A. Sawchuk, T. C. Strand, P. Chavel, *Adaptive Noise Smoothing Filter for Images with
Signal-Dependent Noise*, IEEE PAMI 7, 1985).

σ of an image is estimated where it is flat: J. Immerkær's filter (*Fast Noise Variance Estimation*, Computer Vision and
Image Understanding 64, 1996) lets no plane through; its response is taken in the flattest tenth of the image's windows.
White noise has the same energy in this filter and in the filter dilated by 2, texture has several times more in the
latter. So the comparison of both says which share of the response is texture, and this share is taken off.

The gain is the slope of the variance over the level. The windows are sorted by level into bins, and each bin has its
own flattest tenth. Bins with many clipped values are left out, since their variance is too small, and so are bins with
much texture. The slope is that of H. Theil and P. K. Sen (*Estimates of the Regression Coefficient Based on Kendall's
Tau*, JASA 63, 1968): the median over pairs of bins, with a confidence interval that needs no distribution. A gain is
found where its lower bound is above 0 and it matters; otherwise the noise is Gaussian.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

from vspsr.degradation.banded import lasting_tensors

_WINDOW = 5  # side of Lee's
_FILTER = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
_FLAT, _FLAT_WINDOW = 0.1, 6  # share of windows, and their side
_OF_PURE_NOISE = 0.7314  # the estimate from white noise of σ = 1 before it is divided by this
_SMALLEST = 16  # pixels along a side
_LEVEL = 1 / 255  # below this, noise cannot be distinguished from rounding and fine texture

_COARSE_OF_NOISE, _COARSE_OF_TEXTURE = 1.57, 5.0  # energy in the dilated filter over the plain one's, flattest fifth

_BINS, _PER_BIN = 16, 100  # at most, and windows in each at least
_FEWEST_BINS = 6  # fewer have no lower bound at this confidence:
_QUANTILE = 2.576  # of the normal distribution, 99 % between ±
_CLIPPED = 0.5  # of a bin, the share of windows with a clipped value: its level is 2σ away from the end then
_TEXTURE = 0.3  # of a bin
_MATTERS = 1.5  # variance in the brightest bin over that in the darkest


@dataclass(frozen=True)
class NoiseModel:
    """Variance σ² + g u of the noise in a value u, by channel.

    Attributes:
        sigma: σ, (C,), ≥ 0, in units of the full range.
        gain: g, (C,), ≥ 0, in units of the full range: 1 / g photons make white.
    """

    sigma: Tensor
    gain: Tensor

    @property
    def noisy(self) -> Tensor:
        """Which channels have noise, (C,) bool."""
        return (self.sigma > 0) | (self.gain > 0)

    def stddev(self, level: float) -> Tensor:
        """Standard deviation of the noise in values of one level, (C,)."""
        return (self.sigma.square() + self.gain * level).sqrt()

    def variance(self, y: Tensor) -> Tensor:
        """v, variance of the noise in each value of an LR image y (C, h, w); the mean of a window stands for u."""
        sigma, gain = (t.to(y)[:, None, None] for t in (self.sigma, self.gain))
        return sigma.square() + gain * _window_mean(y)


def lr_posterior(y: Tensor, noise: NoiseModel) -> tuple[Tensor, Tensor]:
    """Mean and variance of each value of the LR image without noise, given y.

    Args:
        y: LR image (C, h, w) in [0, 1].
        noise: of its channels.

    Returns:
        (C, h, w) twice, of y's type: y and 0 where there is no noise.
    """
    variance = noise.variance(y)
    mean = _window_mean(y)
    signal = (_window_mean(y.square()) - mean.square() - variance).clamp_min(0)
    gain = torch.where(variance > 0, signal / (signal + variance).clamp_min(torch.finfo(y.dtype).tiny), 1.0)
    return mean + gain * (y - mean), gain * variance


def _window_mean(y: Tensor) -> Tensor:
    reach = _WINDOW // 2
    return avg_pool2d(pad(y[None], [reach] * 4, mode="replicate"), _WINDOW, 1)[0]


@lasting_tensors()
def estimate_noise(y: Tensor) -> NoiseModel:
    """The noise of each channel, float64.

    It is 0 below one level of 255, and for images of less than 16 pixels along a side. Of texture everywhere (fur, say)
    some is taken for noise, and noise that was smoothed (by a camera, say) for texture.

    Args:
        y: LR image (C, h, w) in [0, 1].
    """
    if min(y.shape[-2:]) < _SMALLEST:
        return NoiseModel(*torch.zeros(2, len(y), dtype=torch.float64))
    fits = [_channel(channel[None, None]) for channel in y.double().cpu()]
    return NoiseModel(*torch.tensor(fits, dtype=torch.float64).T)


def _channel(y: Tensor) -> tuple[float, float]:
    """σ and g of an image (1, 1, h, w)."""
    inner = (..., slice(2, -2), slice(2, -2))
    kernel = torch.tensor(_FILTER, dtype=torch.float64)[None, None] / 6  # of norm 1
    plain = conv2d(y, kernel)[..., 1:-1, 1:-1].square()
    coarse = conv2d(y, kernel, dilation=2).square()
    clipped = max_pool2d(((y <= 0) | (y >= 1)).double(), 5, 1)  # whether a response depends on such a value
    columns = (y[inner], plain, coarse, clipped)
    windows = torch.stack([avg_pool2d(t, _FLAT_WINDOW, _FLAT_WINDOW // 2).flatten() for t in columns])
    found = _with_gain(windows[:, windows[0].argsort()])
    if found is not None:
        return found
    sigma = _variance(*windows[1:3])[0] ** 0.5
    return (sigma if sigma >= _LEVEL else 0.0), 0.0


def _variance(plain: Tensor, coarse: Tensor) -> tuple[float, float]:
    """Variance of the noise in windows, from what both filters give there; and the share of texture taken off."""
    flattest = plain <= plain.quantile(2 * _FLAT)
    ratio = float(coarse[flattest].median() / plain[flattest].median().clamp_min(torch.finfo(plain.dtype).tiny))
    texture = (ratio - _COARSE_OF_NOISE) / (_COARSE_OF_TEXTURE - _COARSE_OF_NOISE)
    texture = min(max(texture, 0.0), 1.0)
    return (1 - texture) * float(plain.quantile(_FLAT)) / _OF_PURE_NOISE**2, texture


def _with_gain(windows: Tensor) -> tuple[float, float] | None:
    """σ and g if the image supports a gain, from the level, both responses and the clipping of windows."""
    bins = []
    for level, plain, coarse, clipped in windows.tensor_split(max(1, min(_BINS, windows.shape[1] // _PER_BIN)), dim=1):
        variance, texture = _variance(plain, coarse)
        if texture <= _TEXTURE and float((clipped > 0).double().mean()) <= _CLIPPED:
            bins.append((float(level.mean()), variance))
    if len(bins) < _FEWEST_BINS:
        return None
    levels, variances = torch.tensor(bins, dtype=torch.float64).T
    gain, lower = theil_sen(levels, variances)
    offset = float((variances - gain * levels).median())
    if offset < 0:  # the line through 0, then
        gain, offset = float((variances / levels).median()), 0.0
    dark, bright = (offset + gain * float(level) for level in levels.aminmax())
    if lower <= 0 or bright < _MATTERS * dark or bright < _LEVEL**2:
        return None
    return offset**0.5, gain


def theil_sen(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope of y over x, both (n,), and the lower end of its confidence interval of 99 %; −∞ where n is too small."""
    n = len(x)
    first, second = torch.triu_indices(n, n, 1)
    slopes = ((y[second] - y[first]) / (x[second] - x[first])).sort().values
    spread = _QUANTILE * (n * (n - 1) * (2 * n + 5) / 18) ** 0.5
    rank = round((len(slopes) - spread) / 2) - 1
    return float(slopes.quantile(0.5)), float(slopes[rank]) if rank >= 0 else -torch.inf
