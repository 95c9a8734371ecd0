"""Photographs with known noise."""

import numpy as np
import torch
from skimage import data
from torch import Tensor

from vspsr.degradation import Degradation


def noisy_photograph(
    name: str, sigma: float, gain: float = 0.0, scale: int = 4, bits: int = 8
) -> tuple[Tensor, Tensor]:
    """A photograph downscaled, (C, h, w) in [0, 1], and the same with noise, in integers of so many bits.

    Args:
        name: of `skimage.data`.
        sigma: in levels of 255.
        gain: of photon noise, drawn by numpy's Poisson generator, in units of the full range.
        scale: 4, or 1 for the photograph as it is.
        bits: 8 or 16.
    """
    hr = torch.from_numpy(np.atleast_3d(getattr(data, name)()).copy()).permute(2, 0, 1)
    clean = (hr if scale == 1 else Degradation(scale).down_integers(hr)).double() / 255
    generator, u, peak = np.random.default_rng(0), clean.numpy(), 2**bits - 1
    seen = gain * generator.poisson(u / gain) if gain else u
    y = seen + sigma / 255 * generator.standard_normal(u.shape)
    return clean, torch.from_numpy((y * peak).round().clip(0, peak) / peak)
