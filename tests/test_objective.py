"""What an objective is put together from: bands, gradients that are held back, terms worked out in one pass."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

pytest.importorskip("torchvision", reason="the extra `train` is not installed")

from vspsr import Degradation
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.parameters import SpaceParameters
from vspsr.nn.vspm import VSpM
from vspsr.training.energy import colour_bands, energy_score, frequency_energy, patch_distance, strength_energy
from vspsr.training.objective import Objective
from vspsr.training.prior import coefficient_kl, coefficient_kl_authors, prior_loss
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.sampling import draw, normals


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


class TestFrequencies:
    def test_against_scipy(self) -> None:
        x, first, second = torch.rand(3, 2, 3, 21, 18, dtype=torch.float64)

        def spectrum(image: Tensor) -> np.ndarray[Any, Any]:
            red, green, blue = image[..., 3:19, 1:17].unbind(1)
            parts = [
                (red + green + blue) / 3**0.5,
                (red - green) / 2**0.5,
                (red + green - 2 * blue) / 6**0.5,
            ]
            blocks = torch.stack(parts, 1).numpy().reshape(2, 3, 2, 8, 2, 8)
            return np.asarray(scipy.fft.dctn(blocks, axes=(3, 5), norm="ortho"))

        t, a, b = spectrum(x), spectrum(first), spectrum(second)
        score = (0.5 * (abs(t - a) + abs(t - b)) - 0.5 * abs(a - b)).mean((0, 1, 2, 4))
        weight = np.hypot(np.arange(8)[:, None], np.arange(8))
        expected = (weight * score).sum() / weight.sum()
        assert float(frequency_energy(x, first, second, 8, (3, 1))) == pytest.approx(expected, rel=1e-10)

    def test_of_noise_it_is_the_crps_of_a_normal_distribution(self) -> None:
        """With the truth from the same distribution: σ/√π (Gneiting & Raftery 2007, eq. 21, its mean)."""
        torch.manual_seed(0)
        x, first, second = 0.3 * torch.randn(3, 1, 3, 512, 512)
        assert float(frequency_energy(x, first, second)) == pytest.approx(0.3 / np.pi**0.5, rel=0.01)

    def test_stripes_are_no_grain(self) -> None:
        """Noise of the right strength at every wavelength, but all of it along the axes: worse than the right one."""
        torch.manual_seed(0)
        frequency = torch.fft.fftfreq(256)
        upright = (torch.minimum(frequency[:, None].abs(), frequency.abs()) < 0.02).float()
        x, *grain = torch.randn(3, 1, 3, 256, 256)
        stripes = [torch.fft.ifft2(torch.fft.fft2(g) * upright).real for g in grain]
        stripes = [s / s.std() for s in stripes]

        def ratio(score: Any) -> float:
            return float(score(x, *stripes)) / float(score(x, *grain))

        patches = ratio(lambda *images: energy_score(*images, distance=patch_distance))
        assert ratio(frequency_energy) > 1.2 > 1 + 2 * (patches - 1)

    def test_they_train_the_network(self) -> None:
        found = gradients({"energy_frequencies": {"weight": 1.0, "block": 8}})
        assert all(g is not None and g.isfinite().all() for name, g in found.items() if "basis" not in name)

    @pytest.mark.parametrize("name", ["energy_frequencies", "energy_strength"])
    def test_blocks_that_do_not_fit_a_crop(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"`{name}`: blocks of 32 need 63 pixels, but a crop of phase 'only' has"):
            recipe({name: {"weight": 1.0, "block": 32}})


class TestStrength:
    def test_against_scipy(self) -> None:
        x, first, second = torch.rand(3, 2, 3, 21, 18, dtype=torch.float64)
        radius = np.hypot(np.arange(8)[:, None], np.arange(8))
        along = np.degrees(np.arctan2(np.arange(8)[:, None], np.arange(8)))
        octaves = [radius >= 4, (radius >= 2) & (radius < 4)]
        directions = [along <= 22.5, (along > 22.5) & (along <= 67.5), along > 67.5]

        def strength(image: Tensor) -> np.ndarray[Any, Any]:
            blocks = image[..., 3:19, 1:17].mean(1).numpy().reshape(2, 2, 8, 2, 8)
            power = np.square(scipy.fft.dctn(blocks, axes=(2, 4), norm="ortho")).transpose(0, 1, 3, 2, 4)
            parts = [power[..., o & d].mean(-1) for o in octaves for d in directions]
            return np.log(np.stack(parts) + 0.02**2)

        t, a, b = strength(x), strength(first), strength(second)
        expected = (0.5 * (abs(t - a) + abs(t - b)) - 0.5 * abs(a - b)).mean()
        found = strength_energy(x, first, second, 8, 2, 0.02, (3, 1))
        assert float(found) == pytest.approx(expected, rel=1e-10)

    def test_noise_in_a_smooth_place_costs_as_much_as_in_a_rough_one(self) -> None:
        """Twice the noise that there is: in amplitudes it matters where there is much, in logarithms everywhere."""
        torch.manual_seed(0)
        noise = 0.3 * torch.randn(5, 1, 3, 256, 256)

        def price(score: Any, strength: float) -> float:
            x, *images = strength * noise
            return float(score(x, 2 * images[0], 2 * images[1]) - score(x, images[2], images[3]))

        exact = partial(strength_energy, floor=1e-6)
        assert price(exact, 0.1) == pytest.approx(price(exact, 1.0), rel=1e-3)
        patches = partial(energy_score, distance=patch_distance)
        assert price(patches, 0.1) == pytest.approx(0.1 * price(patches, 1.0), rel=1e-3)

    def test_the_right_strength_is_best_and_detail_may_lie_anywhere(self) -> None:
        torch.manual_seed(0)
        x, first, second = 0.1 * torch.randn(3, 1, 3, 256, 256)
        scores = [float(strength_energy(x, k * first, k * second)) for k in (0.7, 1.0, 1.4)]
        assert scores[1] < 0.8 * min(scores[0], scores[2])
        mirrored = x.unflatten(-1, (16, 16)).flip(-1).flatten(-2)  # every block by itself
        assert float(strength_energy(x, mirrored, mirrored)) == pytest.approx(0, abs=1e-5)

    def test_below_the_floor_nothing_matters(self) -> None:
        torch.manual_seed(0)
        x, first, second = 1e-5 * torch.randn(3, 1, 3, 64, 64)
        assert abs(float(strength_energy(x, first, 3 * second))) < 1e-4

    def test_it_trains_what_is_random_and_the_mean_as_far_as_it_may(self) -> None:
        head, atoms = "mean_head.residual.weight", "atoms"
        whole, none = (gradients({"energy_strength": {"weight": 1.0, "block": 8, "through_mean": m}}) for m in (1, 0))
        for found in (whole, none):
            assert all(g is not None and g.isfinite().all() for name, g in found.items() if "basis" not in name)
            assert float(found[atoms].abs().max()) > 0
        assert float(whole[head].abs().max()) > 0
        torch.testing.assert_close(none[head], torch.zeros_like(none[head]), rtol=0, atol=1e-6)
        torch.testing.assert_close(none[atoms], whole[atoms])

    def test_more_octaves_than_a_block_has(self) -> None:
        with pytest.raises(ValueError, match="`octaves` 4: blocks of 8 pixels do not have so many: take a `block` of"):
            recipe({"energy_strength": {"weight": 1.0, "block": 8, "octaves": 4}})


def recipe(losses: dict[str, Any], crop: int = 8) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "test",
            "model": {"network": "overlapping", "options": {"scale": 4}},
            "crop": crop,
            "features": {"squeezenet": {"network": "squeezenet1_1", "weights": "random"}},
            "phases": [{"name": "only", "steps": 1, "losses": losses}],
        }
    )


def gradients(losses: dict[str, Any]) -> dict[str, Tensor | None]:
    """Of one step, by the name of the parameter."""
    torch.manual_seed(0)
    made = recipe(losses)
    network = OverlappingVSpM(4, n_atoms=6, channels=8, blocks=1)
    objective = Objective(made, Degradation(4))
    x, y = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 8, 8)
    parameters, terms = network(y), made.phases[0].losses
    mean, samples = objective.images(parameters, y, terms, 1.0, 0, 0)
    total, _ = objective(x, parameters, mean, samples, terms, 0, torch.enable_grad)
    total.backward()
    return {name: p.grad for name, p in network.named_parameters()}


def test_through_mean_is_the_share_of_the_gradient_that_the_mean_gets() -> None:
    def of(share: float) -> dict[str, Tensor | None]:
        return gradients({"energy_features": {"weight": 1.0, "through_mean": share}})

    all_of_it, half, none = of(1.0), of(0.5), of(0.0)
    head, atoms = "mean_head.residual.weight", "atoms"
    assert all_of_it[head] is not None
    assert all_of_it[head].abs().max() > 0
    torch.testing.assert_close(half[head], 0.5 * all_of_it[head], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(none[head], torch.zeros_like(all_of_it[head]), rtol=0, atol=1e-6)
    for held in (half, none):
        torch.testing.assert_close(held[atoms], all_of_it[atoms])


def test_sparsity_trains_variances_alone() -> None:
    found = gradients({"sparsity": 1.0})
    variance = found["variance_head.2.bias"]
    assert variance is not None
    assert float(variance.min()) > 0
    assert found["atoms"] is None
    assert found["mean_head.residual.weight"] is None


class _EveryFourth(nn.Module):
    """Features that look at one pixel in four along each axis, as a strided layer does."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x[..., ::4, ::4]]


def test_features_look_at_every_place_in_an_lr_pixel() -> None:
    """In one step at a sixteenth of the pixels, in the long run at all of them: no lattice is asked for."""
    made = recipe({"energy_features": {"weight": 1.0}})
    objective = Objective(made, Degradation(4))
    objective.networks["squeezenet"] = _EveryFourth()
    term = made.phases[0].losses.energy_features[0]
    x, first, second = torch.rand(3, 1, 3, 32, 32)
    first.requires_grad_()
    seen = torch.zeros(4, 4)
    for step in range(100):
        first.grad = None
        objective.feature_energy(x, first, second, term, step, torch.enable_grad).backward()
        assert first.grad is not None
        at = (first.grad != 0).any(1)[0].unflatten(0, (8, 4)).unflatten(2, (8, 4)).float().amax((0, 2))
        assert float(at.sum()) == 1
        seen += at
    assert float(seen.min()) > 0


class _Pixels(nn.Module):
    """Features that are the pixels; remembers the shapes that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        self.shown.append(tuple(x.shape[-2:]))
        return [x]


def test_what_is_enlarged_is_a_part_as_large_as_before() -> None:
    """So that a closer look costs no more; in the long run everywhere, at corners seldom."""
    made = recipe({"energy_features": {"weight": 1.0, "scales": [0.5]}})
    objective = Objective(made, Degradation(4))
    objective.networks["squeezenet"] = pixels = _Pixels()
    (term,) = made.phases[0].losses.energy_features
    x = torch.rand(1, 3, 32, 32)
    sample = torch.rand(1, 3, 32, 32, requires_grad=True)
    seen = torch.zeros(32, 32)
    for step in range(100):
        sample.grad = None
        objective.feature_energy(x, sample, torch.rand_like(x), term, step, torch.enable_grad).backward()
        assert sample.grad is not None
        at = (sample.grad != 0).any(1)[0]
        assert 10 <= at.any(0).sum() <= 17  # and what bicubic interpolation reaches beyond is no more than replicated
        seen += at
    assert set(pixels.shown) == {(30, 30)}  # 15 of the 29 pixels that the LR grid's places leave, enlarged
    assert float(seen[4:-4, 4:-4].min()) > 0


def test_truth_and_samples_are_seen_at_the_same_place_at_every_scale() -> None:
    made = recipe({"energy_features": {"weight": 1.0, "scales": [0.5, 1, 2]}}, crop=16)
    objective = Objective(made, Degradation(4))
    objective.networks["squeezenet"] = _Pixels()
    (term,) = made.phases[0].losses.energy_features
    x = torch.rand(2, 3, 32, 32)
    for step in range(5):
        same = objective.feature_energy(x, x.clone(), x.clone(), term, step, torch.enable_grad)
        other = objective.feature_energy(x, x.flip(-1), x.flip(-1), term, step, torch.enable_grad)
        assert float(same) < 1e-3 < 0.1 < float(other)


def test_a_crop_too_small_for_a_scale_is_told_before_training() -> None:
    losses = {"energy_features": {"weight": 1.0, "scales": [1, 4]}}
    Objective(recipe(losses, crop=24), Degradation(4))
    with pytest.raises(RecipeError, match="`crop` 8: too small for squeezenet in `energy_features` at scale 4"):
        Objective(recipe(losses, crop=8), Degradation(4))


def test_scales_are_whole_or_enlarge() -> None:
    (term,) = recipe({"energy_features": {"weight": 1.0, "scales": [0.25, 1.0, 2]}}).phases[0].losses.energy_features
    assert [(type(s), s) for s in term.scales] == [(float, 0.25), (int, 1), (int, 2)]
    for wrong in (1.5, 0, -1):
        with pytest.raises(ValueError, match=r"scales\.0"):
            recipe({"energy_features": {"weight": 1.0, "scales": [wrong]}})


@pytest.mark.parametrize("bands", [None, 1, 3])
def test_bands_train_the_network(bands: int | None) -> None:
    found = gradients({"energy_pixels": {"weight": 1.0, "patch": 4, "bands": bands}})
    assert all(g is not None and g.isfinite().all() for name, g in found.items() if "basis" not in name)


def test_patches_that_do_not_fit_a_crop() -> None:
    with pytest.raises(ValueError, match="patches of 8 need 15 pixels in the coarsest band, but of a crop 8 are left"):
        recipe({"energy_pixels": {"weight": 1.0, "bands": 3}})


def coefficients(with_mean: bool, dtype: torch.dtype) -> tuple[SpaceParameters, list[Tensor]]:
    torch.manual_seed(0)
    mean, log_var = torch.randn(2, 2, 3, 1, 4, 3, 2, dtype=dtype).unbind()
    leaves = [t.requires_grad_() for t in ((mean, log_var) if with_mean else (log_var,))]
    image, atoms = torch.zeros(2, 3, 12, 8, dtype=dtype), torch.rand(2, 3, 1, 1, 4, 4, dtype=dtype)
    mean_of = mean[:, :, 0, :1] if with_mean else None
    return SpaceParameters(image, atoms, mean_of, log_var[:, :, 0, :1]), leaves


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("form", ["joint", "authors"])
def test_the_prior_in_one_pass_is_the_sum_of_its_terms(form: str, with_mean: bool) -> None:
    p, leaves = coefficients(with_mean, torch.float64)
    assert p.coefficient_log_var is not None
    kl = (coefficient_kl if form == "joint" else coefficient_kl_authors)(
        p.coefficient_mean, p.coefficient_log_var, 3.0, 0.5
    )
    plain = kl.sum() / (p.deterministic.numel() if form == "joint" else kl.numel())
    expected = torch.autograd.grad(plain, leaves)
    fused = prior_loss(p, form, 3.0, 0.5)
    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(torch.autograd.grad(fused, leaves), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("with_mean", [True, False])
def test_drawn_coefficients_have_the_gradient_of_their_formula(with_mean: bool) -> None:
    p, leaves = coefficients(with_mean, torch.float32)
    assert p.coefficient_log_var is not None
    noise = normals(p.coefficient_log_var, 1, 2, 0, 0)
    weights = torch.randn(2, 3, 12, 8)
    sigma = 0.8 * (0.5 * p.coefficient_log_var).exp()
    drawn = sigma * noise if p.coefficient_mean is None else p.coefficient_mean + sigma * noise
    plain = SpaceParameters(p.deterministic, p.atoms, drawn, None)
    stream = (1, 2, 0, 0)
    expected = torch.autograd.grad((weights * draw(plain, 4, 0.8, stream)).sum(), leaves)
    for ours, theirs in zip(
        torch.autograd.grad((weights * draw(p, 4, 0.8, stream)).sum(), leaves), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_layout_of_the_coefficients_makes_no_difference() -> None:
    torch.manual_seed(0)
    network = VSpM(4, 8)
    p = network(torch.rand(2, 3, 16, 16))
    moved = p.map_tensors(lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2))
    torch.testing.assert_close(prior_loss(moved, "authors", 3, 1), prior_loss(p, "authors", 3, 1))
    torch.testing.assert_close(draw(moved, 4, 1.0, (0, 0, 0, 0)), draw(p, 4, 1.0, (0, 0, 0, 0)))
