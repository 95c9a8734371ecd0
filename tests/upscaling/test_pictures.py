"""Pictures in, pictures out: every kind, exact at its own depth."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vspsr import VSpSR, upscale, write_image
from vspsr.degradation.operator import Degradation
from vspsr.errors import ImageFileError
from vspsr.images.picture import Picture
from vspsr.upscaling import PictureSpace, compare, degrade


def picture(h: int = 9, w: int = 12, channels: int = 3, bits: int = 8, alpha: bool = False, seed: int = 0) -> Picture:
    """A smooth random LR picture with a real HR original, as photographs have."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels + alpha, 3, 3, generator=generator)
    hr = torch.nn.functional.interpolate(coarse, size=(4 * h, 4 * w), mode="bicubic").clamp(0, 1)
    peak = 2**bits - 1
    planes = (hr[0] * peak).round().int()
    made = Picture(planes[:channels], bits, planes[channels:] if alpha else None)
    return degrade(made, Degradation(4))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_every_kind_is_met_bit_for_bit(model: VSpSR, channels: int, bits: int, alpha: bool) -> None:
    lr = picture(channels=channels, bits=bits, alpha=alpha)
    result = upscale(lr, model, samples=2)
    assert result.exact
    for hr in [*result.samples, result.mean]:
        assert (hr.bits, hr.is_grey, hr.alpha is None) == (bits, channels == 1, not alpha)
        assert compare(hr, lr).exact
    assert not torch.equal(result.samples[0].pixels, result.samples[1].pixels)
    assert result.stddev.shape == (channels, 36, 48)


@settings(max_examples=12)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_sizes_from_one_pixel_up(model: VSpSR, h: int, w: int, seed: int) -> None:
    lr = picture(h, w, seed=seed)
    hr, exactness = PictureSpace(model, lr).sample(0)
    assert hr.size == (4 * h, 4 * w)
    assert exactness.lr_values_wrong == 0
    assert compare(hr, lr, scale=4).exact


@pytest.mark.parametrize("rounding", ["per-pass", "single"])
def test_both_roundings(model: VSpSR, rounding: str) -> None:
    hr = picture(40, 40)
    lr = degrade(hr, Degradation(4), rounding)
    result = upscale(lr, model, samples=1, rounding=rounding)
    assert compare(result.samples[0], lr, rounding=rounding).exact


def test_depth_of_the_outputs(model: VSpSR) -> None:
    lr = picture()
    deep = upscale(lr, model, samples=1, bits=16).samples[0]
    assert deep.bits == 16
    assert compare(deep, replace(lr, pixels=lr.pixels * 257, bits=16)).exact
    lr16 = picture(bits=16)
    shallow = upscale(lr16, model, samples=1, bits=8).samples[0]
    rounded = (lr16.pixels.double() / 257).round().int()
    assert compare(shallow, Picture(rounded, 8)).exact


def test_seeds_and_temperature(model: VSpSR) -> None:
    lr = picture()
    a, b = upscale(lr, model, samples=2, seed=3), upscale(lr, model, samples=1, seed=3)
    assert torch.equal(a.samples[0].pixels, b.samples[0].pixels)
    cold = upscale(lr, model, samples=1, temperature=0)
    assert torch.equal(cold.samples[0].pixels, cold.mean.pixels)
    assert torch.equal(cold.stddev, a.stddev)  # what is uncertain does not depend on how samples are drawn


def disc(colour_outside: int) -> Picture:
    """An orange disc on a transparent ground that hides another colour."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    inside = (y - 15.5) ** 2 + (x - 15.5) ** 2 < 100
    orange = torch.tensor([250, 140, 20], dtype=torch.int32)[:, None, None]
    pixels = torch.where(inside, orange, colour_outside).int()
    return Picture(pixels, 8, (255 * inside[None]).int())


@pytest.mark.parametrize("hidden", [0, 255])
def test_alpha_has_no_halo(model: VSpSR, hidden: int) -> None:
    """The hidden colour does not shine through, and alpha neither rings inside nor leaks outside."""
    result = upscale(disc(hidden), model, samples=1, temperature=0)
    out = result.samples[0]
    assert out.alpha is not None
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    radius = ((y - 63.5) ** 2 + (x - 63.5) ** 2).sqrt()
    assert int(out.alpha[0][radius < 30].min()) >= 247
    assert int(out.alpha[0][radius > 50].max()) <= 8
    visible = out.alpha[0] > 32
    orange = torch.tensor([250, 140, 20])[:, None]
    assert int((out.pixels[:, visible] - orange).abs().max()) <= 12


def test_hidden_colour_may_be_anything_for_a_check() -> None:
    lr = disc(0)
    hr = Picture(torch.full((3, 128, 128), 77, dtype=torch.int32), 8, torch.zeros(1, 128, 128, dtype=torch.int32))
    seen = replace(lr, alpha=torch.zeros_like(lr.alpha))
    assert compare(hr, seen).exact


@pytest.mark.parametrize("kind", ["grey", "RGB"])
def test_no_pixel_is_visible(model: VSpSR, kind: str) -> None:
    """Colours that nobody sees are not searched for: noise of black and white is no downscaled picture."""
    noise = 255 * torch.randint(2, (1 if kind == "grey" else 3, 9, 11), dtype=torch.int32)
    lr = Picture(noise, 8, torch.zeros(1, 9, 11, dtype=torch.int32))
    result = upscale(lr, model, samples=2)
    assert result.exact
    assert all(compare(hr, lr).exact and not hr.alpha.any() for hr in result.samples)


def test_compare_counts_pixels_and_deviation() -> None:
    hr = Picture(torch.full((3, 8, 8), 100, dtype=torch.int32))
    lr = degrade(hr, Degradation(4))
    changed = lr.pixels.clone()
    changed[:, 0, 0] += torch.tensor([3, -5, 0])
    found = compare(hr, replace(lr, pixels=changed))
    assert (found.exact, found.lr_pixels_wrong, found.lr_pixels) == (False, 1, 4)
    assert (found.lr_max_deviation, found.scale, found.bits) == (5, 4, 8)
    assert (found.lr_wrong_rows, found.lr_wrong_columns) == ((0, 0), (0, 0))
    assert found.where == ", within LR rows 0 to 0 and columns 0 to 0"
    assert compare(hr, lr).where == ""
    mse = (9 + 25) / 12
    assert found.lr_psnr == pytest.approx(10 * torch.log10(torch.tensor(255**2 / mse)).item(), abs=1e-4)
    assert compare(hr, lr).lr_psnr == float("inf")


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (picture(4, 4), "HR 48×36 is no integer multiple of LR 4×4: at scale 12 LR would be 4×3"),
        (picture(1, 2), "HR 48×36 downscales to LR 2×1 at scales 36 … 47: give `scale`"),
        (picture(9, 12, channels=1), "HR and LR differ in colour channels: 3 and 1"),
        (picture(9, 12, alpha=True), "HR and LR differ in alpha channel: False and True"),
    ],
)
def test_what_cannot_be_compared_is_named(lr: Picture, message: str) -> None:
    hr = Picture(torch.zeros(3, 36, 48, dtype=torch.int32))
    with pytest.raises(ValueError, match=message):
        compare(hr, lr)


def test_bad_options_are_named(model: VSpSR) -> None:
    for arguments, message in (
        ({"samples": -1}, "`samples` must be .* got -1"),
        ({"samples": 10**9}, "`samples` .* got 1000000000"),
        ({"bits": 12}, "`bits` must be one of auto, 8, 16, got 12"),
        ({"temperature": -1.0}, "`temperature`"),
        ({"seed": -1}, "`seed`"),
        ({"rounding": "up"}, "`rounding` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            upscale(picture(), model, **arguments)  # type: ignore[arg-type]


def test_what_does_not_fit_in_memory_is_refused_at_once(model: VSpSR, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vspsr.images.io.available_memory", lambda: 100_000)
    with pytest.raises(ImageFileError, match=r"12×9 pixels at x4 need about .* GB of memory"):
        upscale(picture(), model)


def test_a_file_is_as_good_as_a_picture(model: VSpSR, tmp_path: Path) -> None:
    lr = picture()
    write_image(tmp_path / "lr.png", lr)
    a, b = upscale(tmp_path / "lr.png", model, samples=1), upscale(lr, model, samples=1)
    assert torch.equal(a.samples[0].pixels, b.samples[0].pixels)
