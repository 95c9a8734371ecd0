"""The space: closed forms against dense algebra and Monte Carlo, determinism, exactness, errors."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import make_space as make
from torch import Tensor
from torch.nn.functional import pad

from vspsr import VSpSR
from vspsr.degradation.operator import Degradation
from vspsr.nn.vspm import VSpM
from vspsr.space.base import NotGaussianError
from vspsr.space.drawing import PatchFactor, Sampler
from vspsr.space.sr_space import SRSpace
from vspsr.space.synthesis import synthesize


def residual(space: SRSpace, z: Tensor) -> Tensor:
    """(I − D⁺D) z"""
    return z - space.degradation.pseudo_inverse(space.degradation.down(z))


def columns(space: SRSpace) -> Tensor:
    """Every σ·atom at its place, projected: (coefficients, B, 3, H, W)."""
    p = space.parameters
    assert p.coefficient_log_var is not None
    sigma = (0.5 * p.coefficient_log_var).exp()
    out = []
    for index in range(sigma[0].numel()):
        one = torch.zeros_like(sigma).flatten(1)
        one[:, index] = sigma.flatten(1)[:, index]
        out.append(residual(space, synthesize(one.view_as(sigma), p.atoms, space.degradation.scale)))
    return torch.stack(out)


@pytest.mark.parametrize("kind", ["overlapping", "paper", "many atoms"])
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (2, 9)])
def test_stddev_is_that_of_dense_algebra(kind: str, size: tuple[int, int]) -> None:
    space = make(*size, kind=kind)
    dense = columns(space).square().sum(0).sqrt()
    torch.testing.assert_close(space.stddev, dense, rtol=1e-9, atol=1e-12)


def test_stddev_at_scale_8_and_of_a_batch() -> None:
    space = make(3, 4, batch=2, scale=8)
    torch.testing.assert_close(space.stddev, columns(space).square().sum(0).sqrt(), rtol=1e-9, atol=1e-12)


def test_stddev_in_float32_on_more_than_one_band() -> None:
    space = make(40, 3)
    single = SRSpace(space.y.float(), space.parameters.map_tensors(Tensor.float), space.degradation)
    torch.testing.assert_close(single.stddev.double(), space.stddev, rtol=1e-3, atol=1e-6)


def dense(factor: PatchFactor) -> Tensor:
    """(B, G, h, w, D, D)"""
    return torch.stack([pad(c.movedim(2, -1), (e, 0)) for e, c in enumerate(factor.columns)], -1)


def test_the_factor_has_the_covariance_of_the_coefficients() -> None:
    """Where C > 2 k², both ways of drawing have the same mean and covariance."""
    space = make(2, 3, kind="many atoms")
    p = space.parameters
    assert p.coefficient_log_var is not None
    factor = PatchFactor.build(p.coefficient_log_var, p.atoms)
    assert factor is not None
    lower = dense(factor)
    basis = p.atoms.flatten(3)
    covariance = torch.einsum("bgcd,bgchw,bgce->bghwde", basis, p.coefficient_log_var.exp(), basis)
    torch.testing.assert_close(lower @ lower.mT, covariance, rtol=1e-4, atol=1e-5 * float(covariance.max()))
    assert PatchFactor.build(p.coefficient_log_var[:, :, :8], p.atoms[:, :, :8]) is None


def test_the_factor_of_a_deficient_basis_is_finite() -> None:
    """Smooth atoms, moved and flipped, span little: rounding makes pivots negative."""
    torch.manual_seed(0)
    grid = torch.arange(8) - 3.5
    blobs = [torch.exp(-((grid[:, None] - a).square() + (grid - b).square()) / 8) for a, b in torch.randn(200, 2)]
    atoms, log_var = torch.stack(blobs)[None, None, :, None], 4 * torch.randn(1, 1, 200, 5, 6)
    factor = PatchFactor.build(log_var, atoms)
    assert factor is not None
    lower = dense(factor).double()
    assert lower.isfinite().all()
    basis = atoms.flatten(3).double()
    covariance = torch.einsum("bgcd,bgchw,bgce->bghwde", basis, log_var.double().exp(), basis)
    error = (lower @ lower.mT - covariance).abs().amax((-1, -2))
    assert (error <= 1e-5 * covariance.amax((-1, -2))).all()


def test_both_ways_of_drawing_agree_in_samples() -> None:
    space = make(2, 2, kind="many atoms")
    direct = SRSpace(space.y, space.parameters, space.degradation)
    sampler = Sampler.build(space.parameters, space.degradation.scale)
    assert sampler.factor is not None
    direct._cache["sampler", False] = replace(sampler, factor=None)  # as if there were few atoms
    n = 1500
    a, b = (torch.stack(list(s.iter_samples(n, seed=3))).flatten(1) for s in (space, direct))
    assert not torch.allclose(a[0], b[0])
    scale = space.stddev.flatten()
    error = 6 * scale / math.sqrt(n)
    assert ((a.mean(0) - b.mean(0)).abs() < error * math.sqrt(2) + 1e-9).all()
    covariances = [((s - s.mean(0)) / scale.clamp_min(1e-9)).T.cov() for s in (a, b)]
    assert (covariances[0] - covariances[1]).abs().max() < 8 / math.sqrt(n)


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["overlapping", "paper", "many atoms"]))
def test_every_sample_downscales_to_the_lr_image(h: int, w: int, kind: str) -> None:
    space = make(h, w, kind=kind)
    for x in [*space.sample(2, seed=5), space.mean, space.interpolate(1, 2, 0.3)]:
        torch.testing.assert_close(space.degradation.down(x), space.y, rtol=0, atol=1e-12)


def test_temperature_is_of_samples_and_calibration_of_the_standard_deviation() -> None:
    space = make()
    torch.testing.assert_close(space.sample(1, temperature=0.0)[0], space.mean)
    cooler = space.with_temperature(0.5)
    assert (cooler.temperature, cooler.calibration) == (0.5, 1.0)
    assert torch.equal(cooler.stddev, space.stddev)
    assert torch.equal(cooler.sample(2), space.sample(2, temperature=0.5))
    torch.testing.assert_close(cooler.sample(1)[0] - space.mean, 0.5 * (space.sample(1)[0] - space.mean))
    wider = cooler.with_calibration(1.1)
    assert (wider.temperature, wider.calibration) == (0.5, 1.1)
    assert torch.equal(wider.stddev, 1.1 * space.stddev)
    assert torch.equal(wider.sample(2), cooler.sample(2))
    assert "temperature=0.5, calibration=1.1" in repr(wider)


@pytest.mark.parametrize("first", [lambda s: s, lambda s: s.with_calibration(2.0)])
def test_moments_are_computed_once_for_a_space_and_its_copies(
    first: Callable[[SRSpace], SRSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vspsr.space import sr_space

    calls = []
    variance = sr_space.projected_variance
    monkeypatch.setattr(sr_space, "projected_variance", lambda *a: calls.append(1) or variance(*a))
    space = make(3, 3)
    expected = first(space).stddev / first(space).calibration
    for other in (space, space.with_temperature(2.0), space.with_calibration(0.5), copy.copy(space)):
        torch.testing.assert_close(other.stddev, other.calibration * expected)
    assert calls == [1]
    expected = space.mean
    monkeypatch.setattr(SRSpace, "_project", None)  # not needed a second time
    assert torch.equal(copy.copy(space).mean, expected)
    with pytest.raises(TypeError):
        _ = copy.deepcopy(space).mean


def test_interpolation_passes_from_one_sample_to_the_other() -> None:
    space = make()
    ends = space.sample(1, seed=1)[0], space.sample(1, seed=2)[0]
    assert torch.equal(space.interpolate(1, 2, 0.0), ends[0])
    assert torch.equal(space.interpolate(1, 2, 1.0), ends[1])
    middle = space.interpolate(1, 2, 0.5) - space.mean
    torch.testing.assert_close(middle, math.sqrt(0.5) * (ends[0] + ends[1] - 2 * space.mean))


@pytest.mark.parametrize("kind", ["overlapping", "paper", "many atoms"])
def test_rsample_is_differentiable_in_the_parameters(kind: str) -> None:
    space = make(2, 2, kind=kind)
    log_var = space.parameters.coefficient_log_var
    assert log_var is not None
    log_var = log_var.clone().requires_grad_()
    drawn = SRSpace(space.y, replace(space.parameters, coefficient_log_var=log_var), space.degradation).rsample(2)
    assert drawn.shape == (2, 1, 3, 8, 8)
    (gradient,) = torch.autograd.grad(drawn.square().sum(), log_var)
    step = 1e-5 * torch.sign(gradient)
    shifted = [
        SRSpace(space.y, replace(space.parameters, coefficient_log_var=log_var.detach() + d), space.degradation)
        for d in (step, -step)
    ]
    difference = shifted[0].sample(2).square().sum() - shifted[1].sample(2).square().sum()
    torch.testing.assert_close(difference, 2 * (gradient * step).sum(), rtol=1e-5, atol=1e-10)
    assert not space.sample(1).requires_grad


@pytest.mark.parametrize("kind", ["overlapping", "paper"])
def test_grey_space_is_the_mean_over_channels(kind: str) -> None:
    space = make(3, 3, kind=kind)
    grey = space.grey()
    assert grey.event_shape == (1, 12, 12)
    torch.testing.assert_close(grey.mean, space.mean.mean(1, keepdim=True))
    dense = columns(space).mean(2, keepdim=True).square().sum(0).sqrt()
    torch.testing.assert_close(grey.stddev, dense, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(grey.degradation.down(grey.sample(1)[0]), space.y.mean(1, keepdim=True))


@pytest.mark.parametrize("options", [{"stochastic_basis": True, "convolutions": False}, {"convolutions": True}])
def test_a_space_that_is_not_gaussian_says_so(options: dict[str, bool]) -> None:
    torch.manual_seed(0)
    network = VSpM(4, 8, **options).double()
    y = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        space = SRSpace(y, network(y), Degradation(4))
    assert not space.is_gaussian
    for closed_form in ("mean", "stddev"):
        with pytest.raises(NotGaussianError, match=f"`{closed_form}` has no closed form"):
            getattr(space, closed_form)
    x = space.sample(2)
    assert x.shape == (2, 2, 3, 16, 20)
    assert not torch.equal(x[0], x[1])
    torch.testing.assert_close(space.degradation.down(x[0]), y)
    cold = space.sample(2, temperature=0)
    assert torch.equal(cold[0], cold[1])


def test_deterministic_coefficients_leave_one_image() -> None:
    network = VSpM(4, 8, stochastic_coefficients=False, convolutions=False).double()
    y = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        space = SRSpace(y, network(y), Degradation(4))
    assert torch.equal(space.sample(2)[0], space.sample(2)[1])
    assert not space.stddev.any()


def test_distribution_vocabulary() -> None:
    space = make(2, 3, batch=2)
    assert space.batch_shape == (2,)
    assert space.event_shape == (3, 8, 12)
    assert space.is_gaussian
    assert "8×12" in repr(space)
    assert space.sample(0).shape == (0, 2, 3, 8, 12)
    assert torch.equal(space.to("cpu").sample(1), space.sample(1))


METHODS = ("sample", "rsample", "iter_samples")
WRONG_COUNTS = (torch.Size([2]), (1,), None, "1", 1.5, True, 2**70, float("nan"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.sample(-1), "`n` must be an integer of at least 0, got -1"),
        (lambda s: s.sample(1, seed=-3), "`seed` must be an integer of at least 0, got -3"),
        (
            lambda s: s.sample(1, temperature=-1),
            "`temperature` must be a finite number of at least 0, got -1",
        ),
        (lambda s: s.sample(1, temperature=float("nan")), "`temperature`"),
        (lambda s: s.interpolate(0, 1, 1.5), r"`t` must lie in \[0, 1\], got 1.5"),
        (lambda s: s.interpolate(0, -1, 0.5), "`seed_b`"),
        (lambda s: s.interpolate(0, 1, "x"), r"`t` must lie in \[0, 1\], got 'x'"),
        (lambda s: s.with_temperature(float("inf")), "`temperature`"),
        (lambda s: s.with_temperature(None), "`temperature` must be a finite number"),
        (lambda s: s.with_calibration(-1), "`calibration` must be a finite number of at least 0, got -1"),
        (lambda s: s.with_keys([1, 2]), "`keys` must be one for each of 1 images, got 2"),
        (lambda s: s.with_keys([-1]), "`keys` must be an integer of at least 0, got -1"),
        *((lambda s, f=f, n=n: getattr(s, f)(n), "`n` must be an integer") for f in METHODS for n in WRONG_COUNTS),
        *(
            (lambda s, f=f, n=n: getattr(s, f)(1, n), "`seed` must be an integer")
            for f in METHODS
            for n in WRONG_COUNTS
        ),
        (lambda s: s.iter_samples(1, start=-1), "`start` must be an integer of at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(make(1, 1))  # type: ignore[operator]


def test_moments_need_no_special_context() -> None:
    space = VSpSR.from_pretrained("vspsr-x4")(torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(0)))
    assert space.mean.requires_grad
    with torch.no_grad():
        expected = VSpSR.from_pretrained("vspsr-x4")(space.y).stddev
    torch.testing.assert_close(space.stddev, expected)


class TestPerturb:
    def test_neighbours_go_from_the_sample_to_independent_ones(self) -> None:
        space = make(6, 7, batch=2)
        sample = space.sample(4, seed=3)[3]
        near = space.perturb(3, 3, 0.2, n=2)
        assert near.shape == (2, *sample.shape)
        torch.testing.assert_close(space.perturb(3, 3, 0)[0], sample, rtol=0, atol=1e-12)
        assert torch.equal(space.perturb(3, 3, 0.2), near[:1])
        distances = [float((space.perturb(3, 3, a)[0] - sample).norm()) for a in (0.1, 0.3, 0.6, 1.0)]
        assert distances == sorted(distances)
        for x in near:
            torch.testing.assert_close(space.degradation.down(x), space.y, rtol=0, atol=1e-11)

    def test_they_are_as_typical_as_the_sample(self) -> None:
        """cos² + sin² = 1: deviations from the mean combine like the noise; neighbour i goes the same way for all."""
        space = make(6, 7)
        sample, other = space.sample(1)[0] - space.mean, space.perturb(0, 0, 1.0)[0] - space.mean
        expected = math.cos(0.15 * math.pi) * sample + math.sin(0.15 * math.pi) * other
        torch.testing.assert_close(space.perturb(0, 0, 0.3)[0] - space.mean, expected)
        torch.testing.assert_close(space.perturb(0, 9, 1.0)[0] - space.mean, other)

    @pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan"), "much", True])
    def test_amounts_out_of_range_are_refused(self, amount: Any) -> None:
        with pytest.raises(ValueError, match=r"`amount` must lie in \[0, 1\]"):
            make(2, 2).perturb(0, 0, amount)
