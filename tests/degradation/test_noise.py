"""Lee's filter for noise of both kinds: against scipy, Monte Carlo and photographs."""

import numpy as np
import pytest
import torch
from noisy_pictures import noisy_photograph
from scipy.ndimage import uniform_filter
from scipy.signal import wiener
from torch import Tensor

from vspsr.degradation.noise import NoiseModel, lr_posterior


def model(sigma: float, gain: float = 0.0, channels: int = 3) -> NoiseModel:
    return NoiseModel(*torch.tensor([[sigma], [gain]], dtype=torch.float64).expand(2, channels))


@pytest.mark.parametrize("sigma", [2, 12])
def test_the_mean_is_scipys_wiener_filter(sigma: float) -> None:
    y = noisy_photograph("camera", sigma)[1]
    mean, variance = lr_posterior(y, model(sigma / 255, channels=1))
    wanted = wiener(y[0].numpy(), 5, noise=(sigma / 255) ** 2)
    inside = (slice(2, -2), slice(2, -2))  # scipy surrounds the image with zeros
    np.testing.assert_allclose(mean[0].numpy()[inside], wanted[inside], atol=1e-9)
    assert (variance >= 0).all()
    assert (variance <= (sigma / 255) ** 2).all()


def moments(y: Tensor, noise: NoiseModel) -> tuple[np.ndarray, ...]:
    """m, s² and v of a value in the middle of an image of 5×5, by channel."""
    m, square = (uniform_filter(t.numpy(), (0, 5, 5), mode="nearest")[:, 2, 2] for t in (y, y.square()))
    v = noise.sigma.numpy() ** 2 + noise.gain.numpy() * m
    return m, square - m**2 - v, v


def test_with_a_gain_it_is_the_best_linear_estimate() -> None:
    """The regression of u on y over 400,000 draws of signal and photons."""
    y = 0.4 + 0.15 * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise = NoiseModel(*torch.tensor([[0.03, 0.0], [0.01, 0.02]], dtype=torch.float64))
    mean, variance = lr_posterior(y, noise)
    generator, n = np.random.default_rng(0), 400_000
    for c, (m, s2, v) in enumerate(zip(*moments(y, noise), strict=True)):
        assert s2 > 0.2 * v
        u = generator.normal(m, s2**0.5, n).clip(0)  # clipped in one of 1,000 draws
        gain, sigma = float(noise.gain[c]), float(noise.sigma[c])
        seen = gain * generator.poisson(u / gain) + generator.normal(0, sigma, n)
        slope, intercept = np.polyfit(seen, u, 1)
        assert abs(float(mean[c, 2, 2]) - (slope * float(y[c, 2, 2]) + intercept)) < 2e-3
        assert np.var(u - slope * seen) == pytest.approx(float(variance[c, 2, 2]), rel=0.02)


@pytest.mark.parametrize("sigma", [2, 5, 12, 25])
def test_it_comes_nearer_to_the_truth(sigma: float) -> None:
    for name in ("astronaut", "rocket"):
        clean, y = noisy_photograph(name, sigma)
        mean, variance = lr_posterior(y, model(sigma / 255))
        error = float((mean - clean).square().mean())
        assert error < 0.95 * float((y - clean).square().mean())
        assert 0.4 < float(variance.mean()) / error < 2.5  # what it says of its own error


def test_with_the_gain_it_comes_nearer_than_with_one_sigma() -> None:
    clean, y = noisy_photograph("coffee", 1, gain=0.02)
    best = min(float((lr_posterior(y, model(s / 255))[0] - clean).square().mean()) for s in range(5, 35, 3))
    mean, variance = lr_posterior(y, model(1 / 255, 0.02))
    assert float((mean - clean).square().mean()) < 0.97 * best
    for low, high in ((0.05, 0.2), (0.5, 0.8)):  # it knows its error in dark and in bright parts
        part = (clean > low) & (clean < high)
        ratio = float(variance[part].mean() / (mean - clean)[part].square().mean())
        assert 0.5 < ratio < 2


def test_without_noise_nothing_happens() -> None:
    y = noisy_photograph("rocket", 0)[0]
    mean, variance = lr_posterior(y, NoiseModel(torch.tensor([0.0, 0.1, 0.0]), torch.tensor([0.0, 0.0, 0.1])))
    torch.testing.assert_close(mean[0], y[0], rtol=0, atol=1e-15)
    assert not variance[0].any()
    assert all(variance[c].any() for c in (1, 2))
    black = torch.zeros(1, 8, 8)
    assert not torch.stack(lr_posterior(black, model(0.0, 0.1, 1))).any()  # no light, no photon noise


def test_the_model() -> None:
    noise = NoiseModel(*torch.tensor([[0.03, 0.0, 0.0], [0.0, 0.01, 0.0]], dtype=torch.float64))
    assert noise.noisy.tolist() == [True, True, False]
    torch.testing.assert_close(noise.stddev(0.25), torch.tensor([0.03, 0.05, 0.0], dtype=torch.float64))
    y = torch.full((3, 4, 5), 0.25)
    wanted = noise.stddev(0.25).square().float()[:, None, None].expand(3, 4, 5)
    torch.testing.assert_close(noise.variance(y), wanted)
