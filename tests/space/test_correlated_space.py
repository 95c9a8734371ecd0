"""Spaces of correlated coefficients: against dense algebra, consistency, batches, saved models, quantised input."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vspsr import SRSpace, VSpSR

OPTIONS = {"n_atoms": 5, "channels": 8, "blocks": 1, "noise_channels": 3, "dilations": [1, 2], "n_modes": 2}


def model() -> VSpSR:
    torch.manual_seed(0)
    made = VSpSR("correlated", OPTIONS, temperature=0.8, calibration=1.2, trained_on_jpegs=True)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return made.requires_grad_(False)


def space_of(h: int, w: int, batch: int = 1) -> SRSpace:
    y = torch.rand(batch, 3, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model().double()(y)


def residual(space: SRSpace, z: Tensor) -> Tensor:
    """(I − D⁺D) z"""
    return z - space.degradation.pseudo_inverse(space.degradation.down(z))


def test_the_standard_deviation_is_that_of_dense_algebra_within_its_error() -> None:
    """√diag of (I − D⁺D) A Aᵀ (I − D⁺D)ᵀ, A column by column."""
    space = space_of(4, 4)
    a = space.parameters.synthesis(4)
    assert a is not None
    columns = torch.eye(a.channels * 16, dtype=torch.float64).view(-1, 1, a.channels, 4, 4)
    dense = torch.stack([residual(space, a.apply(eps)) for eps in columns]).square().sum(0).sqrt()
    error = (space.stddev / space.calibration - dense) / dense
    stated = space.stddev_error / space.stddev
    assert torch.allclose(stated, torch.full_like(stated, 200**-0.5))
    assert float(error.abs().max()) < 4.5 * 200**-0.5  # of 768 pixels
    assert 0.7 * 200**-0.5 < float(error.square().mean().sqrt()) < 1.3 * 200**-0.5
    assert not space.stddev.requires_grad


def test_the_mean_is_exact_and_samples_are_consistent() -> None:
    space = space_of(5, 7, batch=2)
    centre, degradation = space.parameters.deterministic, space.degradation
    torch.testing.assert_close(space.mean, centre + degradation.pseudo_inverse(space.y - degradation.down(centre)))
    images = [space.mean, *space.sample(3, seed=2), *space.rsample(1), space.interpolate(0, 1, 0.4)]
    for x in images:
        torch.testing.assert_close(space.degradation.down(x), space.y, rtol=0, atol=1e-11)
    assert torch.equal(space.sample(1, temperature=0)[0], space.mean)


def test_temperature_scales_what_is_random() -> None:
    space = space_of(5, 6)
    cool, warm = (space.sample(1, temperature=t)[0] - space.mean for t in (0.5, 1.0))
    torch.testing.assert_close(2 * cool, warm)


def test_an_image_is_the_same_alone_and_in_a_batch() -> None:
    """And however many samples are drawn."""
    space = space_of(40, 6, batch=3)  # more than one row of blocks of noise
    alone = model().double()(space.y[2:]).with_keys([2])
    whole = space.sample(3, seed=4)
    torch.testing.assert_close(whole[:, 2:], alone.sample(3, seed=4), rtol=0, atol=1e-12)
    assert torch.equal(space.sample(1, seed=4)[0], whole[0])
    torch.testing.assert_close(space.stddev[2:], alone.stddev)


def test_grey_is_the_mean_over_channels() -> None:
    space = space_of(4, 5)
    grey = space.grey()
    torch.testing.assert_close(grey.sample(2), space.sample(2).mean(2, keepdim=True))
    torch.testing.assert_close(grey.mean, space.mean.mean(1, keepdim=True))


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = model()
    made.save_pretrained(tmp_path)
    loaded = VSpSR.from_pretrained(tmp_path)
    assert loaded.config == made.config
    y = torch.rand(1, 3, 6, 6)
    assert torch.equal(loaded(y).sample(2), made(y).sample(2))


class TestQuantisation:
    y = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))

    def test_it_changes_the_space(self) -> None:
        made = model()
        exact, coarse = made(self.y), made(self.y, torch.full_like(self.y, 0.5))
        assert torch.equal(made(self.y, torch.zeros_like(self.y)).sample(1), exact.sample(1))
        assert not torch.allclose(coarse.mean, exact.mean, atol=1e-4)
        assert not torch.allclose(coarse.stddev, exact.stddev, atol=1e-4)

    def test_each_image_has_its_own(self) -> None:
        made, coarse = model(), torch.rand_like(self.y)
        alone = made(self.y[1:], coarse[1:]).with_keys([1])
        torch.testing.assert_close(made(self.y, coarse).sample(1)[:, 1:], alone.sample(1))

    def test_networks_that_do_not_look_at_it_ignore_it(self) -> None:
        torch.manual_seed(0)
        made = VSpSR("overlapping", {"n_atoms": 5, "channels": 8, "blocks": 1})
        assert torch.equal(made(self.y, torch.ones_like(self.y)).sample(1), made(self.y).sample(1))

    @pytest.mark.parametrize("network", ["correlated", "overlapping"])
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (torch.zeros(2, 1, 8, 8), r"`quantisation` must"),
            (torch.zeros(2, 3, 8, 9), r"`quantisation` must .*\(2, 3, 8, 8\).*\(2, 3, 8, 9\)"),
            (torch.zeros(1, 3, 8, 8), r"`quantisation` must .*\(2, 3, 8, 8\).*\(1, 3, 8, 8\)"),
            (torch.full((2, 3, 8, 8), 1.5), r"`quantisation` must"),
            (torch.full((2, 3, 8, 8), float("nan")), r"`quantisation` has values that are not finite"),
            (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"`quantisation` must"),
        ],
    )
    def test_its_shape_and_values_are_checked(self, network: str, wrong: Tensor, message: str) -> None:
        made = model() if network == "correlated" else VSpSR(network, {"n_atoms": 5, "channels": 8, "blocks": 1})
        with pytest.raises(ValueError, match=message):
            made(self.y, wrong)
