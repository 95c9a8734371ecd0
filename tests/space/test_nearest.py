"""Closest members, distances and likelihood ratios: against dense algebra, true members, invented detail."""

import pytest
import torch
from dense_spaces import dense, dense_down, exploring_space
from spaces import make_space, small_model
from torch import Tensor

from vspsr.space import NoisySpace, NotGaussianError, Pixels, SRSpace

EXACT = ["independent", "correlated"]
KINDS = [*EXACT, "noisy"]
TAU = 0.05


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_against_dense_algebra(kind: str) -> None:
    space = exploring_space(kind, 4, 5)
    model, picture = dense(space), space.mean + 0.1 * normal(3, *space.mean.shape)
    s = model.covariance + TAU**2 * torch.eye(picture.numel(), dtype=torch.float64)
    alpha = torch.linalg.solve(s, picture.flatten() - model.mean)
    found = space.nearest(picture, TAU)
    torch.testing.assert_close(found.member.flatten(), model.mean + model.covariance @ alpha, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.outside, picture - found.member)
    r, exact = picture - space.mean, kind != "noisy"
    if exact:  # the distance is that of the detail
        torch.testing.assert_close(space.degradation.down(found.member), space.y, rtol=0, atol=1e-10)
        r = r - space.degradation.pseudo_inverse(space.degradation.down(r))
    squared, dimensions = float(r.flatten() @ torch.linalg.solve(s, r.flatten())), 45 if exact else 48
    assert found.distance**2 == pytest.approx(squared, rel=1e-8)
    assert found.expected == pytest.approx((dimensions * 20) ** 0.5)
    assert float(found.by_pixel.sum()) * dimensions == pytest.approx(squared, rel=1e-8)
    assert found.by_pixel.shape == (4, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_member_is_as_far_as_expected(kind: str) -> None:
    """On average over the LR pixels, and over a few pictures at each of them."""
    space = exploring_space(kind, 5, 6)
    maps = []
    for seed in range(12):
        member = space.sample(1, seed=seed, temperature=space.calibration)[0]
        found = space.nearest(member + TAU * normal(seed, *member.shape), TAU)
        assert found.distance == pytest.approx(found.expected, rel=0.1)
        maps.append(found.by_pixel)
    mean = torch.stack(maps).mean(0)
    assert float(mean.mean()) == pytest.approx(1, rel=0.05)
    assert float(mean[1:-1, 1:-1].min()) > 0.5
    assert float(mean.max()) < 1.5


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.filterwarnings("ignore::vspsr.errors.ConvergenceWarning")
def test_a_foreign_patch_is_found_on_the_map(kind: str) -> None:
    space = exploring_space(kind, 10, 11)
    picture = space.sample(1, temperature=space.calibration)[0]
    patch = 2 * float((picture - space.mean).std()) * normal(1, 1, 3, 8, 8)
    picture[..., 12:20, 20:28] += patch
    found = space.nearest(space._project(picture[0], 0), TAU)
    assert divmod(int(found.by_pixel.argmax()), 11) in {(3, 5), (3, 6), (4, 5), (4, 6)}
    assert float(found.by_pixel[3:5, 5:7].mean()) > 3 * float(found.by_pixel[7:].mean())


def test_a_member_is_its_own_closest_member() -> None:
    space = exploring_space("correlated", 5, 5)
    member = space.sample(1)[0]
    found = space.nearest(member[0], 1e-3)
    torch.testing.assert_close(found.member, member, rtol=0, atol=0.02)
    assert found.distance < found.expected


def in_single_precision(space: SRSpace) -> SRSpace:
    changes = {"lr_variance": space.lr_variance.float()} if isinstance(space, NoisySpace) else {}
    parameters = space.parameters.map_tensors(lambda t: t.float())
    return space._with(y=space.y.float(), parameters=parameters, _cache={}, **changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tau", [0.05, 4 / 255, 1 / 255, 1e-3])
def test_single_precision_is_as_accurate_as_stated(kind: str, tau: float) -> None:
    """Distances to 1 %, ratios to 2 % or half a nat, also of pictures nearly as likely: against dense algebra."""
    space = exploring_space(kind, 4, 5)
    single, model = in_single_precision(space), dense(space)
    s = model.covariance + tau**2 * torch.eye(len(model.mean), dtype=torch.float64)
    pictures = [space.sample(1, seed=i)[0] + tau * normal(i, 1, 3, 16, 20) for i in range(3)]
    pictures.append(pictures[0] + 0.05 * space._project(normal(9, 3, 16, 20), 0))
    pictures = [space._project(p[0], 0) for p in pictures]

    def squared(picture: Tensor) -> float:
        r = picture.flatten() - model.mean
        return float(r @ torch.linalg.solve(s, r))

    for i, picture in enumerate(pictures):
        found = single.nearest(picture, tau)
        assert found.distance == pytest.approx(squared(picture) ** 0.5, rel=0.01)
        assert found.member.dtype == torch.float32
        if kind != "noisy":
            torch.testing.assert_close(space.degradation.down(found.member), single.y, rtol=0, atol=1e-6)
        for other in pictures[:i]:
            ratio = single.likelihood_ratio(picture, other, tau).nats
            assert ratio == pytest.approx(-0.5 * (squared(picture) - squared(other)), rel=0.02, abs=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_ratio_is_that_of_two_gaussian_densities(kind: str) -> None:
    space = exploring_space(kind, 4, 5)
    model = dense(space)
    a, b = space.sample(2, seed=3)[:, 0]
    b = b + 0.02 * normal(4, *b.shape)  # b does not downscale to y
    s = model.covariance + TAU**2 * torch.eye(a.numel(), dtype=torch.float64)
    density = torch.distributions.MultivariateNormal(model.mean, s)
    found = space.likelihood_ratio(a, b, TAU)
    assert found.nats == pytest.approx(float(density.log_prob(a.flatten()) - density.log_prob(b.flatten())), rel=1e-7)
    assert found.nats == pytest.approx(found.lr_nats + found.detail_nats)
    # Of the LR images alone: those of members, which the error of each value moves.
    down = dense_down(space)
    q = space.lr_variance.flatten() if isinstance(space, NoisySpace) else torch.zeros(len(down), dtype=torch.float64)
    lr = torch.distributions.MultivariateNormal(space.y.flatten(), q.diag() + TAU**2 * down @ down.T)
    lr_nats = float(lr.log_prob(down @ a.flatten()) - lr.log_prob(down @ b.flatten()))
    assert found.lr_nats == pytest.approx(lr_nats, rel=1e-7)
    assert space.likelihood_ratio(b, a, TAU).nats == pytest.approx(-found.nats)
    assert space.likelihood_ratio(a, a).nats == 0


def test_the_likelihood_ratio_looks_where_candidates_differ() -> None:
    """Far from their difference nothing counts; the truth is likelier than another patch in its place."""
    space = exploring_space("independent", 66, 5)
    truth = space.sample(1, temperature=space.calibration)[0]
    other = truth.clone()
    other[..., 4:12, 4:12] = space.sample(1, seed=1)[0][..., 4:12, 4:12] + 0.2
    found = space.likelihood_ratio(truth, other)
    assert found.nats > 0
    truth[..., 250:, :], other[..., 250:, :] = 0.5, 0.5
    assert space.likelihood_ratio(truth, other).nats == pytest.approx(found.nats, rel=1e-6)


def test_after_conditions() -> None:
    space = exploring_space("correlated", 4, 4)
    a, b = space.sample(2, seed=3)[:, 0]
    observed = torch.zeros(16, 16)
    observed[4:7, 4:7] = 1
    given = space.condition(Pixels(observed, a, 0.01))
    assert given.likelihood_ratio(a, b).nats > space.likelihood_ratio(a, b).nats
    with pytest.raises(ValueError, match="`nearest` must be asked of the space before"):
        given.nearest(a)


def test_what_cannot_be_asked() -> None:
    space = make_space(3, 3)
    with pytest.raises(ValueError, match=r"`picture` must have the shape \(3, 12, 12\), got \(3, 12, 11\)"):
        space.nearest(torch.rand(3, 12, 11))
    with pytest.raises(ValueError, match="`picture_b` has values that are not finite"):
        space.likelihood_ratio(torch.rand(3, 12, 12), torch.full((3, 12, 12), float("nan")))
    with pytest.raises(ValueError, match=r"`stddev` must be .* at least 1e-06"):
        space.nearest(torch.rand(3, 12, 12), 0)
    with pytest.raises(ValueError, match="`nearest` needs the space of one image, got 2"):
        make_space(3, 3, batch=2).nearest(torch.rand(3, 12, 12))
    for kind in ("authors", "stochastic basis", "deterministic"):
        other = small_model(kind)(torch.rand(1, 3, 3, 3))
        with pytest.raises(NotGaussianError, match="`nearest`"):
            other.nearest(torch.rand(3, 12, 12))
        with pytest.raises(NotGaussianError, match="`likelihood_ratio`"):
            other.likelihood_ratio(torch.rand(3, 12, 12), torch.rand(3, 12, 12))
