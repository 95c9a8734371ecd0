"""What is saved: formats, resolution, provenance, trees of folders, pipes."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import can_save
from kill_points import small_model
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from vspsr import VSpSR, read_image, upscale, write_image
from vspsr.cli.main import app
from vspsr.errors import ImageFileError, OutputError
from vspsr.images.picture import Picture
from vspsr.images.provenance import pixels_digest, provenance
from vspsr.images.sources import read_source
from vspsr.upscaling import compare
from vspsr.upscaling.folders import input_files, upscale_file, upscale_files
from vspsr.upscaling.intervals import model_digest
from vspsr.upscaling.models import Models
from vspsr.upscaling.saving import Options, upscale_stream
from vspsr.version import __version__

ARRAY = data.astronaut()[100:112, 150:164].copy()


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return small_model()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(ARRAY).save(tmp_path / "photo.png", dpi=(100, 50))
    return tmp_path / "photo.png"


@pytest.mark.parametrize("name", ["jpeg", "webp", "tiff", "avif"])
def test_formats(name: str, photo: Path, model: VSpSR, tmp_path: Path) -> None:
    suffix = {"jpeg": "jpg", "tiff": "tif"}.get(name, name)
    if name == "avif" and not can_save(".avif"):
        pytest.skip("this libvips has no AVIF codec")
    options = Options(samples=2, mean=True, contact_sheet=True, format=name)
    report = upscale_file(photo, tmp_path / "o", model, "m", options) if (tmp_path / "o").mkdir() is None else {}
    names = {f"photo_x2_s00.{suffix}", f"photo_x2_s01.{suffix}", f"photo_x2_mean.{suffix}", "photo_x2_sheet.png"}
    assert set(report["outputs"]) == names
    assert report["samples"] == 2
    exact = upscale(photo, model, samples=2).samples
    for picture, path in zip(exact, sorted((tmp_path / "o").glob(f"*_s0?.{suffix}")), strict=True):
        with Image.open(path) as image:
            assert image.format == {"webp": "WEBP"}.get(name, name.upper())
            error = np.abs(np.asarray(image.convert("RGB")).astype(int) - picture.to_array()).mean()
        assert (error == 0) == (name == "tiff")
        assert error < 3
    assert upscale_file(photo, tmp_path / "o", model, "m", options)["kept"]
    assert ("before it was saved" in report["exact_until"]) == (name != "tiff")
    with pytest.raises(OutputError, match=f"format = '{name}'"):
        upscale_file(photo, tmp_path / "o", model, "m", Options(samples=2))
    if name != "tiff":
        with pytest.raises(OutputError, match="quality = 95"):
            upscale_file(photo, tmp_path / "o", model, "m", replace(options, quality=50))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "jpg"}, "did you mean `jpeg`"),
        ({"format": "jpeg", "bits": 16}, "holds 8 bits"),
        ({"format": "png", "quality": 90}, "lose nothing"),
        ({"format": "webp", "quality": 0}, "at least 1"),
    ],
)
def test_options_that_do_not_go_together(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Options(**arguments)  # type: ignore[arg-type]


def test_pictures_that_a_format_cannot_hold(model: VSpSR, tmp_path: Path) -> None:
    planes = torch.from_numpy(ARRAY.transpose(2, 0, 1).astype(np.int32))
    write_image(tmp_path / "alpha.png", Picture(planes, alpha=planes[:1]))
    write_image(tmp_path / "deep.png", Picture(planes * 257, 16))
    (tmp_path / "o").mkdir()
    for name, words in (("alpha.png", "holds no alpha"), ("deep.png", "holds 8 bits, the picture has 16")):
        with pytest.raises(OutputError, match=words):
            upscale_file(tmp_path / name, tmp_path / "o", model, "m", Options(samples=1, format="jpeg"))
    assert not list((tmp_path / "o").iterdir())
    upscale_file(tmp_path / "deep.png", tmp_path / "o", model, "m", Options(samples=1, format="jpeg", bits=8))
    upscale_file(tmp_path / "alpha.png", tmp_path / "o", model, "m", Options(samples=1, format="webp"))


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "webp"])
def test_print_size(name: str, photo: Path, model: VSpSR, tmp_path: Path) -> None:
    for keep, dpi in ((False, (100, 50)), (True, (200, 100))):
        folder = tmp_path / str(keep)
        folder.mkdir()
        upscale_file(photo, folder, model, "m", Options(samples=1, format=name, keep_print_size=keep))
        (path,) = folder.glob("*_s00.*")
        with Image.open(path) as image:
            exif = image.getexif()
            found = (exif[0x011A], exif[0x011B]) if name in ("jpeg", "webp") else image.info["dpi"]
        np.testing.assert_allclose([float(x) for x in found], dpi, atol=0.6)


def test_print_size_in_exif_and_xmp(model: VSpSR, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 100.0, 100.0, 2
    head = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    xmp = f'{head}<rdf:Description tiff:XResolution="100/1" tiff:Make="me"/></rdf:RDF></x:xmpmeta>'
    Image.fromarray(ARRAY).save(tmp_path / "a.jpg", exif=exif, xmp=xmp.encode(), dpi=(100, 100), quality=95)
    options = Options(samples=1, as_pixels=True, keep_print_size=True, format="jpeg")
    upscale_file(tmp_path / "a.jpg", tmp_path, model, "m", options)
    with Image.open(tmp_path / "a_x2_s00.jpg") as image:
        assert float(image.getexif()[0x011A]) == pytest.approx(200, abs=0.6)
        assert b"XResolution" not in image.info["xmp"]
        assert b'tiff:Make="me"' in image.info["xmp"]


def test_provenance(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "secret" / "mine")
    named = str(tmp_path / "secret" / "mine")
    upscale_file(photo, tmp_path, model, named, Options(samples=2, seed=7, mean=True, temperature=0.5))
    common = {
        "Software": f"vspsr {__version__}",
        "Model": "mine",
        "ModelDigest": model_digest(model),
        "Scale": "2",
        "LrDigest": pixels_digest(read_image(photo)),
    }
    sample = provenance(read_image(tmp_path / "photo_x2_s01.png"))
    assert sample == common | {"Sample": "1", "Seed": "7", "Temperature": "0.5"}
    assert provenance(read_image(tmp_path / "photo_x2_mean.png")) == common | {"Sample": "mean"}
    assert b"secret" not in (tmp_path / "photo_x2_s01.png").read_bytes()


def tree(tmp_path: Path, photo: Path) -> Path:
    for name in ("a.png", "sub/a.png", "sub/deep/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "in" / name)
    return tmp_path / "in"


def test_trees(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    top, out = tree(tmp_path, photo), tmp_path / "out"
    (top / "sub" / "a.tif").symlink_to(top / "sub" / "a.png")
    files = input_files([top, photo], out, recursive=True)
    models = Models("m", load=lambda _: model)
    reports = list(upscale_files(files, out, models, Options(samples=1)))
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*.png"))
    wanted = ["a_x2_s00.png", "photo_x2_s00.png", "sub/a_x2_s00.png", "sub/deep/b_x2_s00.png"]
    assert made == wanted
    assert [r["error"].partition(": ")[2][:31] for r in reports if "error" in r] == ["its outputs would be named as t"]
    assert sum(r.get("kept", False) for r in upscale_files(files, out, models, Options(samples=1))) == 4


def test_outputs_within_the_tree_are_refused(photo: Path, tmp_path: Path) -> None:
    top = tree(tmp_path, photo)
    for out in (top, top / "out", top / "sub" / ".." / "new"):
        with pytest.raises(ValueError, match="another folder"):
            input_files([top], out, recursive=True)
    assert len(input_files([top], top / "out")) == 1


def run(arguments: Sequence[object], content: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vspsr.cli", "upscale", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, cwd=folder, check=False, timeout=300)


def test_a_pipe(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    content = photo.read_bytes()
    done = run(["-", "-o", "-", "--model", "m", "--seed", 3, "--format", "jpeg"], content, tmp_path)
    assert done.returncode in (0, 3), done.stderr
    assert Image.open(io.BytesIO(done.stdout)).format == "JPEG"
    assert b"before it was saved as jpeg" in done.stderr
    wanted, _ = upscale_stream(content, model, "m", Options(samples=1, seed=3, format="jpeg"))
    assert done.stdout[-2000:] == wanted[-2000:]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "photo.png"]
    assert run(["-", "--model", "m", "--seed", 3, "--format", "jpeg"], content, tmp_path).stdout == done.stdout
    bad = run(["-", "-o", "-", "--model", "m"], b"no image", tmp_path)
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr.count(b"\n") == 1
    assert b"image data: not an image file" in bad.stderr


def test_a_stream_is_the_file(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    upscale_file(photo, tmp_path, model, "m", Options(samples=1, mean=True))
    for options, name in ((Options(samples=1), "s00"), (Options(samples=0, mean=True), "mean")):
        content, report = upscale_stream(photo, model, "m", options)
        assert content == (tmp_path / f"photo_x2_{name}.png").read_bytes()
        assert content == upscale_stream(photo.read_bytes(), model, "m", options)[0]
        record = json.loads((tmp_path / "photo_x2.json").read_text())["outputs"][f"photo_x2_{name}.png"]
        assert report["lr_values_wrong"] == record["lr_values_wrong"]
    for more in ({"samples": 2}, {"samples": 1, "mean": True}, {"samples": 1, "stddev": True}, {"samples": 0}):
        with pytest.raises(ValueError, match=r"standard output|leave it out"):
            upscale_stream(photo, model, "m", Options(**more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-", "-o", "out"], "needs `-o -`"),
        (["a.png", "b.png", "-o", "-"], "give one image file"),
        ([".", "-o", "-"], "give one image file"),
        (["a.png", "-o", "-", "--json"], "leave out --recursive and --json"),
    ],
)
def test_pipes_that_make_no_sense(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        CliRunner().invoke(app, ["upscale", *arguments], catch_exceptions=False)


def test_whatever_python_has(photo: Path, model: VSpSR) -> None:
    wanted = upscale(photo, model, samples=1).samples[0]
    for image in (str(photo), photo.read_bytes(), read_image(photo), ARRAY, Image.fromarray(ARRAY)):
        assert torch.equal(upscale(image, model, samples=1).samples[0].pixels, wanted.pixels)
    grey = upscale(ARRAY[..., 0], model, samples=1)
    assert grey.samples[0].is_grey
    assert compare(grey.samples[0], Picture(torch.from_numpy(ARRAY[..., 0].astype(np.int32))[None])).exact
    with pytest.raises(ValueError, match="got Tensor"):
        upscale(torch.zeros(3, 4, 4), model)  # type: ignore[arg-type]
    with pytest.raises(ImageFileError, match="image data: is empty"):
        upscale(b"", model)


def test_jpeg_bytes_are_taken_as_their_file(tmp_path: Path) -> None:
    Image.fromarray(ARRAY).save(tmp_path / "a.jpg", quality=75)
    for_bytes, for_path = read_source((tmp_path / "a.jpg").read_bytes()), read_source(tmp_path / "a.jpg")
    assert for_bytes.jpeg is not None
    assert for_path.jpeg is not None
    assert for_bytes.jpeg.description() == for_path.jpeg.description()
    assert all(map(torch.equal, for_bytes.jpeg.coefficients, for_path.jpeg.coefficients))
