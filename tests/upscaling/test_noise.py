"""Noisy pictures upscaled: as tight as the noise and no tighter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from vspsr import VSpSR, upscale
from vspsr.degradation import Degradation
from vspsr.images.picture import Picture
from vspsr.upscaling.folders import upscale_file
from vspsr.upscaling.saving import Options

SIGMA = 12


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return VSpSR.from_pretrained("vspsr-x4")


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
    none = upscale(clean, model, samples=1, denoise=0)
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
        assert 0.7 < report["outputs"][f"{name[0]}_x4_s00.png"]["noise_ratio"] < 1.3


@pytest.mark.parametrize("denoise", ["much", -0.1, 1.5, float("nan")])
def test_strengths_that_make_no_sense(denoise: float | str) -> None:
    with pytest.raises(ValueError, match="denoise"):
        Options(denoise=denoise)


def test_coefficients_or_pixels() -> None:
    for other in ({"denoise": 0.1}, {"denoise": "auto"}, {"as_pixels": True}):
        with pytest.raises(ValueError, match="exclude each other"):
            Options(was_jpeg=True, **other)  # type: ignore[arg-type]
