"""Spaces of large pictures, computed by place: equal to those computed as a whole, and no more than is needed."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from explorer_tools import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vspsr import SRSpace, VSpSR
from vspsr.consistency.progress import estimate_progress
from vspsr.errors import ConditionWarning
from vspsr.space import Average, Pixels
from vspsr.space.placed_parameters import PlacedParameters, _rectangles

SIZE = (75, 90)


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return tiny_model()


@pytest.fixture(scope="module")
def y() -> Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def whole(model: VSpSR, y: Tensor) -> SRSpace:
    with torch.no_grad():
        return model(y)


@pytest.fixture
def placed(model: VSpSR, y: Tensor, monkeypatch: pytest.MonkeyPatch) -> SRSpace:
    """In several pieces and bands."""
    monkeypatch.setattr("vspsr.space.bands._BAND", 32)
    monkeypatch.setattr("vspsr.space.placed_parameters._LARGEST", 32)
    return model.by_place(y)


def known(space: SRSpace) -> float:
    """The share of the picture that the network has run on."""
    assert isinstance(space.parameters, PlacedParameters)
    assert space.parameters.places is not None
    return float(space.parameters.places.known.float().mean())


def scribbled(space: SRSpace) -> SRSpace:
    mask = torch.zeros(space.event_shape[1:], dtype=torch.bool)
    mask[40:44, 200:210] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConditionWarning)
        return space.condition(Pixels(mask, torch.full((3,), 0.5), 0.05), Average(mask, 0.5, 0.02))


def components(space: SRSpace) -> Tensor:
    return space.region(9, 50, 4, 4).principal_components(3).stddev


def moved(space: SRSpace) -> Tensor:
    region = space.region(9, 50, 4, 4)
    return region.along(region.principal_components(3), torch.tensor([1.0, -2.0, 0.5]))


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.mean,
        lambda s: s.sample(2, seed=3),
        lambda s: s.sample(1, temperature=torch.linspace(0, 2, SIZE[0])[:, None].expand(SIZE)),
        lambda s: s.perturb(1, 2, 0.3),
        lambda s: s.interpolate(1, 2, 0.3),
        lambda s: s.grey().sample(),
        lambda s: s.grey().mean,
        lambda s: s.select(0).sample(),
        lambda s: s.stddev,
        lambda s: scribbled(s).mean,
        lambda s: scribbled(s).sample(1, seed=3),
        lambda s: scribbled(s).corrected(s.sample(1)[0]),
        lambda s: torch.tensor([c.distance for c in scribbled(s).conflicts]),
        components,
        moved,
    ],
)  # fmt: skip
@torch.no_grad()
def test_by_place_is_as_the_whole(whole: SRSpace, placed: SRSpace, ask: Callable[[SRSpace], Tensor]) -> None:
    torch.testing.assert_close(ask(placed), ask(whole), rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_the_network_runs_where_the_space_is_asked_for(model: VSpSR, whole: SRSpace) -> None:
    y = whole.y.repeat(1, 1, 3, 3)
    space = model.by_place(y)
    assert known(space) == 0
    assert space.event_shape == (3, 900, 1080)
    region = space.region(5, 5, 8, 8)
    assert region.sample(1).shape == (1, 3, 32, 32)
    first = known(space)
    assert 0 < first < 0.15
    space.region(6, 4, 7, 7).mean  # noqa: B018
    assert known(space) == first
    given = scribbled(space)
    assert given.conflicts[0].distance > 0
    given.region(5, 5, 8, 8).mean  # noqa: B018
    assert known(space) < 0.3
    with pytest.raises(ValueError, match="`base`"):
        region.along(region.principal_components(1), torch.ones(1), torch.zeros(1, 3, 8, 8))
    assert known(space) < 0.3


@torch.no_grad()
def test_progress_is_reported_and_can_end_it(placed: SRSpace) -> None:
    steps: list[float] = []

    def progress(done: int, total: int) -> None:
        steps.append(done / total)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), estimate_progress(progress):
        placed.sample(1)
    assert steps == sorted(steps)
    assert 0 < known(placed) < 1


def test_threads_share_what_is_computed(model: VSpSR, y: Tensor, whole: SRSpace) -> None:
    space = model.by_place(y)
    places = [(10 * i, 12 * j, 14, 17) for i in range(6) for j in range(6)]

    def mean(place: tuple[int, int, int, int]) -> Tensor:
        with torch.no_grad():
            return space.region(*place).mean

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(mean, places))
    for part, (top, left, height, width) in zip(parts, places, strict=True):
        wanted = whole.mean[0, :, 4 * top : 4 * (top + height), 4 * left : 4 * (left + width)]
        torch.testing.assert_close(part, wanted, rtol=0, atol=2e-5)


@given(st.data())
@settings(max_examples=50)
def test_rectangles_cover_what_is_missing_once(data: st.DataObject) -> None:
    shape = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    missing = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    )
    missing, most, count = missing.view(shape), data.draw(st.integers(1, 4)), torch.zeros(shape, dtype=torch.int64)
    for rows, columns in _rectangles(missing, most):
        assert 0 < rows.stop - rows.start <= most
        assert 0 < columns.stop - columns.start <= most
        count[rows, columns] += 1
    assert torch.equal(count, missing.long())


def test_networks_that_need_the_whole_say_so(y: Tensor) -> None:
    model = VSpSR("overlapping", {"n_atoms": 2, "channels": 4, "blocks": 0})
    assert not model.is_local
    with pytest.raises(ValueError, match="local: False"):
        model.by_place(y)
    with pytest.raises(ValueError, match="2 images"):
        tiny_model().by_place(y.expand(2, -1, -1, -1))
