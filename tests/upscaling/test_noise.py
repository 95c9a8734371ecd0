"""Noisy pictures upscaled: as tight as the noise and no tighter."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from noisy_pictures import noisy_photograph
from PIL import Image
from skimage import data

from vspsr import VSpSR, upscale
from vspsr.cli import reports
from vspsr.cli.options import numbers_or_text
from vspsr.degradation import Degradation
from vspsr.images import write_image
from vspsr.images.picture import Picture
from vspsr.space import JpegSpace
from vspsr.upscaling.folders import upscale_file
from vspsr.upscaling.noise import Denoise, is_denoising
from vspsr.upscaling.saving import Options

SIGMA = 12


def pictures(bits: int = 8) -> tuple[Picture, Picture]:
    """Clean and noisy."""
    hr = torch.from_numpy(data.astronaut()[:128, 128:288].copy()).permute(2, 0, 1)
    clean = Degradation(4).down_integers(hr)
    noise = SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    levels = (clean + noise).clamp(0, 255) * (257 if bits == 16 else 1)
    return Picture(clean), Picture(levels.round().int(), bits)


@pytest.mark.parametrize("bits", [8, 16])
def test_samples_differ_from_the_input_by_its_noise(model: VSpSR, bits: int) -> None:
    noisy = pictures(bits)[1]
    result = upscale(noisy, model, samples=2, denoise=SIGMA / 255, temperature=1.0)
    assert not result.exact
    for picture, exactness in zip(result.samples, result.exactness, strict=False):
        lr = Degradation(4).down(picture.pixels.double())
        residual = float((lr - noisy.pixels).square().mean().sqrt()) / (SIGMA * (257 if bits == 16 else 1))
        assert exactness.noise_ratio == pytest.approx(residual, abs=1e-6)
        assert 0.85 < residual < 1.15
        assert picture.bits == bits


def test_the_mean_is_nearer_to_the_clean_picture(model: VSpSR) -> None:
    clean, noisy = pictures()
    mean = upscale(noisy, model, samples=0, denoise="auto").mean
    lr = Degradation(4).down(mean.pixels.double())
    before, after = (float((x - clean.pixels).square().mean()) for x in (noisy.pixels.double(), lr))
    assert after < 0.7 * before


def test_no_noise_is_the_exact_space(model: VSpSR) -> None:
    clean = pictures()[0]
    exact = upscale(clean, model, samples=1)
    none = upscale(clean, model, samples=1, denoise=(0, 0))
    flat = Picture(torch.full((3, 20, 20), 90, dtype=torch.int32))
    assert torch.equal(none.samples[0].pixels, exact.samples[0].pixels)
    assert upscale(flat, model, samples=1, denoise="auto").exactness[0].noise_ratio is None


def test_grey_and_alpha(model: VSpSR) -> None:
    noisy = pictures()[1]
    alpha = torch.full((1, *noisy.size), 200, dtype=torch.int32)
    result = upscale(Picture(noisy.pixels[:1], alpha=alpha), model, samples=1, denoise=0.05)
    assert result.samples[0].is_grey
    assert result.samples[0].alpha is not None
    assert (result.samples[0].alpha == 200).all()


def test_the_report(model: VSpSR, tmp_path: Path) -> None:
    array = pictures()[1].to_array()
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(array).save(tmp_path / "b.jpg", quality=90)
    for name, denoise in (("a.png", "auto"), ("b.jpg", SIGMA / 255)):
        upscale_file(tmp_path / name, tmp_path, model, "m", Options(samples=1, denoise=denoise))
        report = json.loads((tmp_path / f"{name[0]}_x4.json").read_text())
        assert "noise of" in report["assumed"]
        assert np.allclose(report["noise"], SIGMA / 255, rtol=0.2)
        assert report["jpeg"] is None
        assert report["noise_gain"] == [0, 0, 0]
        assert 0.7 < report["outputs"][f"{name[0]}_x4_s00.png"]["noise_ratio"] < 1.3


def test_a_jpeg_without_noise_keeps_to_its_coefficients(model: VSpSR, tmp_path: Path) -> None:
    Image.fromarray(pictures()[0].to_array()).save(tmp_path / "a.jpg", quality=75)
    report = upscale_file(tmp_path / "a.jpg", tmp_path, model, "m", Options(samples=1, denoise="auto"))
    assert report["assumed"].startswith("no noise found, JPEG 4:2:0: ")
    assert report["noise"] is report["noise_gain"] is None
    assert report["jpeg"] is not None
    assert reports.exactness(report).endswith("this JPEG (4:2:0, no noise found)")
    result = upscale(tmp_path / "a.jpg", model, samples=1, denoise="auto")
    assert isinstance(result.space, JpegSpace)


def test_photon_noise(model: VSpSR, tmp_path: Path) -> None:
    """16 bits, found and given; black stays without noise."""
    y = noisy_photograph("coffee", 0, 0.01, scale=1, bits=16)[1][:, 60:150, 320:440]
    picture = Picture((65535 * y).round().int(), 16)
    write_image(tmp_path / "a.tif", picture)
    for denoise in ("auto", (0.0, 0.01)):
        options = Options(samples=1, denoise=denoise, temperature=1.0, overwrite=True)
        report = upscale_file(tmp_path / "a.tif", tmp_path, model, "m", options)
        written = json.loads((tmp_path / "a_x4.json").read_text())
        assert "levels of 255 in black and " in written["assumed"]
        assert max(written["noise_gain"]) == pytest.approx(0.01, rel=0.3)
        assert 0.8 < report["outputs"]["a_x4_s00.png"]["noise_ratio"] < 1.2
    assert written["denoise"] == [0.0, 0.01]
    assert written["assumed"].endswith("noise of 0.0 levels of 255 in black and 25.5 in white")
    assert upscale_file(tmp_path / "a.tif", tmp_path, model, "m", replace(options, overwrite=False))["kept"]
    black = Picture(torch.zeros(3, 16, 16, dtype=torch.int32))
    assert upscale(black, model, samples=1, denoise=(0.0, 0.01)).exactness[0].noise_ratio == 0


@pytest.mark.parametrize(
    "denoise", ["much", "", -0.1, 1.5, float("nan"), (), (0.1,), (0.1, 2.0), (0.1, -0.1), (0.1, 0.1, 0.1), (0.1, "a")]
)
def test_strengths_that_make_no_sense(denoise: Denoise) -> None:
    with pytest.raises(ValueError, match="denoise"):
        Options(denoise=denoise)


def test_what_means_no_noise() -> None:
    assert not any(is_denoising(d) for d in (None, 0, 0.0, (0, 0)))
    assert all(is_denoising(d) for d in ("auto", 0.1, (0, 0.1), [0.1, 0]))


@pytest.mark.parametrize(
    ("text", "wanted"), [(None, None), ("auto", "auto"), ("0.1", 0.1), ("0.1,0.02", (0.1, 0.02)), ("0.1,", "0.1,")]
)
def test_how_the_option_is_read(text: str | None, wanted: Denoise) -> None:
    assert numbers_or_text(text) == wanted


def test_coefficients_or_pixels() -> None:
    for other in ({"denoise": 0.1}, {"denoise": "auto"}, {"as_pixels": True}):
        with pytest.raises(ValueError, match="exclude each other"):
            Options(was_jpeg=True, **other)  # type: ignore[arg-type]
