"""Noise of LR images: its estimate on photographs with known noise, and Lee's filter against scipy's."""

import numpy as np
import pytest
import torch
from scipy.signal import wiener
from skimage import data
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.degradation.gaussian_noise import estimate_noise, lr_posterior

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "camera")


def noisy(name: str, sigma: float) -> tuple[Tensor, Tensor]:
    """A photograph downscaled by 4, in [0, 1], and the same with noise of so many levels, in 8 bits."""
    hr = torch.from_numpy(np.atleast_3d(getattr(data, name)()).copy()).permute(2, 0, 1)
    clean = Degradation(4).down_integers(hr).double()
    noise = sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return clean / 255, (clean + noise).round().clamp(0, 255) / 255


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigma", [5, 12, 25])
def test_the_estimate_is_near_the_truth(name: str, sigma: float) -> None:
    found = 255 * estimate_noise(noisy(name, sigma)[1])
    assert (found / sigma - 1).abs().max() < 0.25
    assert abs(float(found.mean()) / sigma - 1) < 0.2


def test_white_noise_is_its_own_measure() -> None:
    noise = torch.randn(2, 400, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigma = estimate_noise(torch.stack([0.02 * noise[0], 0.1 * noise[1]]) + 0.5)
    torch.testing.assert_close(sigma, torch.tensor([0.02, 0.1], dtype=torch.float64), rtol=0.03, atol=0)


def test_clean_pictures_have_little_or_none() -> None:
    for name in NAMES:
        assert (255 * estimate_noise(noisy(name, 0)[0])).max() < 1.6
    assert not estimate_noise(torch.full((3, 40, 40), 0.3)).any()
    assert not estimate_noise(torch.rand(3, 15, 40)).any()  # too small to tell


@pytest.mark.parametrize("sigma", [2, 12])
def test_the_mean_is_scipys_wiener_filter(sigma: float) -> None:
    y = noisy("camera", sigma)[1]
    mean, variance = lr_posterior(y, torch.tensor([sigma / 255], dtype=torch.float64))
    wanted = wiener(y[0].numpy(), 5, noise=(sigma / 255) ** 2)
    inside = (slice(2, -2), slice(2, -2))  # scipy surrounds the image with zeros
    np.testing.assert_allclose(mean[0].numpy()[inside], wanted[inside], atol=1e-9)
    assert (variance >= 0).all()
    assert (variance <= (sigma / 255) ** 2).all()


@pytest.mark.parametrize("sigma", [2, 5, 12, 25])
def test_it_comes_nearer_to_the_truth(sigma: float) -> None:
    for name in ("astronaut", "rocket"):
        clean, y = noisy(name, sigma)
        mean, variance = lr_posterior(y, torch.full((3,), sigma / 255, dtype=torch.float64))
        error = float((mean - clean).square().mean())
        assert error < 0.95 * float((y - clean).square().mean())
        assert 0.4 < float(variance.mean()) / error < 2.5  # what it says of its own error


def test_without_noise_nothing_happens() -> None:
    y = noisy("rocket", 0)[0]
    mean, variance = lr_posterior(y, torch.tensor([0.0, 0.1, 0.0]))
    torch.testing.assert_close(mean[[0, 2]], y[[0, 2]], rtol=0, atol=1e-15)
    assert not variance[[0, 2]].any()
    assert variance[1].any()
