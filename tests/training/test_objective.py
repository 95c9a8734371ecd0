"""What an objective is put together from: bands, gradients that are held back, terms worked out in one pass."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("torchvision", reason="the extra `train` is not installed")

from vspsr import Degradation
from vspsr.data.crops import Batch
from vspsr.errors import ModelError
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.vspm import VSpM
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize
from vspsr.training import features
from vspsr.training.graphs import Graphs
from vspsr.training.losses import StepImages
from vspsr.training.losses.prior import KL
from vspsr.training.objective import Objective
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.sampling import draw, normals


def recipe(losses: dict[str, Any], crop: int = 8, features: Sequence[str] = ("squeezenet", "other")) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "test",
            "model": {"network": "overlapping", "options": {"scale": 4}},
            "crop": crop,
            "features": {key: {"network": "squeezenet1_1", "weights": "random"} for key in features},
            "phases": [{"name": "only", "steps": 1, "losses": losses}],
        }
    )


def test_all_feature_networks_that_cannot_be_had_are_named_at_once() -> None:
    made = recipe({"energy_features": [{"weight": 1, "features": name} for name in ("squeezenet", "other")]})
    entry = made.features["squeezenet"].model_copy(update={"weights": "none.safetensors"})
    made = made.model_copy(update={"features": {"squeezenet": entry, "other": entry}})
    with pytest.raises(ModelError, match=r"`features.squeezenet`: .*; `features.other`: "):
        Objective(made, Degradation(4))


@pytest.mark.parametrize("wrong", [(0,), (1,), (0, 2), (1, 2)])
def test_wrong_files_show_before_anything_is_downloaded(
    wrong: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of the entries. Without wrong files, all that cannot be downloaded are named at once."""
    downloads: list[str] = []
    make = features.get_model

    def offline(name: str, weights: str | None) -> Any:
        if weights is not None:
            downloads.append(name)
            raise OSError("no network")
        return make(name, weights=weights)

    monkeypatch.setattr(features, "get_model", offline)
    names = ("squeezenet", "other", "third")
    made = recipe({"energy_features": [{"weight": 1, "features": name} for name in names]}, features=names)
    for files, failed, downloaded in ((wrong, wrong, 0), ((), range(3), 3)):
        weights = [str(tmp_path / "none.safetensors") if i in files else None for i in range(3)]
        entries = {
            name: made.features[name].model_copy(update={"weights": w}) for name, w in zip(names, weights, strict=True)
        }
        with pytest.raises(ModelError) as caught:
            Objective(made.model_copy(update={"features": entries}), Degradation(4))
        assert re.findall(r"`features\.(\w+)`: ", str(caught.value)) == [names[i] for i in failed]
        assert len(downloads) == downloaded


def gradients(losses: dict[str, Any]) -> dict[str, Tensor | None]:
    """Of one step, by the name of the parameter."""
    torch.manual_seed(0)
    made = recipe(losses)
    network = OverlappingVSpM(4, n_atoms=6, channels=8, blocks=1)
    x, y = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 8, 8)
    total, _, _ = Objective(made, Degradation(4))(batch_of(x, y), network(y), made.phases[0], nullcontext)
    total.backward()
    return {name: p.grad for name, p in network.named_parameters()}


def batch_of(x: Tensor, y: Tensor) -> Batch:
    return Batch(x, y, torch.zeros_like(y), torch.zeros(len(y), dtype=torch.bool), 0, 0)


def images_of(objective: Objective, x: Tensor, first: Tensor, second: Tensor, step: int) -> StepImages:
    """What a loss sees of a truth and two samples."""
    p = SpaceParameters(x, torch.zeros(len(x), 1, 1, 3, 8, 8), None, None)
    networks = dict(objective.networks.items())
    return StepImages(x, p, x, (first, second), 4, 0, step, networks, nullcontext, Graphs())


def test_blocks_that_do_not_fit_a_crop() -> None:
    made = recipe({"log_power_crps": {"weight": 1.0, "block": 32}})
    message = "`crop` 8, `log_power_crps` in phase 'only': needs 63 HR pixels, but of a crop 29 are seen"
    with pytest.raises(RecipeError, match=message):
        Objective(made, Degradation(4))


def test_strength_trains_what_is_random_and_the_mean_as_far_as_it_may() -> None:
    head, atoms = "mean_head.residual.weight", "atoms"
    whole, none = (gradients({"log_power_crps": {"weight": 1.0, "block": 8, "mean_gradient_scale": m}}) for m in (1, 0))
    for found in (whole, none):
        assert all(g is not None and g.isfinite().all() for name, g in found.items() if "basis" not in name)
        assert float(found[atoms].abs().max()) > 0
    assert float(whole[head].abs().max()) > 0
    torch.testing.assert_close(none[head], torch.zeros_like(none[head]), rtol=0, atol=1e-6)
    torch.testing.assert_close(none[atoms], whole[atoms])


def test_mean_gradient_scale_is_the_share_of_the_gradient_that_the_mean_gets() -> None:
    def of(share: float) -> dict[str, Tensor | None]:
        return gradients({"energy_features": {"weight": 1.0, "mean_gradient_scale": share}})

    all_of_it, half, none = of(1.0), of(0.5), of(0.0)
    head, atoms = "mean_head.residual.weight", "atoms"
    assert all_of_it[head] is not None
    assert all_of_it[head].abs().max() > 0
    torch.testing.assert_close(half[head], 0.5 * all_of_it[head], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(none[head], torch.zeros_like(all_of_it[head]), rtol=0, atol=1e-6)
    for held in (half, none):
        torch.testing.assert_close(held[atoms], all_of_it[atoms])


class _EveryFourth(nn.Module):
    """Features that look at one pixel in four along each axis, as a strided layer does."""

    layer_weights = (1.0,)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x[..., ::4, ::4]]


def test_features_look_at_every_place_in_an_lr_pixel() -> None:
    """In one step at a sixteenth of the pixels, in the long run at all of them: no lattice is asked for."""
    made = recipe({"energy_features": {"weight": 1.0}})
    objective = Objective(made, Degradation(4))
    objective.networks["squeezenet"] = _EveryFourth()
    (term,) = made.phases[0].losses["energy_features"]
    x, first, second = torch.rand(3, 1, 3, 32, 32)
    first.requires_grad_()
    seen = torch.zeros(4, 4)
    for step in range(100):
        first.grad = None
        term.value(images_of(objective, x, first, second, step)).backward()
        assert first.grad is not None
        at = (first.grad != 0).any(1)[0].unflatten(0, (8, 4)).unflatten(2, (8, 4)).float().amax((0, 2))
        assert float(at.sum()) == 1
        seen += at
    assert float(seen.min()) > 0


class _Pixels(nn.Module):
    """Features that are the pixels."""

    layer_weights = (1.0,)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


def test_truth_and_samples_are_seen_at_the_same_place_at_every_scale() -> None:
    made = recipe({"energy_features": {"weight": 1.0, "scales": [1, 2]}}, crop=16)
    objective = Objective(made, Degradation(4))
    objective.networks["squeezenet"] = _Pixels()
    (term,) = made.phases[0].losses["energy_features"]
    x = torch.rand(2, 3, 32, 32)
    for step in range(5):
        same = term.value(images_of(objective, x, x.clone(), x.clone(), step))
        other = term.value(images_of(objective, x, x.flip(-1), x.flip(-1), step))
        assert float(same) < 1e-3 < 0.1 < float(other)


def test_a_crop_too_small_for_a_scale_is_told_before_training() -> None:
    losses = {"energy_features": {"weight": 1.0, "scales": [1, 4]}}
    Objective(recipe(losses, crop=24), Degradation(4))
    with pytest.raises(
        RecipeError, match="`crop` 8, `energy_features` in phase 'only': too small for squeezenet at scale 4"
    ):
        Objective(recipe(losses, crop=8), Degradation(4))


@pytest.mark.parametrize("bands", [None, 1, 3])
def test_bands_train_the_network(bands: int | None) -> None:
    found = gradients({"energy_pixels": {"weight": 1.0, "patch": 4, "bands": bands}})
    assert all(g is not None and g.isfinite().all() for name, g in found.items() if "basis" not in name)


def test_patches_that_do_not_fit_a_crop() -> None:
    with pytest.raises(RecipeError, match="needs 60 HR pixels, but of a crop 29 are seen"):
        Objective(recipe({"energy_pixels": {"weight": 1.0, "bands": 3}}), Degradation(4))


def coefficients(with_mean: bool, dtype: torch.dtype) -> tuple[SpaceParameters, list[Tensor]]:
    torch.manual_seed(0)
    mean, log_var = torch.randn(2, 2, 3, 1, 4, 3, 2, dtype=dtype).unbind()
    leaves = [t.requires_grad_() for t in ((mean, log_var) if with_mean else (log_var,))]
    image, atoms = torch.zeros(2, 3, 12, 8, dtype=dtype), torch.rand(2, 3, 1, 1, 4, 4, dtype=dtype)
    mean_of = mean[:, :, 0, :1] if with_mean else None
    return SpaceParameters(image, atoms, mean_of, log_var[:, :, 0, :1]), leaves


@pytest.mark.parametrize("with_mean", [True, False])
def test_drawn_coefficients_have_the_gradient_of_their_formula(with_mean: bool) -> None:
    p, leaves = coefficients(with_mean, torch.float32)
    assert p.coefficient_log_var is not None
    noise = normals((2, 3, 3, 2), torch.device("cpu"), 1, 2, 0, 0)[:, :, None]
    weights, y = torch.randn(2, 3, 12, 8), torch.zeros(2, 3, 3, 2)
    sigma = (0.5 * p.coefficient_log_var).exp()
    drawn = sigma * noise if p.coefficient_mean is None else p.coefficient_mean + sigma * noise
    expected = torch.autograd.grad((weights * synthesize(drawn, p.atoms, 4)).sum(), leaves)
    _, (sample,) = draw(p, y, Degradation(4), 1, (1, 2, 0))
    for ours, theirs in zip(torch.autograd.grad((weights * sample).sum(), leaves), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_layout_of_the_coefficients_makes_no_difference() -> None:
    torch.manual_seed(0)
    y = torch.rand(2, 3, 16, 16)
    p = VSpM(4, 8)(y)
    moved = p.map_tensors(lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2))
    kl, objective, x = (
        KL(weight=1, form="authors"),
        Objective(recipe({"mse": 1}), Degradation(4)),
        torch.rand(2, 3, 64, 64),
    )
    ours, theirs = (kl.value(replace(images_of(objective, x, x, x, 0), parameters=q)) for q in (moved, p))
    torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(*(draw(q, y, Degradation(4), 1, (0, 0, 0))[1] for q in (moved, p)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_clean_lr_images_are_projected_onto() -> None:
    """What a JPEG shows is not what its original downscales to."""
    torch.manual_seed(0)
    y, degradation = torch.rand(2, 3, 8, 8), Degradation(4)
    with torch.no_grad():
        p = OverlappingVSpM(4, n_atoms=6, channels=8, blocks=1)(y)
        free = draw(p, y, degradation, 2, (0, 0, 0))
        mixed = draw(p, y, degradation, 2, (0, 0, 0), torch.tensor([True, False]))
    for image, as_made in zip((mixed[0], *mixed[1]), (free[0], *free[1]), strict=True):
        torch.testing.assert_close(degradation.down(image[:1]), y[:1], rtol=0, atol=1e-5)
        assert torch.equal(image[1], as_made[1])
        assert float((degradation.down(as_made) - y).abs().max()) > 1e-3


@pytest.mark.parametrize("quantisation", [0.4, 0.0])
def test_the_objective_does_not_project_onto_jpegs(quantisation: float) -> None:
    """Also if their quantisation is 0, as at quality 100."""
    torch.manual_seed(0)
    made, y = recipe({"mean_l1": 1.0, "energy_pixels": 1.0}), torch.rand(2, 3, 8, 8)
    coded = torch.tensor([False, True])
    steps = torch.where(coded[:, None, None, None], quantisation, torch.zeros(2, 3, 8, 8))
    batch = Batch(torch.rand(2, 3, 32, 32), y, steps, coded, 0, 0)
    parameters = OverlappingVSpM(4, n_atoms=6, channels=8, blocks=1)(y)
    for projection in (True, False):
        objective = Objective(made.model_copy(update={"projection": projection}), Degradation(4))
        with torch.no_grad():
            images = objective(batch, parameters, made.phases[0], nullcontext)[2]
        missed = (Degradation(4).down(images.samples[0]) - y).abs().amax((1, 2, 3))
        assert (float(missed[0]) < 1e-5) == projection
        assert float(missed[1]) > 1e-3
