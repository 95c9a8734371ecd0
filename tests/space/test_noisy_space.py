"""Spaces of noisy LR images against dense algebra: the joint Gaussian of image and LR image, conditioned on y."""

import pickle

import pytest
import torch
from dense_spaces import GAUSSIAN, SIGMA, dense, dense_down, exploring_space, noisy_space
from explorer_tools import tiny_model
from scipy.ndimage import uniform_filter
from torch import Tensor

from vspsr.degradation.noise import NoiseModel
from vspsr.errors import ConditionWarning
from vspsr.space import Average, NoisySpace, NotGaussianError, Pixels, SRSpace

PHOTONS = NoiseModel(SIGMA / 2, torch.tensor([0.01, 0.0, 0.05], dtype=torch.float64))


def window_mean(y: Tensor) -> Tensor:
    return torch.from_numpy(uniform_filter(y.numpy(), (0, 5, 5), mode="nearest"))


@pytest.mark.parametrize("model", [GAUSSIAN, PHOTONS], ids=["Gaussian", "with photons"])
@pytest.mark.parametrize("kind", ["independent", "correlated"])
def test_mean_and_stddev_are_the_conditioned_gaussians(kind: str, model: NoiseModel) -> None:
    space = exploring_space(kind, 5, 4, calibration=1.3 if kind == "independent" else 1.0)
    y = space.y[0]
    mean = window_mean(y)  # the prior of the LR image, as Lee has it
    noise = model.sigma.square()[:, None, None] + model.gain[:, None, None] * mean
    signal = (window_mean(y.square()) - mean.square() - noise).clamp_min(0).flatten()
    down = dense_down(space)
    up = torch.linalg.pinv(down)
    detail = torch.eye(down.shape[1], dtype=torch.float64) - up @ down
    root = dense(space).root
    prior = root @ root.T + up @ torch.diag(signal) @ up.T
    centre = detail @ space._centre.flatten() + up @ mean.flatten()
    gain = prior @ down.T @ torch.linalg.inv(down @ prior @ down.T + torch.diag(noise.flatten()))
    wanted_mean = centre + gain @ (y.flatten() - down @ centre)
    wanted = (prior - gain @ down @ prior).diagonal().clamp_min(0).sqrt()
    made = noisy_space(space, model)
    torch.testing.assert_close(made.mean.flatten(), wanted_mean, rtol=0, atol=1e-9)
    if kind == "independent":
        torch.testing.assert_close(made.stddev.flatten(), wanted, rtol=0, atol=1e-9)
    else:  # it is estimated from 100 samples
        assert (made.stddev.flatten() / wanted - 1).abs().mean() < 0.1


@pytest.mark.parametrize("model", [GAUSSIAN, PHOTONS], ids=["Gaussian", "with photons"])
def test_samples_have_this_mean_and_stddev(model: NoiseModel) -> None:
    space = noisy_space(exploring_space("independent", 3, 4, calibration=1.0), model)
    drawn = space.sample(1000)
    assert ((drawn.mean(0) - space.mean) / space.stddev).abs().max() < 5 / 1000**0.5
    assert (drawn.std(0) / space.stddev - 1).abs().max() < 5 / 2000**0.5
    torch.testing.assert_close(space.sample(1, temperature=0.0)[0], space.mean)


def test_lr_images_scatter_as_the_noise_allows() -> None:
    space = noisy_space(exploring_space("independent", 6, 7))
    lr = space.degradation.down(space.sample(800))
    torch.testing.assert_close(lr.var(0), space.lr_variance, rtol=0.3, atol=1e-12)
    torch.testing.assert_close(space.degradation.down(space.mean), space.y, rtol=0, atol=1e-12)


def test_without_noise_it_is_the_exact_space() -> None:
    exact = exploring_space("independent", 5, 4)
    for sigma in (0.0, 1e-9):
        made = noisy_space(exact, NoiseModel(*torch.tensor([[sigma], [0.0]], dtype=torch.float64).expand(2, 3)))
        for a, b in ((made.mean, exact.mean), (made.stddev, exact.stddev), (made.sample(2), exact.sample(2))):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-7 if sigma else 1e-12)


def test_copies() -> None:
    space = noisy_space(exploring_space("independent", 5, 4))
    changed = space.with_temperature(0.5).with_keys([7])
    wanted = changed.sample(2, seed=3)
    for other in (space.select(0), space.to("cpu"), pickle.loads(pickle.dumps(space))):
        assert torch.equal(other.with_temperature(0.5).with_keys([7]).sample(2, seed=3), wanted)
        assert torch.equal(other.stddev, space.stddev)
    assert torch.equal(changed.select(0).sample(2, seed=3), wanted)
    warm = torch.full((5, 4), 0.5, dtype=torch.float64)
    torch.testing.assert_close(changed.sample(2, seed=3, temperature=warm), wanted)
    ends = torch.stack([space.interpolate(1, 2, 0.0), space.interpolate(1, 2, 1.0)])
    assert torch.equal(ends, torch.stack([space.sample(1, seed=s)[0] for s in (1, 2)]))


def test_the_exact_space_follows_what_is_changed() -> None:
    exact = exploring_space("independent", 5, 4)
    space = noisy_space(exact)
    changed = space.with_calibration(3).with_temperature(0.1).with_keys([77]).exact
    assert (changed.calibration, changed.temperature, changed.keys) == (3, 0.1, (77,))
    assert type(changed) is SRSpace
    torch.testing.assert_close(changed.stddev, 3 / exact.calibration * space.exact.stddev)
    assert torch.equal(changed.sample(1), space.exact.with_keys([77]).sample(1, temperature=0.1))
    assert space.to("meta").exact.y.device.type == "meta"


@pytest.mark.parametrize("kind", ["independent", "correlated"])
def test_the_standard_error_is_that_of_the_models_part(kind: str) -> None:
    """σ² = s² + q, with a standard error of s/√200 for s and an exact q: that of σ is s²/(σ·√200)."""
    space = noisy_space(exploring_space(kind, 5, 4))
    spread = space.exact.stddev.square() / space.stddev
    expected = spread / 200**0.5 if kind == "correlated" else 0 * spread
    torch.testing.assert_close(space.stddev_error, expected)


def test_a_condition_moves_the_lr_image_as_far_as_its_noise_allows() -> None:
    """The mean brightness of a picture, which an exact LR image fixes."""
    space = noisy_space(exploring_space("independent", 4, 4, calibration=1.0))
    everywhere, value = torch.ones(16, 16), space.mean.mean() + 0.02
    condition = Average(everywhere, float(value), 1e-4)
    with pytest.warns(ConditionWarning, match=r"condition 0 \(Average\) contradicts"):
        assert float(space.exact.condition(condition).mean.mean() - space.mean.mean()) < 1e-3
    given = space.condition(condition)
    assert float(given.mean.mean()) == pytest.approx(float(value), abs=1e-4)
    row = torch.full((1, 768), 1 / 768, dtype=torch.float64)
    expected = dense_down(space) @ dense(space).given(row, value[None], 1e-4)[0]
    torch.testing.assert_close(space.degradation.down(given.mean).flatten(), expected, rtol=0, atol=1e-9)
    moved = (expected - space.y.flatten()).abs() / space.lr_variance.flatten().sqrt()
    assert 0.1 < float(moved.max()) < 5


def test_the_standard_deviation_given_a_condition_has_the_calibration_of_the_models_part() -> None:
    space = exploring_space("noisy", 3, 4, calibration=2.0)
    observed = torch.zeros(12, 16)
    observed[4:7, 5:8] = 1
    given, model = space.condition(Pixels(observed, space.sample(1, seed=3)[0, 0], 0.02)), dense(space)
    g = torch.eye(576, dtype=torch.float64)[observed.bool().expand(3, -1, -1).flatten()]
    _, covariance = model.given(g, torch.zeros(27, dtype=torch.float64), 0.02)
    expected = covariance.diagonal().sqrt().view_as(given.stddev)
    assert float(((given.stddev - expected) / given.stddev_error).abs().max()) < 5
    assert float((given.stddev / expected - 1).square().mean().sqrt()) < 0.1


def test_single_precision_agrees_as_that_of_an_exact_lr_image() -> None:
    exact = exploring_space("noisy", 6, 7)
    p = exact.parameters.map_tensors(Tensor.float)
    single = NoisySpace.from_space(
        SRSpace(exact.y.float(), p, exact.degradation, calibration=exact.calibration), exact.lr_variance.float()
    )
    a, b = exact.sample(2, seed=4)[:, 0]
    observed = torch.zeros(24, 28)
    observed[4:9, 5:11] = 1
    condition = Pixels(observed, a, 0.05)
    difference = single.condition(condition).mean - exact.condition(condition).mean
    assert float(difference.abs().max()) < 0.05
    a = a + 0.05 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert single.nearest(a, 0.05).distance == pytest.approx(exact.nearest(a, 0.05).distance, rel=0.03)
    nats = [s.likelihood_ratio(a, b, 0.05).nats for s in (single, exact)]
    assert nats[0] == pytest.approx(nats[1], rel=0.05)


def test_a_picture_by_place_has_the_same_samples() -> None:
    model, y = tiny_model(), torch.rand(1, 3, 140, 6, generator=torch.Generator().manual_seed(0))
    variance = torch.full_like(y, 0.01)
    with torch.no_grad():
        whole, placed = (NoisySpace.from_space(made, variance) for made in (model(y), model.by_place(y)))
    wanted = whole.sample(1, seed=2)
    torch.testing.assert_close(placed.sample(1, seed=2), wanted, rtol=0, atol=1e-5)
    part = placed.region(100, 0, 8, 6).sample(1, seed=2)[0]
    torch.testing.assert_close(part, wanted[0, 0, :, 400:432], rtol=0, atol=1e-5)


def test_what_is_refused() -> None:
    exact = exploring_space("independent", 5, 4)
    space = noisy_space(exact)
    with pytest.raises(NotGaussianError, match="`region` needs detail that is random: its calibration is 0"):
        space.with_calibration(0).region(0, 0, 2, 2)
    with pytest.raises(ValueError, match="`grey` must come before"):
        space.grey()
    with pytest.raises(ValueError, match="lr_variance"):
        NoisySpace.from_space(exact, exact.y[..., :-1])
    with pytest.raises(ValueError, match="lr_variance"):
        NoisySpace.from_space(exact, -exact.y)
