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
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

_WINDOW = 5  # side of Lee's


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
