"""Parts of a picture: as in the whole; principal components against dense eigen-decompositions; no seam."""

import pytest
import torch
from dense_spaces import dense, exploring_space
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import make_space, small_model
from torch import Tensor

from vspsr import SRSpace
from vspsr.space import NotGaussianError

KINDS = ["independent", "correlated"]


def part(x: torch.Tensor, top: int, left: int, height: int, width: int, scale: int = 4) -> torch.Tensor:
    return x[..., scale * top : scale * (top + height), scale * left : scale * (left + width)]


@pytest.mark.parametrize("kind", [*KINDS, "noisy"])
@pytest.mark.parametrize("place", [(28, 31, 4, 6), (0, 0, 3, 2), (60, 63, 2, 3)])
def test_a_region_is_as_in_the_whole(kind: str, place: tuple[int, int, int, int]) -> None:
    """Far from the borders, in two corners; across blocks of noise."""
    space = exploring_space(kind, 62, 66)
    region = space.region(*place)
    assert max(region.surroundings[2:]) < 62
    torch.testing.assert_close(region.mean, part(space.mean[0], *place), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        region.sample(2, seed=3), part(space.sample(2, seed=3)[:, 0], *place), rtol=0, atol=1e-10
    )


def test_the_standard_deviation_of_a_region_is_that_of_the_whole() -> None:
    space = exploring_space("independent", 30, 6)
    region = space.region(0, 2, 3, 4)
    assert region.surroundings[2] < 30
    torch.testing.assert_close(region.stddev, part(space.stddev[0], 0, 2, 3, 4), rtol=0, atol=1e-10)


def test_single_precision_needs_a_smaller_margin() -> None:
    space = exploring_space("correlated", 52, 52)
    single = SRSpace(space.y.float(), space.parameters.map_tensors(lambda t: t.float()), space.degradation)
    assert single._margin() < space._margin()
    place = (22, 22, 6, 6)
    torch.testing.assert_close(
        single.region(*place).sample(1)[0], part(single.sample(1)[0, 0], *place), rtol=0, atol=2e-6
    )


@settings(max_examples=15)
@given(st.data())
def test_any_region_of_any_picture(data: st.DataObject) -> None:
    h, w = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    place = (top, left, data.draw(st.integers(1, h - top)), data.draw(st.integers(1, w - left)))
    space = make_space(h, w)
    if data.draw(st.booleans()):
        space = space.grey()
    region = space.region(*place)
    shape = (space.event_shape[0], 4 * place[2], 4 * place[3])
    assert region.mean.shape == region.stddev.shape == shape
    torch.testing.assert_close(region.sample(1, seed=1)[0], part(space.sample(1, seed=1)[0, 0], *place))
    found = region.principal_components(3)
    assert found.directions.shape == (3, *shape)
    assert bool((found.stddev >= 0).all())
    moved = region.along(found, torch.tensor([1.0, -2.0, 0.5]))
    torch.testing.assert_close(space.degradation.down(moved), space.y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [*KINDS, "noisy"])
def test_principal_components_are_those_of_a_dense_eigendecomposition(kind: str) -> None:
    """12×12 LR pixels within 14×15; variances to 1 %, the space of the directions to 2°."""
    space = exploring_space(kind, 14, 15, scale=2)
    region = space.region(1, 2, 12, 12)
    index = part(torch.arange(space.mean.numel()).view(space.event_shape), 1, 2, 12, 12, scale=2).flatten()
    covariance = dense(space).covariance[index][:, index]
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    k = 8
    found = region.principal_components(k)
    torch.testing.assert_close(found.stddev.square(), values[:k], rtol=0.01, atol=0)
    torch.testing.assert_close(found.explained, values[:k] / values.sum(), rtol=0.1, atol=0)
    directions = found.directions.flatten(1)
    torch.testing.assert_close(directions @ directions.T, torch.eye(k, dtype=torch.float64))
    # Between directions of equal variance a true subspace could end anywhere; here all are 1 % apart.
    assert float((values[1 : k + 1] / values[:k]).max()) < 0.99
    for j in range(1, k + 1):
        cosines = torch.linalg.svdvals(directions[:j] @ vectors[:, :j])
        assert float(torch.rad2deg(cosines.clamp(max=1).acos()).max()) < 2
    # The stated accuracy is a bound.
    nearest = (values[:, None] - found.stddev.square()).abs().amin(0)
    assert bool((nearest <= found.residual * found.stddev.square() + 1e-12).all())


def test_seeds_do_not_matter_to_the_directions() -> None:
    region = exploring_space("correlated", 10, 10).region(2, 2, 6, 6)
    a, b = (region.principal_components(1, seed=s) for s in (0, 7))
    assert abs(float((a.directions * b.directions).sum())) > 0.999
    assert torch.equal(a.directions, region.principal_components(1, seed=0).directions)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_outside_follows_as_the_conditional_mean(kind: str) -> None:
    """Against E[x | x_region] = m + C_{:,region} C_{region}⁺ (x_region − m_region) of dense algebra."""
    space = exploring_space(kind, 7, 8)
    region = space.region(2, 3, 3, 3)
    found = region.principal_components(4)
    amounts = torch.tensor([2.0, -1.0, 0.5, 3.0])
    moved = region.along(found, amounts)
    model = dense(space)
    index = part(torch.arange(space.mean.numel()).view(space.event_shape), 2, 3, 3, 3).flatten()
    values, vectors = torch.linalg.eigh(model.covariance[index][:, index])
    values, vectors = values[-4:].flip(0), vectors[:, -4:].flip(1)
    signs = (found.directions.flatten(1) * vectors.T).sum(1).sign()
    inside = (vectors * values.sqrt()) @ (signs * amounts).double()
    expected = (
        model.mean
        + model.covariance[:, index]
        @ torch.linalg.pinv(model.covariance[index][:, index], rtol=1e-9, hermitian=True)
        @ inside
    )
    assert float((moved.flatten() - expected).abs().max()) < 0.02 * float((expected - model.mean).abs().max())
    torch.testing.assert_close(space.degradation.down(moved), space.y, rtol=0, atol=1e-10)
    top, left, height, width = region.surroundings
    shifts = (amounts[:, None, None, None] * region.shifts(found)).sum(0)
    torch.testing.assert_close(part(moved[0] - space.mean[0], top, left, height, width), shifts, rtol=0, atol=1e-8)


def test_a_sample_can_be_moved_too() -> None:
    space = exploring_space("correlated", 8, 8)
    region = space.region(2, 2, 4, 4)
    found, base = region.principal_components(2), space.sample(1)[0]
    torch.testing.assert_close(
        region.along(found, torch.tensor([1.0, 0.0]), base) - base,
        region.along(found, torch.tensor([1.0, 0.0])) - space.mean,
    )


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((0, 0, 6, 1), "`height` must be an integer of at most 5, got 6"),
        ((5, 0, 1, 1), "`top` must be an integer of at most 4, got 5"),
        ((0, -1, 1, 1), "`left` must be an integer of at least 0, got -1"),
        ((0, 0, 1, 0), "`width` must be an integer of at least 1, got 0"),
        ((0, 0, 1, 1.5), "`width` must be an integer of at least 1, got 1.5"),
    ],
)
def test_regions_outside_are_refused(place: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_space(5, 5).region(*place)


def test_what_cannot_be_asked() -> None:
    region = make_space(5, 5).region(0, 0, 2, 2)
    with pytest.raises(ValueError, match="`k` must be an integer of at most 180"):
        region.principal_components(181)
    found = region.principal_components(2)
    with pytest.raises(ValueError, match="`amounts` must be 2 numbers"):
        region.along(found, torch.zeros(3))
    with pytest.raises(ValueError, match="`base` must have the shape"):
        region.along(found, torch.zeros(2), torch.zeros(1, 3, 5, 5))
    with pytest.raises(ValueError, match=r"`region` needs the space of one image, got 2.*select"):
        make_space(5, 5, batch=2).region(0, 0, 2, 2)
    make_space(5, 5, batch=2).select(1).region(0, 0, 2, 2)


@pytest.mark.parametrize("kind", ["authors", "stochastic basis", "deterministic"])
def test_spaces_without_closed_forms_refuse(kind: str) -> None:
    with pytest.raises(NotGaussianError, match="`region`"):
        small_model(kind)(torch.rand(1, 3, 5, 5)).region(0, 0, 2, 2)


def test_components_of_another_region_are_refused() -> None:
    space = make_space(5, 5)
    region, found = space.region(0, 0, 2, 2), space.region(0, 0, 3, 2).principal_components(2)
    for ask in (lambda: region.along(found, torch.zeros(2)), lambda: region.shifts(found)):
        with pytest.raises(
            ValueError, match=r"`components` must be of a region \(3, 8, 8\), got those of one \(3, 12, 8\)"
        ):
            ask()
    found = region.principal_components(2)
    for name, amounts, base in (("amounts", torch.nan, 0.0), ("base", 1.0, torch.nan)):
        with pytest.raises(ValueError, match=f"`{name}`"):
            region.along(found, torch.full((2,), amounts), space.mean + base)
    with pytest.raises(ValueError, match="`patch_a`"):
        region.likelihood_ratio(torch.full((3, 8, 8), torch.nan), torch.zeros(3, 8, 8))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_stated_accuracy_holds_in_single_precision(kind: str) -> None:
    """Of all directions, also those of nearly no variance, against those of double precision."""
    space = exploring_space(kind, 2, 3)
    single = space._with(y=space.y.float(), parameters=space.parameters.map_tensors(Tensor.float), _cache={})
    k = 3 * 4 * 15
    found, exact = (s.region(0, 0, 2, 2).principal_components(k) for s in (single, space))
    values, wanted = found.stddev.double().square(), exact.stddev.square()
    assert bool(((values - wanted).abs() <= (found.residual.double() * values).nan_to_num(torch.inf)).all())
