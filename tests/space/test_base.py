"""Temperature by place, and one image of a batch."""

import pytest
import torch
from dense_spaces import exploring_space
from spaces import make_space, small_model

from vspsr.space import NotGaussianError
from vspsr.space.noise import noise_area, noise_rows


class TestTemperatureMap:
    @pytest.mark.parametrize("kind", ["overlapping", "many atoms"])
    def test_a_constant_map_is_a_temperature(self, kind: str) -> None:
        space = make_space(40, 5, kind=kind)  # more than one row of blocks
        flat = torch.full((40, 5), 0.7)
        torch.testing.assert_close(space.with_temperature(flat).sample(1), space.sample(1, temperature=0.7))
        torch.testing.assert_close(space.sample(1, temperature=flat), space.sample(1, temperature=0.7))

    def test_a_place_of_temperature_zero_has_no_noise_of_its_own(self) -> None:
        space = make_space(30, 6)
        places = torch.ones(30, 6)
        places[:12] = 0
        x = space.with_temperature(places).sample(1)[0]
        torch.testing.assert_close(space.degradation.down(x), space.y, rtol=0, atol=1e-11)
        far = float((x - space.mean)[..., :8, :].abs().max())
        assert far < 1e-3 * float((x - space.mean).abs().max())
        # Linear in the map.
        half = space.with_temperature(0.5 * places).sample(1)[0]
        torch.testing.assert_close(2 * (half - space.mean), x - space.mean)
        region = space.with_temperature(places).region(9, 1, 6, 4)
        torch.testing.assert_close(region.sample(1)[0], x[0, :, 36:60, 4:20], rtol=0, atol=1e-8)
        assert torch.equal(region.sample(1, temperature=places), region.sample(1))

    def test_maps_that_do_not_fit_are_refused(self) -> None:
        space = make_space(3, 4)
        with pytest.raises(ValueError, match=r"`temperature` must be a number or a map \(3, 4\), got \(4, 3\)"):
            space.with_temperature(torch.ones(4, 3))
        with pytest.raises(ValueError, match="`temperature` must be a map of finite numbers"):
            space.sample(1, temperature=-torch.ones(3, 4))
        with pytest.raises(NotGaussianError, match="temperature map"):
            small_model("stochastic basis")(torch.rand(1, 3, 3, 4)).with_temperature(torch.ones(3, 4))

    def test_of_correlated_coefficients(self) -> None:
        space = exploring_space("correlated", 8, 7)
        flat = torch.full((8, 7), 0.6)
        torch.testing.assert_close(space.sample(1, temperature=flat), space.sample(1, temperature=0.6))


def test_one_image_of_a_batch() -> None:
    space = make_space(5, 6, batch=3).with_keys([4, 5, 6])
    one = space.select(1)
    assert torch.equal(one.sample(2, seed=1), space.sample(2, seed=1)[:, 1:2])
    assert torch.equal(one.mean, space.mean[1:2])
    with pytest.raises(ValueError, match="`image` must be an integer of at most 2, got 3"):
        space.select(3)


def test_the_noise_of_a_part_is_that_of_its_place() -> None:
    whole = torch.cat([noise_rows(1, 2, 3, 4, row, 90) for row in range(3)], 1)
    for rows, columns in ((slice(0, 3), slice(0, 2)), (slice(30, 70), slice(31, 33)), (slice(64, 65), slice(5, 90))):
        assert torch.equal(noise_area(1, 2, 3, 4, rows, columns), whole[:, rows, columns])
