"""The space of a JPEG: each sample downscales to an LR image of the set; closed forms that do not hold are refused."""

import pytest
import torch
from jpeg_files import decoded, photo, saved
from spaces import make_space, small_model

from vspsr.degradation import JpegSet
from vspsr.images.jpeg_file import read_coefficients
from vspsr.space import JpegSpace, NotGaussianError, SRSpace

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
