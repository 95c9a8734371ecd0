"""The space of a JPEG: each sample downscales to an LR image of the set; closed forms that do not hold are refused."""

from dataclasses import replace

import pytest
import torch
from explorer_tools import tiny_model
from jpeg_files import decoded, photo, saved
from spaces import make_space, small_model

from vspsr.degradation import JpegSet
from vspsr.images.jpeg_file import read_coefficients
from vspsr.space import JpegSpace, NotGaussianError, Pixels, SRSpace

CONTENT = saved(photo(16, 24), quality=60, subsampling="4:2:0")


def jpeg_space(trained: bool = False) -> JpegSpace:
    space = small_model()(decoded(CONTENT)[None].double() / 255).with_temperature(1.0)
    return JpegSpace.from_space(space, JpegSet(read_coefficients(CONTENT)), trained)


@pytest.mark.parametrize("trained", [False, True])
def test_each_sample_has_its_own_lr_image_in_the_set(trained: bool) -> None:
    space = jpeg_space(trained)
    lr = space.degradation.down(space.sample(3, seed=1))
    assert lr.shape == (3, 1, 3, 16, 24)
    assert (space.jpeg_set.project(lr) - lr).abs().max() < 1e-3 / 255
    assert (lr[0] - lr[1]).abs().max() > 0.1 / 255
    assert (lr[0] - space.y).abs().max() > 0.1 / 255


def test_what_the_degradation_does_not_see_is_the_gaussian() -> None:
    """(I − D⁺D) x is the same as without the intervals."""
    space = jpeg_space()
    for a, b in ((space.sample(2), space.gaussian.sample(2)), (space.centre, space.gaussian.mean)):
        unseen = [x - space.degradation.pseudo_inverse(space.degradation.down(x)) for x in (a, b)]
        assert torch.allclose(*unseen, atol=1e-9)


def test_the_gaussian_follows_what_is_changed() -> None:
    space = jpeg_space()
    changed = space.with_calibration(3).with_temperature(0.1).with_keys([77]).gaussian
    assert (changed.calibration, changed.temperature, changed.keys) == (3, 0.1, (77,))
    assert type(changed) is SRSpace
    assert torch.equal(changed.sample(1), space.gaussian.with_keys([77]).sample(1, temperature=0.1))
    assert space.to("meta").gaussian.y.device.type == "meta"
    stddev = space.stddev  # two kinds of standard deviation, neither the other
    assert not torch.allclose(space.gaussian.stddev, stddev, rtol=1e-3)
    assert torch.equal(space.stddev, stddev)


def test_the_lr_image_is_the_nearest() -> None:
    """With D μ taken as it is, the LR image of the centre is the projection of D μ."""
    space = jpeg_space(trained=True)
    below = space.degradation.down(space.parameters.deterministic)
    assert torch.allclose(space.degradation.down(space.centre), space.jpeg_set.project(below), atol=1e-6)


def test_closed_forms_are_refused() -> None:
    space = jpeg_space()
    assert not space.is_gaussian
    assert space.gaussian.is_gaussian
    with pytest.raises(NotGaussianError, match=r"`mean`.*JPEG.*`gaussian`"):
        _ = space.mean
    with pytest.raises(NotGaussianError, match=r"`rsample`.*JPEG"):
        space.rsample()
    with pytest.raises(NotGaussianError, match=r"`grey`.*JPEG"):
        space.grey()


def test_standard_deviation_is_estimated() -> None:
    space = jpeg_space()
    other = space.sample(40, seed=5).std(0)
    assert space.stddev.shape == (1, 3, 64, 96)
    assert (space.stddev.mean() / space.calibration / other.mean() - 1).abs() < 0.1
    assert torch.allclose(space.stddev_error, space.stddev / 200**0.5)


def test_samples_do_not_depend_on_how_many() -> None:
    space = jpeg_space()
    assert torch.equal(space.sample(3, seed=2)[2], next(space.iter_samples(1, 2, start=2)))
    assert torch.equal(space.with_temperature(0.0).sample(1, seed=2)[0], space.centre)


def test_bad_arguments() -> None:
    jpeg_set = JpegSet(read_coefficients(CONTENT))
    with pytest.raises(ValueError, match="`space`"):
        JpegSpace.from_space(make_space(16, 16), jpeg_set)
    with pytest.raises(ValueError, match="one image, got 2"):
        JpegSpace.from_space(make_space(16, 24, batch=2), jpeg_set)


def turned_space(orientation: int) -> JpegSpace:
    """Of a picture that is not a multiple of MCUs, turned as EXIF says: (50, 61) or (61, 50)."""
    content = saved(photo(50, 61), quality=60, subsampling="4:2:0")
    code = replace(read_coefficients(content), orientation=orientation)
    pixels = code.upright(decoded(content)).double() / 255
    return JpegSpace.from_space(tiny_model()(pixels[None]), JpegSet(code), trained=True)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_parts_are_those_of_the_whole(orientation: int) -> None:
    space = turned_space(orientation).detail
    region = space.region(18, 21, 5, 4)
    exact = space.gaussian.sample(1, seed=3)[0], space.gaussian.mean
    parts = region.sample(1, seed=3)[0], region.mean
    for part, whole, other in zip(parts, (space.sample(1, seed=3)[0], space.mean), exact, strict=True):
        assert torch.allclose(part, whole[0, :, 72:92, 84:100], atol=1e-4)
        assert not torch.allclose(part, other[0, :, 72:92, 84:100], atol=2e-3)


def scribbled(space: SRSpace) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels of a condition, and values not far from the mean."""
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[20:22, 30:33] = True
    return mask, space.mean[0] + torch.tensor([0.01, -0.01, 0.02]).double()[:, None, None]


def test_regions_and_conditions_leave_the_lr_image() -> None:
    space = jpeg_space().detail
    down = space.degradation.down
    member = space.sample(1, seed=4)[0]
    region = space.region(2, 3, 4, 4)
    moved = region.along(region.principal_components(2), torch.tensor([2.0, -1.0]), member)
    mask, wanted = scribbled(space)
    given = space.condition(Pixels(mask, wanted, stddev=0.01))
    corrected = given.corrected(member)
    for changed in (moved, corrected):
        assert (changed - member).abs().max() > 1 / 255
        assert torch.allclose(down(changed), down(member), atol=1e-9)
    drawn = given.sample(2, seed=4)
    assert (space.jpeg_set.project(down(drawn)) - down(drawn)).abs().max() < 1e-3 / 255
    assert torch.allclose(down(drawn[0]), down(member), atol=1e-9)
    assert torch.equal(given.mean, given.corrected(space.centre))


def test_a_condition_changes_the_detail_as_in_the_gaussian() -> None:
    """By as much as the space of exact pixels is changed by values that lie equally far from its mean."""
    space = jpeg_space().detail
    mask, wanted = scribbled(space)
    member, exact = space.sample(1, seed=4)[0], space.gaussian
    given = space.condition(Pixels(mask, wanted, stddev=0.01))
    other = exact.condition(Pixels(mask, wanted - member[0] + exact.mean[0], stddev=0.01))
    assert torch.allclose(given.corrected(member) - member, other.mean - exact.mean, atol=1e-8)


def test_its_standard_deviation_given_a_condition() -> None:
    space = jpeg_space().detail
    mask, _ = scribbled(space)
    given = space.condition(Pixels(mask, space.mean[0], stddev=0.002))
    drawn = space.calibration * given.with_temperature(1.0).sample(40, seed=5)
    assert given.stddev[0, :, mask].mean() < 0.8 * space.stddev[0, :, mask].mean()
    assert torch.allclose(given.stddev[..., 80:], space.stddev[..., 80:], rtol=0.1)  # far away
    assert (given.stddev.mean() / drawn.std(0).mean() - 1).abs() < 0.15


def test_what_does_not_hold_for_the_detail_is_refused() -> None:
    space = jpeg_space().detail
    assert space.is_gaussian
    for ask in (space.rsample, space.grey, lambda: space.nearest(space.mean)):
        with pytest.raises(NotGaussianError, match="JPEG"):
            ask()


@pytest.mark.parametrize("trained", [False, True])
@torch.no_grad()
def test_parameters_by_place_give_the_same_space(trained: bool) -> None:
    model, y = tiny_model(), decoded(CONTENT)[None].float() / 255
    jpeg_set = JpegSet(read_coefficients(CONTENT))
    whole, placed = (JpegSpace.from_space(make(y), jpeg_set, trained) for make in (model, model.by_place))
    torch.testing.assert_close(placed.sample(2), whole.sample(2), rtol=0, atol=1e-5)
