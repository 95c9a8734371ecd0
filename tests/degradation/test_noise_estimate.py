"""Estimates of the noise on images with known noise: Gaussian, Poisson, both and none."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy_pictures import noisy_photograph
from scipy.stats import theilslopes
from torch import Tensor

from vspsr.degradation.noise import estimate_noise, theil_sen

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "camera")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigma", [5, 12, 25])
def test_gaussian_noise_of_photographs(name: str, sigma: float) -> None:
    found = estimate_noise(noisy_photograph(name, sigma)[1])
    assert not found.gain.any()
    assert (255 * found.sigma / sigma - 1).abs().max() < 0.25
    assert abs(255 * float(found.sigma.mean()) / sigma - 1) < 0.2


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
@pytest.mark.parametrize(("sigma", "gain", "bits"), [(2, 0.003, 8), (2, 0.01, 16), (0, 0.005, 8)])
def test_photon_noise_of_photographs(name: str, sigma: float, gain: float, bits: int) -> None:
    found = estimate_noise(noisy_photograph(name, sigma, gain, 1, bits)[1])
    assert int((found.gain > 0).sum()) >= 2
    for level in (0.3, 0.6):
        wanted = ((sigma / 255) ** 2 + gain * level) ** 0.5
        assert (found.stddev(level)[found.gain > 0] / wanted - 1).abs().max() < 0.25


def ramp(sigma: float, gain: float, seed: int, size: int = 240) -> Tensor:
    """Levels of 0.1 to 0.9 with noise, without rounding."""
    generator = np.random.default_rng(seed)
    u = np.broadcast_to(np.linspace(0.1, 0.9, size), (size, size))
    seen = gain * generator.poisson(u / gain) if gain else u
    return torch.from_numpy(seen + sigma * generator.standard_normal(u.shape))[None].clamp(0, 1)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0005, 0.02), st.floats(0, 0.5), st.integers(0, 10**6))
def test_photon_noise_is_its_own_measure(gain: float, share: float, seed: int) -> None:
    """σ² up to half of what photons add at mid level."""
    sigma = (0.5 * share * gain) ** 0.5
    found = estimate_noise(ramp(sigma, gain, seed))
    assert float(found.gain[0]) == pytest.approx(gain, rel=0.25)
    for level in (0.2, 0.5, 0.8):
        assert float(found.stddev(level)[0]) == pytest.approx((sigma**2 + gain * level) ** 0.5, rel=0.12)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.006, 0.2), st.integers(0, 10**6))
def test_gaussian_noise_has_no_gain(sigma: float, seed: int) -> None:
    """Although clipping makes the variance smaller in dark parts, for the larger σ."""
    found = estimate_noise(ramp(sigma, 0.0, seed))
    assert not found.gain.any()
    if sigma < 0.05:
        assert float(found.sigma[0]) == pytest.approx(sigma, rel=0.06)


def test_each_channel_has_its_own() -> None:
    found = estimate_noise(torch.cat([ramp(0.02, 0.0, 1), ramp(0.0, 0.01, 2), ramp(0.1, 0.0, 3), ramp(0.0, 0.0, 4)]))
    assert (found.gain > 0).tolist() == [False, True, False, False]
    assert found.sigma.numpy() == pytest.approx([0.02, 0.0, 0.1, 0.0], rel=0.03)


def test_white_noise_is_its_own_measure() -> None:
    noise = torch.randn(2, 400, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = estimate_noise(torch.stack([0.02 * noise[0], 0.1 * noise[1]]) + 0.5)
    assert found.sigma.numpy() == pytest.approx([0.02, 0.1], rel=0.03)
    assert not found.gain.any()


def test_black_without_noise_does_not_hide_photon_noise() -> None:
    """As in fluorescence microscopy: no light, no noise."""
    y = torch.nn.functional.pad(ramp(0.0, 0.01, 0), (100, 0))
    assert float(estimate_noise(y).gain[0]) == pytest.approx(0.01, rel=0.25)


def test_noise_that_falls_with_the_level_has_no_gain() -> None:
    y = ramp(0.0, 0.01, 0)
    found = estimate_noise(1 - y)
    assert not found.gain.any()
    assert found.sigma.any()


def test_clean_pictures_have_none() -> None:
    for name in NAMES:
        assert not estimate_noise(noisy_photograph(name, 0)[0]).noisy.any()
    assert not estimate_noise(torch.full((3, 40, 40), 0.3)).noisy.any()
    assert not estimate_noise(torch.rand(3, 15, 40)).noisy.any()  # too small to tell


def test_the_slope_is_scipys() -> None:
    generator = np.random.default_rng(0)
    for n in (6, 9, 16):
        x = np.sort(generator.random(n))
        y = 0.3 * x + 0.1 * generator.standard_normal(n)
        wanted = theilslopes(y, x, alpha=0.99)
        slope, lower = theil_sen(torch.from_numpy(x), torch.from_numpy(y))
        assert slope == pytest.approx(wanted.slope)
        assert lower == pytest.approx(wanted.low_slope)
    assert theil_sen(torch.arange(5.0), torch.arange(5.0)) == (1.0, -torch.inf)
