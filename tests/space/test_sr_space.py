"""The space: closed forms against dense algebra and Monte Carlo, determinism, exactness, errors."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vspsr import VSpSR
from vspsr.degradation.operator import Degradation
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.vspm import VSpM
from vspsr.space.noise import BLOCK, noise_rows
from vspsr.space.parameters import SpaceParameters
from vspsr.space.sr_space import NotGaussianError, SRSpace
from vspsr.space.synthesis import synthesize
from vspsr.space.variance import PatchFactor


def make(h: int = 5, w: int = 7, batch: int = 1, scale: int = 4, kind: str = "overlapping") -> SRSpace:
    """A space of a random network, double precision, with variances that differ from place to place."""
    torch.manual_seed(h * 100 + w)
    network: torch.nn.Module
    if kind == "overlapping":
        network = OverlappingVSpM(scale, 5, 8, 1, 2)
    else:
        network = VSpM(scale, 36 if kind == "many atoms" else 8, convolutions=False)
    y = torch.rand(batch, 3, h, w, dtype=torch.float64)
    with torch.no_grad():
        p: SpaceParameters = network.double()(y)
    assert p.coefficient_log_var is not None
    log_var = p.coefficient_log_var + torch.randn_like(p.coefficient_log_var)
    return SRSpace(y, replace(p, coefficient_log_var=log_var), Degradation(scale))


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


def test_moments_agree_with_20000_samples() -> None:
    space = make(3, 4)
    n = 20_000
    total, squares = torch.zeros_like(space.mean), torch.zeros_like(space.mean)
    for x in space.iter_samples(n, seed=1):
        total += x
        squares += (x - space.mean).square()
    error = space.stddev / math.sqrt(n)
    # 5σ for 576 pixels each; pixels are fixed where the space has no freedom.
    assert ((total / n - space.mean).abs() <= 5 * error + 1e-9).all()
    ratio = (squares / n).sqrt() / space.stddev
    assert (ratio - 1).abs().max() < 5 / math.sqrt(2 * n)


def test_the_factor_has_the_covariance_of_the_coefficients() -> None:
    """Where C > 2 k², both ways of drawing have the same mean and covariance."""
    space = make(2, 3, kind="many atoms")
    p = space.parameters
    assert p.coefficient_log_var is not None
    factor = PatchFactor.build(p.coefficient_log_var, p.atoms)
    assert factor is not None
    lower = factor.factor.movedim((2, 3), (4, 5))  # (B, G, h, w, D, D)
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
    assert factor.factor.isfinite().all()
    lower = factor.factor.movedim((2, 3), (4, 5)).double()
    basis = atoms.flatten(3).double()
    covariance = torch.einsum("bgcd,bgchw,bgce->bghwde", basis, log_var.double().exp(), basis)
    error = (lower @ lower.mT - covariance).abs().amax((-1, -2))
    assert (error <= 1e-5 * covariance.amax((-1, -2))).all()


def test_both_ways_of_drawing_agree_in_samples() -> None:
    space = make(2, 2, kind="many atoms")
    direct = SRSpace(space.y, space.parameters, space.degradation)
    direct.__dict__["_factor"] = None  # as if there were few atoms
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


@pytest.mark.parametrize("kind", ["overlapping", "many atoms"])
def test_a_sample_is_the_same_image_in_any_company(kind: str) -> None:
    space = make(BLOCK + 3, 5, batch=3, kind=kind)
    ten = space.sample(10, seed=7)
    assert torch.equal(space.sample(3, seed=7), ten[:3])
    assert torch.equal(next(space.iter_samples(1, seed=7, start=6)), ten[6])
    alone = SRSpace(space.y[1:2], space.parameters.map_tensors(lambda t: t[1:2]), space.degradation)
    assert torch.equal(alone.sample(2, seed=7)[:, 0], ten[:2, 1])
    assert not torch.equal(ten[0], ten[1])
    assert not torch.equal(space.sample(1, seed=8)[0], ten[0])


def test_noise_is_standard_normal_and_addressed_by_place() -> None:
    noise = noise_rows(0, 0, 4, 0, 80)
    assert noise.shape == (4, BLOCK, 80)
    assert torch.equal(noise_rows(0, 0, 4, 0, 33), noise[..., :33])
    for other in (noise_rows(1, 0, 4, 0, 80), noise_rows(0, 1, 4, 0, 80), noise_rows(0, 0, 4, 1, 80)):
        assert not torch.equal(other, noise)
    many = torch.cat([noise_rows(0, i, 64, 0, 64).flatten() for i in range(4)])
    n = math.sqrt(len(many))
    assert abs(float(many.mean())) < 5 / n
    assert abs(float(many.var()) - 1) < 5 * math.sqrt(2) / n
    assert abs(float((many**4).mean()) - 3) < 5 * math.sqrt(96) / n
    assert abs(float((many.abs() > 1.959964).double().mean()) - 0.05) < 5 * 0.22 / n


def test_temperature() -> None:
    space = make()
    torch.testing.assert_close(space.sample(1, temperature=0.0)[0], space.mean)
    cooler = space.at(0.5)
    torch.testing.assert_close(cooler.stddev, 0.5 * space.stddev)
    assert torch.equal(cooler.sample(2), space.sample(2, temperature=0.5))
    torch.testing.assert_close(cooler.sample(1)[0] - space.mean, 0.5 * (space.sample(1)[0] - space.mean))


def test_interpolation_passes_from_one_sample_to_the_other() -> None:
    space = make()
    ends = space.sample(1, seed=1)[0], space.sample(1, seed=2)[0]
    assert torch.equal(space.interpolate(1, 2, 0.0), ends[0])
    assert torch.equal(space.interpolate(1, 2, 1.0), ends[1])
    middle = space.interpolate(1, 2, 0.5) - space.mean
    torch.testing.assert_close(middle, math.sqrt(0.5) * (ends[0] + ends[1] - 2 * space.mean))


def test_rsample_is_differentiable_in_the_parameters() -> None:
    space = make(2, 2)
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.sample(-1), "`n` must be an integer of at least 0, got -1"),
        (lambda s: s.sample(1, seed=-3), "`seed` must be an integer of at least 0 .* got -3"),
        (
            lambda s: s.sample(1, temperature=-1),
            "`temperature` must be a finite number of at least 0, got -1",
        ),
        (lambda s: s.sample(1, temperature=float("nan")), "`temperature`"),
        (lambda s: s.interpolate(0, 1, 1.5), r"`t` must lie in \[0, 1\], got 1.5"),
        (lambda s: s.interpolate(0, -1, 0.5), "`seed_b`"),
        (lambda s: s.at(float("inf")), "`temperature`"),
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
