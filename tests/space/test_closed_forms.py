"""Closed forms of every kind of space: against dense algebra on any small picture, and against samples."""

import math

import pytest
import torch
from dense_spaces import SIGMA, Dense, dense, exploring_space, noisy_space
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm
from torch import Tensor

from vspsr import SRSpace
from vspsr.degradation.noise import NoiseModel
from vspsr.space import NoisySpace, Pixels

KINDS = ["independent", "correlated", "noisy"]
ERROR = 0.02
FALSE_ALARM = 1e-3
"""Probability that a test of samples fails by chance, over all its pixels (Bonferroni)."""


def observe(space: SRSpace, mask: Tensor, picture: Tensor) -> tuple[Pixels, Tensor, Tensor]:
    """Pixels of a picture (channels, H, W) as a condition, its matrix and its values."""
    matrix = torch.eye(picture.numel(), dtype=torch.float64)[mask.expand(len(picture), -1, -1).flatten()]
    return Pixels(mask, picture, ERROR), matrix, matrix @ picture.flatten()


@pytest.mark.parametrize("n", [300, pytest.param(50_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("conditioned", [False, True], ids=["", "conditioned"])
@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_stddev_are_those_of_samples(kind: str, conditioned: bool, n: int) -> None:
    """Of n samples, the mean is normal and the mean square around the true mean chi-square with n degrees."""
    space = exploring_space(kind, 3, 2, scale=2, calibration=1.0)
    model = dense(space)
    mean, covariance = model.mean, model.covariance
    if conditioned:
        mask = torch.zeros(6, 4, dtype=torch.bool)
        mask[2:4, 1:3] = True
        condition, matrix, values = observe(space, mask, space.sample(1, seed=9)[0, 0])
        mean, covariance = model.given(matrix, values, ERROR)
        space = space.condition(condition)
    total, squares = torch.zeros_like(mean), torch.zeros_like(mean)
    for x in space.iter_samples(n, seed=1):
        total += x.flatten() - mean
        squares += (x.flatten() - mean).square()
    stddev, chance = covariance.diagonal().sqrt(), FALSE_ALARM / (2 * len(mean))
    assert float((total / stddev).abs().max()) / math.sqrt(n) < norm.isf(chance)
    ratio = squares / stddev.square()
    assert chi2.ppf(chance, n) < float(ratio.min())
    assert float(ratio.max()) < chi2.isf(chance, n)
    torch.testing.assert_close(space.mean.flatten(), mean, rtol=0, atol=1e-8)
    # What is estimated from 100 samples states its error.
    error = space.stddev_error.flatten().clamp_min(1e-8)
    assert float(((space.stddev.flatten() - stddev) / error).abs().max()) < norm.isf(chance)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[SRSpace, Dense, Tensor, Tensor]:
    """A space of 1 or 3 channels, its dense form, and two pictures near its members; all values on an 8- or 16-bit
    grid."""
    kind, scale = draw(st.sampled_from(KINDS)), draw(st.sampled_from([2, 4]))
    h, w = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    peak = draw(st.sampled_from([2**8 - 1, 2**16 - 1]))
    space = exploring_space("correlated" if kind == "noisy" else kind, h, w, scale)
    space = space.grey() if draw(st.booleans()) else space
    space = space._with(y=(space.y * peak).round() / peak, _cache={})
    if kind == "noisy":
        channels = len(space.y[0])
        space = noisy_space(space, NoiseModel(SIGMA[:channels], 0 * SIGMA[:channels]))
    a, b = (space.sample(2, seed=draw(st.integers(0, 99)))[:, 0] * peak).round() / peak
    return space, dense(space), a, b


@settings(max_examples=25)
@given(pictures(), st.data())
def test_conditions_on_any_picture(made: tuple[SRSpace, Dense, Tensor, Tensor], data: st.DataObject) -> None:
    """A rectangle anywhere, borders and the whole picture included."""
    space, model, picture, _ = made
    mask = torch.zeros(picture.shape[1:], dtype=torch.bool)
    (top, bottom), (left, right) = (
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in mask.shape
    )
    mask[top:bottom, left:right] = True
    condition, matrix, values = observe(space, mask, picture)
    conditioned = space.condition(condition)
    mean, covariance = model.given(matrix, values, ERROR)
    torch.testing.assert_close(conditioned.mean.flatten(), mean, rtol=0, atol=1e-8)
    x = picture[None] - space.mean
    expected = (covariance @ x.flatten()).view_as(x)
    torch.testing.assert_close(conditioned._covariance().product(x), expected, rtol=0, atol=1e-8)
    if not isinstance(space, NoisySpace):
        for member in (conditioned.mean, conditioned.sample(1)[0]):
            torch.testing.assert_close(space.degradation.down(member), space.y, rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(pictures(), st.sampled_from([0.5 / 255, ERROR, 0.2]))
def test_the_closest_member_of_any_picture(made: tuple[SRSpace, Dense, Tensor, Tensor], error: float) -> None:
    space, model, picture, _ = made
    s = model.covariance + error**2 * torch.eye(picture.numel(), dtype=torch.float64)
    alpha = torch.linalg.solve(s, picture.flatten() - model.mean)
    found = space.nearest(picture, error)
    torch.testing.assert_close(found.member.flatten(), model.mean + model.covariance @ alpha, rtol=0, atol=1e-8)
    r, scale = picture - space.mean[0], space.degradation.scale
    if not isinstance(space, NoisySpace):
        torch.testing.assert_close(space.degradation.down(found.member), space.y, rtol=0, atol=1e-9)
        r = r - space.degradation.pseudo_inverse(space.degradation.down(r))
    squared = float(r.flatten() @ torch.linalg.solve(s, r.flatten()))
    assert found.distance**2 == pytest.approx(squared, rel=1e-7)
    assert float(found.by_pixel.mean()) * found.expected**2 == pytest.approx(squared, rel=1e-7)
    free = 1.0 if isinstance(space, NoisySpace) else 1 - scale**-2
    assert found.expected**2 == pytest.approx(free * picture.numel())


@settings(max_examples=25)
@given(pictures(), st.booleans())
def test_the_likelihood_ratio_of_any_two_pictures(
    made: tuple[SRSpace, Dense, Tensor, Tensor], conditioned: bool
) -> None:
    space, model, a, b = made
    mean, covariance = model.mean, model.covariance
    if conditioned:
        mask = torch.zeros(a.shape[1:], dtype=torch.bool)
        mask[:2, -2:] = True
        condition, matrix, values = observe(space, mask, a)
        mean, covariance = model.given(matrix, values, ERROR)
        space = space.condition(condition)
    s = covariance + ERROR**2 * torch.eye(a.numel(), dtype=torch.float64)
    density = torch.distributions.MultivariateNormal(mean, s)
    expected = float(density.log_prob(a.flatten()) - density.log_prob(b.flatten()))
    found = space.likelihood_ratio(a, b, ERROR)
    assert found.nats == pytest.approx(expected, rel=1e-7, abs=1e-7)
    assert found.nats == pytest.approx(found.lr_nats + found.detail_nats)


@settings(max_examples=25)
@given(pictures(), st.floats(0, 1), st.integers(0, 2**64 - 1), st.booleans())
def test_neighbours_of_samples_of_any_picture(
    made: tuple[SRSpace, Dense, Tensor, Tensor], amount: float, seed: int, conditioned: bool
) -> None:
    """The noise, of single precision, is blended, so deviations from the mean are; neighbours downscale to y."""
    space, _, picture, _ = made
    if conditioned:
        mask = torch.zeros(picture.shape[1:], dtype=torch.bool)
        mask[:2, -2:] = True
        space = space.condition(observe(space, mask, picture)[0])
    sample, other = space.sample(3, seed)[2] - space.mean, space.perturb(seed, 2, 1.0)[0] - space.mean
    neighbour = space.perturb(seed, 2, amount)[0]
    expected = math.cos(amount * math.pi / 2) * sample + math.sin(amount * math.pi / 2) * other
    torch.testing.assert_close(neighbour - space.mean, expected, rtol=0, atol=1e-6)
    if not isinstance(made[0], NoisySpace):
        torch.testing.assert_close(space.degradation.down(neighbour), space.y, rtol=0, atol=1e-9)
