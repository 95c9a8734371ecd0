"""Modes of PyTorch that the caller has switched on: none changes what is computed, none is kept in a cache."""

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from explorer_tools import tiny_model
from jpeg_files import decoded, photo, saved, small_photo
from spaces import NETWORKS, make_space, small_model
from torch import Tensor

from vspsr import Consistent, Degradation, SRSpace, VSpSR, project, quantize, upscale
from vspsr.consistency import JpegMembers
from vspsr.degradation import JpegSet, imresize, operator, resize
from vspsr.degradation.noise import estimate_noise
from vspsr.images import Picture, jpeg_comb
from vspsr.images.jpeg_file import read_coefficients
from vspsr.metrics import fidelity, perceptual_backend, ssim
from vspsr.space import Linear, Pixels

KINDS = list(NETWORKS)


@contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "double": double_by_default,
}


def empty_caches() -> None:
    for cache in (operator._short_axis, operator._long_axis, resize.axis_operator, fidelity._smoothing):
        cache.cache_clear()


@pytest.fixture
def _empty_caches() -> None:
    empty_caches()


def picture(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32).to(dtype)


def operations(x: Tensor, y: Tensor) -> list[Tensor]:
    """Everything that D, D⁺ and resampling can do, at float32 and float64."""
    d = Degradation(4)
    found = [d.down(x), d.adjoint(y), d.pseudo_inverse(y), project(x, y), imresize(y, scale=4), imresize(x, scale=0.25)]
    found += [d.down(x.double()), d.pseudo_inverse(y.double()), Degradation(4, (1.0, 2.0, 3.0, 2.0)).pseudo_inverse(y)]
    found += [d.down_integers((255 * x).round()), d.axis(x.shape[-1]).part(slice(3))[1].dense()]
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("_empty_caches")
def test_operators_first_used_in_a_mode_work_everywhere(mode: str) -> None:
    x, y = picture(1, 3, 40, 28), picture(1, 3, 10, 7)
    with MODES[mode]():
        inside = operations(x, y)
    outside = operations(x, y)
    empty_caches()
    for a, b, c in zip(inside, outside, operations(x, y), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(b, c)
        assert a.dtype == c.dtype
    x, y = x.requires_grad_(), y.requires_grad_()
    sum(t.sum() for t in operations(x, y)[:9]).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    assert y.grad is not None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["overlapping", "paper", "many atoms", "authors"])
@pytest.mark.usefixtures("_empty_caches")
def test_models_first_used_in_a_mode_have_gradients_later(mode: str, kind: str) -> None:
    y = picture(1, 3, 6, 9)
    model = small_model(kind)
    with MODES[mode]():
        model(y).sample(1)
    small_model(kind)(y).rsample(1).sum().backward()
    model(y).rsample(1).sum().backward()
    assert all(p.grad is not None for p in model.network.trunk.parameters()) if kind == "overlapping" else True


@pytest.mark.parametrize("mode", ["inference", "no gradients", "bfloat16"])
def test_what_a_space_keeps_does_not_depend_on_the_mode_of_its_first_use(mode: str) -> None:
    model, y = small_model("paper"), picture(1, 3, 6, 9)
    space, fresh = model(y), model(y)
    with MODES[mode]():
        first = space.mean, space.stddev, space.sample(1), space.interpolate(1, 2, 0.5)
        assert first[0].requires_grad == (mode == "bfloat16")
    for a, b in zip(first, (fresh.mean, fresh.stddev, fresh.sample(1), fresh.interpolate(1, 2, 0.5)), strict=True):
        assert torch.equal(a, b)
    assert not any(t.is_inference() for t in (space.mean, space.stddev))
    (space.mean.sum() + space.rsample(1).sum()).backward()
    assert all(p.grad is not None for p in model.network.coefficients.parameters())
    with torch.no_grad():
        assert not space.mean.requires_grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outside", [False, True])
def test_autocast_leaves_samples_consistent(kind: str, outside: bool) -> None:
    model, y = small_model(kind), picture(2, 3, 6, 9)
    autocast = MODES["bfloat16"]
    with autocast():
        space = model(y)
    with torch.no_grad(), nullcontext() if outside else autocast():
        images = [*space.sample(2), *space.rsample(1), space.interpolate(0, 1, 0.3)]
        images += [space.mean] if space.is_gaussian else []
        moved = copy.deepcopy(space).to("cpu").sample(2)
    for x in images:
        assert x.dtype == torch.float32
        torch.testing.assert_close(model.degradation.down(x), y, rtol=0, atol=1e-5)
    assert torch.equal(moved[0], images[0])
    if space.is_gaussian:
        assert space.stddev.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_any_network_is_consistent_inside_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 48, 3, padding=1), torch.nn.PixelShuffle(4))
    y = picture(2, 3, 6, 9)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        assert network(y).dtype == dtype
        x = Consistent(network, Degradation(4))(y)
    torch.testing.assert_close(Degradation(4).down(x), y, rtol=0, atol=1e-5)


def test_integers_do_not_depend_on_autocast() -> None:
    y = picture(1, 3, 6, 9)
    x = imresize(y, scale=4)
    with MODES["bfloat16"]():
        inside = quantize(x, y).image
    assert torch.equal(inside, quantize(x, y).image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_other_precision(dtype: torch.dtype) -> None:
    model, y = small_model(), picture(1, 3, 6, 9, dtype=dtype)
    with torch.no_grad():
        space = model(y)
        x = space.sample(1)[0]
    assert x.dtype == space.stddev.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(model.degradation.down(x), y.to(x.dtype), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_default_dtype_changes_nothing(dtype: torch.dtype) -> None:
    y, before = picture(1, 3, 6, 9), torch.get_default_dtype()
    file = saved(small_photo(side=40), quality=60)
    ramp = Picture(torch.arange(3 * 6 * 9, dtype=torch.int32).view(3, 6, 9), 8)
    pictures = [ramp, file, saved(decoded(file), "PNG")]

    def results() -> list[Tensor]:
        space = VSpSR.from_pretrained("vspsr-x4")(y)
        found = [upscale(given, "vspsr-x4", samples=1).samples[0].pixels for given in pictures]
        return [
            space.sample(1),
            space.mean,
            space.stddev,
            *operations(picture(1, 3, 24, 36), y),
            *found,
        ]

    with torch.no_grad():
        expected = results()
        empty_caches()
        jpeg_comb._multiples.cache_clear()
        try:
            torch.set_default_dtype(dtype)
            found = results()
        finally:
            torch.set_default_dtype(before)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("made", [nullcontext, torch.inference_mode])
def test_a_space_can_be_copied(
    kind: str, copied: Callable[[SRSpace], SRSpace], made: Callable[[], AbstractContextManager[Any]]
) -> None:
    model = small_model(kind, temperature=0.8, calibration=1.2)
    with made():
        space = model(picture(2, 3, 5, 4)).with_keys([3, 9])
    expected = space.sample(2)
    if space.is_gaussian:
        assert space.mean.requires_grad == (made is nullcontext)  # fills the cache with tensors that are no leaves
    other = copied(space)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(other.sample(2), expected)
    assert (other.temperature, other.calibration, other.keys) == (0.8, 1.2, (3, 9))
    assert not any(t.requires_grad for t in other.parameters.tensors())


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2),
    "part of another": lambda t: torch.nn.functional.pad(t, (2, 3, 1, 1))[..., 1:-1, 2:-3],
    "every other": lambda t: torch.stack([t, t], -1)[..., 0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1, 1), (23, 40)])
def test_the_memory_layout_changes_nothing(layout: str, size: tuple[int, int]) -> None:
    y, x = picture(1, 3, *size), picture(1, 3, 4 * size[0], 4 * size[1])
    model, change = VSpSR("overlapping", {"n_atoms": 16, "channels": 48, "blocks": 2}), LAYOUTS[layout]
    with torch.no_grad():
        a, b = model(y), model(change(y))
        for first, second in zip(a.parameters.tensors(), b.parameters.tensors(), strict=True):
            assert torch.equal(first, second)
        assert torch.equal(a.sample(1), b.sample(1))
        assert torch.equal(a.stddev, b.stddev)
    for first, second in zip(operations(x, y), operations(change(x), change(y)), strict=True):
        assert torch.equal(first, second)
    grey = y[:, :1].expand(-1, 3, -1, -1)
    with torch.no_grad():
        assert torch.equal(model(grey).sample(1), model(grey.contiguous()).sample(1))


@torch.no_grad()
def test_the_default_device_changes_nothing() -> None:
    """Where integers have to be searched, of a region, and of a JPEG with steps of 1 to 8."""
    degradation, i = Degradation(4), torch.arange(32)
    y = degradation.down_integers(255 * ((i[:, None] // 5 + i // 5) % 2)[None])
    x, lr = degradation.pseudo_inverse(y.double() / 255), photo(9, 11)
    code = read_coefficients(saved(lr, quality=96, subsampling="4:2:0"))
    space, noisy = small_model()(picture(1, 3, 6, 9)), picture(3, 20, 20)

    def results() -> list[Tensor]:
        found = [*vars(quantize(x, y, degradation)).values(), *vars(estimate_noise(noisy)).values()]
        found += vars(space.region(1, 2, 3, 3).principal_components(2)).values()
        return [*found, JpegMembers(JpegSet(code)).near(lr.double() / 255 + 0.004).image]

    expected = results()
    with MODES["device"]():
        found = results()
    for a, b in zip(found, expected, strict=True):
        assert a.device.type == "cpu"
        assert torch.equal(a, b)


def test_a_space_does_not_change_with_the_image_it_was_made_of() -> None:
    y = picture(1, 3, 6, 9)
    space = small_model()(y)
    expected = space.sample(1)
    y.zero_()
    assert torch.equal(space.sample(1), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_moving_a_space_leaves_the_model_where_it_is(kind: str) -> None:
    model = small_model(kind)
    space = model(picture(1, 3, 8, 8))
    moved = space.to("meta")
    assert {t.device.type for t in moved.parameters.tensors()} == {"meta"}
    modules = (moved.parameters.refine, moved.parameters.basis and moved.parameters.basis.decoder)
    assert all(p.device.type == "meta" for module in modules if module for p in module.parameters())
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert torch.equal(space.to("cpu").sample(1), space.sample(1))


def test_space_of_double_precision_is_kept() -> None:
    assert make_space().sample(1).dtype == torch.float64


def test_integers_found_in_inference_mode_and_later_are_the_same() -> None:
    y = imresize(picture(1, 3, 3, 3), scale=4).clamp(0, 1)
    x = imresize(y, scale=4)
    with torch.inference_mode():
        first = quantize(x, y).image
    assert torch.equal(quantize(x.requires_grad_(), y).image, first)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("_empty_caches")
def test_metrics_first_used_in_a_mode_are_the_same_later(mode: str) -> None:
    a, b = picture(3, 40, 28), picture(1, 3, 40, 28).flip(-1)[0]
    with MODES[mode]():
        inside = ssim(a, b, 1)
    outside = ssim(a, b, 1)
    empty_caches()
    assert torch.equal(inside, outside)
    assert torch.equal(outside, ssim(a, b, 1))


def test_the_perceptual_distance_does_not_depend_on_the_default_dtype() -> None:
    a, b = picture(2, 3, 40, 48), picture(3, 40, 48).flip(-1)
    expected = perceptual_backend("stlpips-alex").score(a, b)
    with double_by_default():
        found = perceptual_backend("stlpips-alex").score(a, b)
    assert found.maps.dtype == torch.float32
    assert torch.equal(found.maps, expected.maps)
    assert torch.equal(found.distances, expected.distances)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_questions_asked_in_a_mode_have_the_same_answers(mode: str) -> None:
    """Directions, conditions and what follows from them."""
    mask = torch.zeros(24, 36, dtype=torch.bool)
    mask[8:12, 8:12] = True
    conditions = Pixels(mask, torch.full((3,), 0.5), 0.2), Linear(lambda x: x.mean((1, 2)), torch.full((3,), 0.5), 0.1)
    y, other, amounts = picture(1, 3, 6, 9), picture(3, 24, 36), torch.tensor([1.0, -1.0, 2.0])

    def results(space: SRSpace) -> list[Tensor]:
        region = space.region(1, 2, 3, 3)
        components, given = region.principal_components(3), space.condition(*conditions)
        found = [*vars(components).values(), region.along(components, amounts)]
        found += [given.mean, *given.sample(1), given.corrected(space.mean), given.region(1, 2, 3, 3).stddev]
        return [*found, space.nearest(other).member]

    model = small_model()
    space = model(y)
    expected = results(model(y))
    with MODES[mode]():
        found = results(model(y) if mode == "inference" else space)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_parameters_by_place_made_in_inference_mode_serve_outside() -> None:
    model, y = tiny_model(), picture(1, 3, 20, 24)
    with torch.inference_mode():
        space = model.by_place(y)
        inside = space.sample(1)
    with torch.no_grad():
        assert torch.equal(space.sample(1), inside)
        assert torch.equal(model.by_place(y).sample(1), inside)
    assert not any(t.is_inference() for t in space.parameters.tensors())
