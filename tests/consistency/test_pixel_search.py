"""The search over single pixels: what rounding spoils, it mends; what is met stays met."""

import math

import pytest
import torch

import vspsr.consistency.pixel_search as search_module
from vspsr import Degradation
from vspsr.consistency.integer_image import IntegerImage
from vspsr.consistency.pixel_search import search_pixels


def search(state: IntegerImage, pairs: bool = True) -> None:
    search_pixels(state, math.inf, pairs)


@pytest.mark.parametrize(("bits", "per_pass"), [(8, True), (8, False), (16, True), (16, False)])
@pytest.mark.parametrize("scale", [2, 4])
def test_single_pixels_mend_a_disturbed_image(scale: int, bits: int, per_pass: bool) -> None:
    generator = torch.Generator().manual_seed(scale)
    peak = 2**bits - 1
    degradation = Degradation(scale)
    rounding = "per-pass" if per_pass else "single"
    hr = torch.randint(0, peak + 1, (1, 9 * scale, 8 * scale), generator=generator).double()
    hr[:, : 4 * scale] = peak  # a saturated part, where only one direction is free
    target = degradation.down_integers(hr, bits, rounding).double()
    disturbed = hr.clone()
    places = scale * torch.tensor([1, 4, 7]) - 1
    disturbed[0, 5 * scale, places] = (hr[0, 5 * scale, places] + scale * scale).clamp_max(peak)
    state = IntegerImage(disturbed, target, degradation, peak, per_pass)
    assert state.residual().any()
    search(state)
    lr = degradation.down_integers(state.integers, bits, rounding).double()
    assert torch.equal(lr, target)
    assert state.integers.min() >= 0
    assert state.integers.max() <= peak
    torch.testing.assert_close(state.value, IntegerImage(state.integers, target, degradation, peak, per_pass).value)


def test_more_than_a_few_misses_are_left_to_windows() -> None:
    state = IntegerImage(
        torch.zeros(1, 80, 80).double(), torch.full((1, 20, 20), 99.0).double(), Degradation(4), 255, True
    )
    search(state)
    assert not state.integers.any()


@pytest.mark.parametrize("seed", [27, 35, 41])
def test_pairs_of_pixels_go_where_single_ones_are_stuck(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """White above noise: rows clip where they overshoot, so that moving dark from one column to the next adds light."""
    generator = torch.Generator().manual_seed(seed)
    degradation = Degradation(4)
    hr = torch.full((1, 36, 32), 255.0, dtype=torch.float64)
    hr[:, 20:] = torch.randint(0, 256, (1, 16, 32), generator=generator).double()
    target = degradation.down_integers(hr, 8, "per-pass").double()
    hr[:, 16:20, 12:20] -= torch.randint(0, 4, (1, 4, 8), generator=generator).double()
    state = IntegerImage(hr.clone(), target, degradation, 255, True)
    search(state)
    assert torch.equal(degradation.down_integers(state.integers, 8, "per-pass").double(), target)
    alone = IntegerImage(hr.clone(), target, degradation, 255, True)
    around = search_module._search_around
    monkeypatch.setattr(search_module, "_search_around", lambda *a: None if a[-1] else around(*a))
    search(alone)
    assert alone.residual().any()
