"""Energy scores: against scipy, closed forms, and what each of them is there to see."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vspsr.training.losses.energy import colour_bands, energy_score, patch_distance
from vspsr.training.losses.texture import log_power_crps


class TestColourBands:
    @settings(max_examples=30)
    @given(st.integers(1, 3), st.tuples(st.integers(8, 21), st.integers(8, 21)))
    def test_they_hold_the_whole_image(self, bands: int, size: tuple[int, int]) -> None:
        image = torch.rand(2, 3, *size, dtype=torch.float64)
        parts = list(colour_bands(image, bands))
        assert len(parts) == 2 * bands
        built = []
        for part in (parts[:bands], parts[bands:]):
            whole = part[-1]
            for fine in reversed(part[:-1]):
                whole = fine + F.interpolate(whole, fine.shape[-2:], mode="bilinear", align_corners=False)
            built.append(whole)
        torch.testing.assert_close(built[0] + built[1], image)
        assert built[0].shape[1] == 1
        torch.testing.assert_close(built[1].sum(1), torch.zeros_like(image[:, 0]))

    def test_grey_has_no_colour_and_an_even_image_nothing_fine(self) -> None:
        parts = list(colour_bands(torch.rand(1, 1, 16, 16).expand(1, 3, 16, 16), 2))
        assert all(float(part.abs().max()) < 1e-6 for part in parts[2:])
        parts = list(colour_bands(torch.full((1, 3, 16, 16), 0.3), 3))
        assert all(float(part.abs().max()) < 1e-6 for part in (*parts[:2], *parts[3:]))

    def test_they_tell_noise_in_colour_from_noise_in_brightness(self) -> None:
        """What the score of whole patches hardly does: the reason why they are there."""
        torch.manual_seed(0)
        grey = torch.randn(3, 1, 1, 256, 256).expand(3, 1, 3, 256, 256)
        colour = torch.randn(2, 1, 3, 256, 256)
        colour = (colour - colour.mean(2, keepdim=True)) * 1.5**0.5  # as strong, without any brightness

        def score(samples: Tensor, bands: int | None) -> float:
            images = [[image] if bands is None else colour_bands(image, bands) for image in (grey[0], *samples)]
            parts = zip(*images, strict=True)
            return float(torch.stack([energy_score(*part, distance=patch_distance) for part in parts]).sum())

        whole = score(colour, None) / score(grey[1:], None) - 1
        assert score(colour, 2) / score(grey[1:], 2) - 1 > 3 * whole > 0


class TestStrength:
    def test_against_scipy(self) -> None:
        x, first, second = torch.rand(3, 2, 3, 21, 18, dtype=torch.float64)
        high = np.hypot(np.arange(8)[:, None], np.arange(8)) >= 1

        def strength(image: Tensor) -> np.ndarray[Any, Any]:
            blocks = image[..., 3:19, 1:17].mean(1).numpy().reshape(2, 2, 8, 2, 8)
            spectra = scipy.fft.dctn(blocks, axes=(2, 4), norm="ortho").transpose(0, 1, 3, 2, 4)
            return np.log(np.square(spectra[..., high]) + 0.02**2)

        t, a, b = strength(x), strength(first), strength(second)
        expected = (0.5 * (abs(t - a) + abs(t - b)) - 0.5 * abs(a - b)).mean()
        found = log_power_crps(x, first, second, 8, 0.02, (3, 1))
        assert float(found) == pytest.approx(expected, rel=1e-10)

    def test_noise_in_a_smooth_place_costs_as_much_as_in_a_rough_one(self) -> None:
        """Twice the noise that there is: in amplitudes it matters where there is much, in logarithms everywhere."""
        torch.manual_seed(0)
        noise = 0.3 * torch.randn(5, 1, 3, 256, 256)

        def price(score: Any, strength: float) -> float:
            x, *images = strength * noise
            return float(score(x, 2 * images[0], 2 * images[1]) - score(x, images[2], images[3]))

        exact = partial(log_power_crps, floor=1e-6)
        assert price(exact, 0.1) == pytest.approx(price(exact, 1.0), rel=1e-3)
        patches = partial(energy_score, distance=patch_distance)
        assert price(patches, 0.1) == pytest.approx(0.1 * price(patches, 1.0), rel=1e-3)

    def test_the_right_strength_is_best_and_detail_may_lie_anywhere(self) -> None:
        torch.manual_seed(0)
        x, first, second = 0.1 * torch.randn(3, 1, 3, 256, 256)
        scores = [float(log_power_crps(x, k * first, k * second)) for k in (0.7, 1.0, 1.4)]
        assert scores[1] < 0.99 * min(scores[0], scores[2])
        mirrored = x.unflatten(-1, (16, 16)).flip(-1).flatten(-2)  # every block by itself
        assert float(log_power_crps(x, mirrored, mirrored)) == pytest.approx(0, abs=1e-5)

    def test_a_lattice_of_the_same_power_is_worse(self) -> None:
        torch.manual_seed(0)
        x, first, second, *stripes = 0.1 * torch.randn(5, 1, 3, 256, 256)
        # The same value in every fourth row of a column of pixels, all over.
        lattices = [s[..., :4, :].repeat(1, 1, 64, 1) for s in stripes]
        assert float(lattices[0].std()) == pytest.approx(0.1, rel=0.1)
        white, striped = log_power_crps(x, first, second), log_power_crps(x, *lattices)
        assert float(striped) > 1.5 * float(white)

    def test_below_the_floor_nothing_matters(self) -> None:
        torch.manual_seed(0)
        x, first, second = 1e-5 * torch.randn(3, 1, 3, 64, 64)
        assert abs(float(log_power_crps(x, first, 3 * second))) < 1e-4
