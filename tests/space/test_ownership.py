"""What a space keeps is its own: no tensor of the caller's changes it, and copies have no gradient."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from dense_spaces import exploring_space
from explorer_tools import tiny_model
from jpeg_files import decoded, photo, saved
from spaces import small_model
from torch import Tensor

from vspsr import SRSpace
from vspsr.consistency import JpegMembers
from vspsr.degradation import JpegSet
from vspsr.images.jpeg_file import read_coefficients
from vspsr.space import Average, JpegSpace, Linear, NoisySpace, Pixels

CONTENT = saved(photo(16, 24), quality=60, subsampling="4:2:0")


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2))


def a_mask() -> Tensor:
    mask = torch.zeros(24, 36, dtype=torch.bool)
    mask[8:12, 8:12] = True
    return mask


def plain() -> SRSpace:
    return small_model()(image(1, 3, 6, 9))


def jpeg() -> JpegSpace:
    y = (decoded(CONTENT)[None].float() / 255).requires_grad_()
    return JpegSpace.from_space(tiny_model()(y), JpegSet(read_coefficients(CONTENT)))


SPACES: dict[str, Callable[[], SRSpace]] = {
    "plain": plain,
    "correlated": lambda: tiny_model()(image(1, 3, 6, 9)),
    "noisy": lambda: NoisySpace.from_space(plain(), torch.full((1, 3, 6, 9), 1e-3)),
    "conditioned": lambda: plain().condition(Pixels(a_mask(), torch.full((3,), 0.5), 0.5)),
    "jpeg detail": lambda: jpeg().detail,
}


@pytest.mark.parametrize("kind", SPACES)
@torch.no_grad()
def test_what_a_space_gives_is_the_callers(kind: str) -> None:
    space = SPACES[kind]()
    for name in ("mean", "stddev", "stddev_error"):
        before = getattr(space, name).clone()
        getattr(space, name).fill_(9)
        assert torch.equal(getattr(space, name), before), name
    region = space.region(1, 1, 2, 2)
    before = region.mean.clone()
    region.mean.fill_(9)
    assert torch.equal(region.mean, before)


@torch.no_grad()
def test_what_the_caller_gave_may_change() -> None:
    space, mask, values, area = plain(), a_mask(), torch.full((3,), 0.5), a_mask().float()
    heat, variance, target = torch.full((6, 9), 0.5), torch.full((1, 3, 6, 9), 1e-3), torch.full((3,), 0.5)
    given = space.condition(Pixels(mask, values, 0.5), Average(area, target[0], 0.5), Linear(_mean, target, 0.5))
    heated, noisy = space.with_temperature(heat), NoisySpace.from_space(space, variance)
    expected = [given.mean.clone(), heated.sample(1), noisy.sample(1)]
    for t in (mask, values, area, heat, variance, target):
        t.zero_()
    mask[:2, :2] = True
    found = [given.to("cpu").mean, heated.sample(1), noisy.sample(1)]
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    assert [c.missed for c in given.to("cpu").conflicts] == [c.missed for c in given.conflicts]


def _mean(x: Tensor) -> Tensor:
    return x.mean((1, 2))


@pytest.mark.parametrize("kind", ["overlapping", "correlated"])
@torch.no_grad()
def test_training_goes_on_without_changing_a_space(kind: str) -> None:
    model = tiny_model() if kind == "correlated" else small_model(kind)
    space = model(image(1, 3, 6, 9))
    expected = space.sample(2)
    for parameter in model.parameters():
        parameter.mul_(0.5)
    assert torch.equal(space.sample(2), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"])
def test_copies_have_no_gradient(copied: Callable[[SRSpace], SRSpace]) -> None:
    heat, colour = torch.ones(6, 9, requires_grad=True) * 0.5, torch.full((3,), 0.5, requires_grad=True) * 1
    spaces = {
        "temperature": plain().with_temperature(heat),
        "variance": NoisySpace.from_space(plain(), heat.expand(1, 3, 6, 9) * 1e-3),
        "condition": plain().condition(Pixels(a_mask(), colour, 0.5)),
        "jpeg": jpeg(),
    }
    for name, space in spaces.items():
        other = copied(space)
        assert torch.equal(other.sample(1), space.sample(1)), name
        tensors = [v for v in vars(other).values() if isinstance(v, Tensor)]
        assert not any(t.requires_grad for t in (*tensors, *other.parameters.tensors())), name


def test_members_of_a_jpeg_can_be_copied() -> None:
    members, y = JpegMembers(JpegSet(read_coefficients(CONTENT))), image(3, 16, 24)
    expected = members.near(y).image
    for other in (copy.deepcopy(members), pickle.loads(pickle.dumps(members))):
        assert torch.equal(other.near(y).image, expected)


def test_parameters_that_do_not_fit_are_refused() -> None:
    space = plain()
    for y in (image(1, 3, 6, 8), image(3, 6, 9), image(2, 3, 6, 9), image(1, 3, 6, 9).double()):
        with pytest.raises(ValueError, match=r"`parameters` must be of images 4 times as large as `y`"):
            SRSpace(y, space.parameters, space.degradation)
    assert exploring_space("independent", 3, 4).y.dtype == torch.float64
