"""Upscaled JPEGs: each output downscales to a picture that Pillow saves as the file, coefficient for coefficient."""

import io
import json
import warnings
from pathlib import Path

import pytest
import torch
from jpeg_files import differs, photo, saved
from PIL import Image
from spaces import small_model
from typer.testing import CliRunner

from vspsr.cli.main import app
from vspsr.degradation import Degradation
from vspsr.upscaling.folders import Options, upscale_file
from vspsr.upscaling.pictures import upscale

MODEL = small_model(temperature=0.1)


@pytest.mark.parametrize("options", [{"subsampling": "4:4:4"}, {"subsampling": "4:2:0", "progressive": True}, None])
def test_outputs_give_the_file(tmp_path: Path, options: dict[str, object] | None) -> None:
    content = saved(photo(24, 21)[: 1 if options is None else 3], quality=75, **(options or {}))
    (tmp_path / "a.jpg").write_bytes(content)
    result = upscale(tmp_path / "a.jpg", MODEL, samples=2)
    assert result.exact
    assert [e.coefficients_wrong for e in result.exactness] == [0, 0, 0]
    pictures = [*result.samples, result.mean]
    assert all(differs(p.pixels, content) == 0 for p in pictures)
    lr = [Degradation(4).down_integers(p.pixels) for p in pictures]
    assert not torch.equal(lr[0], lr[1])
    pixels = upscale(tmp_path / "a.jpg", MODEL, samples=1, as_pixels=True)
    assert pixels.exactness[0].coefficients_wrong is None


def test_16_bits(tmp_path: Path) -> None:
    content = saved(photo(16, 16), quality=75)
    (tmp_path / "a.jpg").write_bytes(content)
    result = upscale(tmp_path / "a.jpg", MODEL, samples=1, bits=16)
    assert result.exact
    assert differs(result.samples[0].pixels, content, bits=16) == 0


def test_turned_pictures(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(photo(16, 28), quality=75, exif=exif.tobytes())
    (tmp_path / "a.jpg").write_bytes(content)
    result = upscale(tmp_path / "a.jpg", MODEL, samples=1)
    assert result.exact
    assert result.samples[0].size == (4 * 28, 4 * 16)
    assert differs(result.samples[0].pixels.rot90(1, (1, 2)), content) == 0  # back as it is stored


def test_the_report_says_what_was_assumed(tmp_path: Path) -> None:
    content = saved(photo(16, 24), quality=75, subsampling="4:2:0")
    (tmp_path / "a.jpg").write_bytes(content)
    report = upscale_file(tmp_path / "a.jpg", tmp_path, MODEL, "small", Options(samples=1))
    written = json.loads((tmp_path / "a_x4.json").read_text())
    assert written["jpeg"]["subsampling"] == "4:2:0"
    assert written["jpeg"]["tables"][0] == list(Image.open(io.BytesIO(content)).quantization[0])
    assert "JPEG" in written["assumed"]
    assert written["coefficients_wrong"] == report["coefficients_wrong"] == 0
    assert written["outputs"]["a_x4_s00.png"]["coefficients_wrong"] == 0
    again = upscale_file(tmp_path / "a.jpg", tmp_path, MODEL, "small", Options(samples=1))
    assert again["kept"]


def test_check(tmp_path: Path) -> None:
    content = saved(photo(16, 24), quality=75)
    (tmp_path / "a.jpg").write_bytes(content)
    upscale_file(tmp_path / "a.jpg", tmp_path, MODEL, "small", Options(samples=1))
    hr, lr = str(tmp_path / "a_x4_s00.png"), str(tmp_path / "a.jpg")
    run = CliRunner().invoke
    done = run(app, ["check", hr, lr])
    assert done.exit_code == 0
    assert "exact" in done.output
    assert "JPEG's tables" in done.output
    assert run(app, ["check", hr, lr, "--as-pixels"]).exit_code == 3
    result = json.loads(run(app, ["check", hr, lr, "--json"]).output)
    assert result["exact"]
    assert result["coefficients_wrong"] == 0
    Image.open(hr).convert("RGB").point(lambda v: min(v + 9, 255)).save(hr)
    done = run(app, ["check", hr, lr])
    assert done.exit_code == 3
    assert "coefficients wrong" in done.output
    with pytest.raises(ValueError, match="at least 2 times"):
        run(app, ["check", lr, lr], catch_exceptions=False)


@pytest.mark.parametrize("trained", [False, True])
def test_a_network_trained_on_jpegs_gets_the_quantisation(tmp_path: Path, trained: bool) -> None:
    from vspsr import VSpSR

    torch.manual_seed(0)
    (tmp_path / "a.jpg").write_bytes(saved(photo(16, 24), quality=50))
    model = VSpSR("correlated", {"channels": 8, "blocks": 1}, trained_on_jpegs=trained)
    seen = []
    forward = model.network.forward
    model.network.forward = lambda *inputs: seen.append(inputs) or forward(*inputs)  # type: ignore[func-returns-value]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upscale(tmp_path / "a.jpg", model, samples=0)
    (inputs,) = seen
    assert len(inputs) == 1 + trained
    if trained:
        assert inputs[1].shape == (1, 3, 16, 24)
        assert inputs[1].amax() > 0.3
