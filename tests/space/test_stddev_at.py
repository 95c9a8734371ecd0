"""The standard deviation where the temperature differs by place: against dense algebra and samples."""

import pytest
import torch
from dense_spaces import dense, exploring_space
from torch import Tensor

from vspsr.space import NoisySpace, Pixels, SRSpace

KINDS = ["independent", "correlated"]
ERROR = 200**-0.5  # relative standard error of an estimate from 100 samples


def temperatures(space: SRSpace) -> Tensor:
    """From 0 to 2, another one for every LR pixel."""
    return 2 * torch.rand(space.y.shape[-2:], generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def by_place(space: SRSpace, temperature: Tensor) -> Tensor:
    """A root of the covariance of samples, (n, noise), of independent coefficients: their σ have the temperature."""
    root = dense(space).root
    return root * temperature.flatten().repeat(root.shape[1] // temperature.numel())


def test_independent_coefficients_are_those_of_dense_algebra() -> None:
    space = exploring_space("independent", 5, 6)
    t = temperatures(space)
    expected = by_place(space, t).square().sum(1).sqrt().view_as(space.mean)
    torch.testing.assert_close(space.stddev_at(t), expected, rtol=1e-9, atol=1e-12)
    assert not space.stddev_at(t).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_that_of_samples(kind: str) -> None:
    space = exploring_space(kind, 5, 6)
    t = temperatures(space)
    drawn = (space.sample(400, seed=1, temperature=t) - space.mean).square().mean(0).sqrt()
    error = space.stddev_at(t) / (space.calibration * drawn) - 1
    assert float(error.abs().max()) < 5.5 * ERROR
    assert float(error.mean().abs()) < ERROR


@pytest.mark.parametrize("kind", KINDS)
def test_one_temperature_is_a_factor(kind: str) -> None:
    space = exploring_space(kind, 4, 5)
    torch.testing.assert_close(space.stddev_at(1.0), space.stddev)
    torch.testing.assert_close(space.stddev_at(0.5), 0.5 * space.stddev)
    torch.testing.assert_close(space.stddev_at(torch.full((4, 5), 0.5)), 0.5 * space.stddev)
    for wrong in (-1.0, torch.ones(5, 4)):
        with pytest.raises(ValueError, match="`temperature`"):
            space.stddev_at(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_a_region_is_as_in_the_whole(kind: str) -> None:
    space = exploring_space(kind, 44, 8)
    t, whole = temperatures(space), slice(4 * 2, 4 * 5)
    region = space.region(2, 1, 3, 4)
    assert region.surroundings[2] < 44
    found, expected = region.stddev_at(t), space.stddev_at(t)[0, :, whole, 4:20]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_given_observations() -> None:
    """Covariance (I − K G) C_T (I − K G)ᵀ + K R Kᵀ: samples with the temperature, corrected as the others are."""
    space = exploring_space("independent", 4, 4, scale=2)
    observed = torch.zeros(8, 8, dtype=torch.bool)
    observed[2:4, 2:5] = True
    sigma, t = 0.02, temperatures(space)
    given = space.condition(Pixels(observed, space.sample(1, seed=9)[0, 0], sigma))
    places = torch.arange(3 * 64).view(3, 8, 8)[:, observed].flatten()
    g = torch.eye(3 * 64, dtype=torch.float64)[places]
    c, root = dense(space).covariance, by_place(space, t)
    gain = torch.linalg.solve(g @ c @ g.T + sigma**2 * torch.eye(len(g)), g @ c).T
    left = (torch.eye(3 * 64) - gain @ g) @ root
    expected = (left.square().sum(1) + sigma**2 * gain.square().sum(1)).sqrt().view_as(space.mean)
    assert float((given.stddev_at(t) / expected - 1).abs().max()) < 4.5 * ERROR
    assert float((given.stddev_at(t) / given.stddev - 1).abs().max()) > 0.5
    torch.testing.assert_close(given.stddev_at(1.0), given.stddev)
    torch.testing.assert_close(given.stddev_at(0.5), 0.5 * given.stddev)
    cold = given.sample(2, seed=1, temperature=0.5) - given.mean
    torch.testing.assert_close(cold, 0.5 * (given.sample(2, seed=1, temperature=1.0) - given.mean))


def test_the_noise_of_an_lr_image_has_the_temperature_too() -> None:
    space = NoisySpace.from_space(exploring_space("independent", 4, 5, calibration=1.0), torch.full((1, 3, 4, 5), 1e-3))
    torch.testing.assert_close(space.stddev_at(1.0), space.stddev)
    torch.testing.assert_close(space.stddev_at(0.5), 0.5 * space.stddev)
