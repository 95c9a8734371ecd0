"""Photographs that are damaged, rare or not what their names say: one line each, and nothing is lost."""

import io
import tempfile
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from jpeg_files import photo, saved
from kill_points import small_model
from PIL import Image

from vspsr import VSpSR, read_image
from vspsr.cli.main import app
from vspsr.errors import ImageFileError
from vspsr.images.sources import read_source
from vspsr.upscaling.folders import Report, input_files, upscale_files
from vspsr.upscaling.models import Models
from vspsr.upscaling.saving import Options

PHOTO = photo(24, 32)
ARRAY = PHOTO.permute(1, 2, 0).numpy()
FILE = saved(PHOTO, quality=80)


def patched(marker: bytes, offset: int, value: bytes) -> bytes:
    place = FILE.index(marker) + offset
    return FILE[:place] + value + FILE[place + len(value) :]


def arithmetic() -> bytes:
    """A file with arithmetic coding, by libjpeg 9."""
    with jpeglib.version("9f"), tempfile.TemporaryDirectory() as folder:
        jpeglib.from_spatial(ARRAY.copy()).write_spatial(f"{folder}/a.jpg", qt=80, flags=["+ARITH_CODE"])
        return Path(f"{folder}/a.jpg").read_bytes()


def saved_as(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(ARRAY).save(file, name, **options)
    return file.getvalue()


def deep() -> bytes:
    file = io.BytesIO()
    Image.fromarray(ARRAY[..., 0].astype(np.uint16) * 257).save(file, "PNG")
    return file.getvalue()


REFUSED = {
    "half.jpg": FILE[: len(FILE) // 2],
    "half-with-end.jpg": FILE[: len(FILE) // 2] + b"\xff\xd9",
    "no-quantisation-table.jpg": patched(b"\xff\xc0", 12, b"\x03"),
    "wrong-code.jpg": patched(b"\xff\xc4", 5, b"\xff\xff\xff\xff"),
    "head.jpg": FILE[:30],
    "half.png": saved_as("PNG")[:900],
}
READ = {
    "renamed.png": (FILE, "JPEG 4:2:0"),
    "tiff.tif": (saved_as("TIFF", compression="jpeg"), "JPEG in a TIFF: its decoded pixels"),
    "deep.png": (deep(), ""),
    "good.jpg": (saved(PHOTO, quality=60, progressive=True), "JPEG 4:2:0"),
}


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return small_model()


def run(folder: Path, out: Path, model: VSpSR) -> tuple[list[Report], list[str]]:
    lines: list[str] = []
    files = input_files([folder], out)
    models = Models("m", load=lambda _: model)
    return list(upscale_files(files, out, models, Options(samples=1), on_error=lambda _, t: lines.append(t))), lines


def test_one_line_each_and_the_rest_is_done(model: VSpSR, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, content in REFUSED.items():
        (folder / name).write_bytes(content)
    for name, (content, _) in READ.items():
        (folder / f"read-{name}").write_bytes(content)
    reports, lines = run(folder, out, model)
    assert {Path(line.partition(": ")[0]).name for line in lines} == set(REFUSED)
    assert len(lines) == len(REFUSED)
    for line in lines:
        assert line.startswith(str(folder))
        assert "\n" not in line
    done = {Path(r["input"]).name: r for r in reports if "error" not in r}
    assert sorted(done) == sorted(f"read-{name}" for name in READ)
    for name, (_, note) in READ.items():
        report = done[f"read-{name}"]
        assert report["assumed"].startswith(note), name
        assert (report["jpeg"] is not None) == note.startswith("JPEG 4"), name
        assert report["lr_values_wrong"] == 0 or name == "tiff.tif"
    assert read_image(out / "read-deep_x2_s00.png").bits == 16
    assert not list(out.glob("half*"))


def test_what_was_there_stays(model: VSpSR, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(FILE)
    run(folder, out, model)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    for content in REFUSED.values():
        (folder / "a.jpg").write_bytes(content)
        _, lines = run(folder, out, model)
        assert len(lines) == 1
        assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_arithmetic_coding(model: VSpSR, tmp_path: Path) -> None:
    """Refused, or taken as pixels where this libjpeg decodes it: with one line in either case."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    content = arithmetic()
    assert b"\xff\xc9" in content or b"\xff\xca" in content
    (folder / "a.jpg").write_bytes(content)
    (report,), lines = run(folder, out, model)
    if lines:
        assert lines == [report["error"]]
        assert not list(out.iterdir())
    else:
        assert "arithmetic coding" in report["assumed"]
        assert report["jpeg"] is None


@pytest.mark.parametrize("name", REFUSED)
def test_check_refuses_them_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(REFUSED[name])
    (tmp_path / "hr.png").write_bytes(saved_as("PNG"))
    with pytest.raises(ImageFileError) as error:
        app(["check", str(tmp_path / "hr.png"), str(tmp_path / name)], standalone_mode=False)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("a.jpg", arithmetic(), "arithmetic coding"), ("a.tif", READ["tiff.tif"][0], "JPEG in a TIFF")],
)
def test_check_says_what_it_assumes(
    name: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    Image.fromarray(ARRAY.repeat(2, 0).repeat(2, 1)).save(tmp_path / "hr.png")
    app(["check", str(tmp_path / "hr.png"), str(tmp_path / name)], standalone_mode=False)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (patched(b"\xff\xdb", 9, b"\0"), "quantisation table"),  # a step of 0
        (patched(b"\xff\xc4", 0, b"\xff\xfe"), "Huffman table"),  # missing: decoders take the standard one
    ],
)
def test_tables_that_only_decoders_accept(content: bytes, words: str) -> None:
    source = read_source(content)
    assert source.jpeg is None
    assert words in source.note
    assert "taken as exact, which they are not" in source.note
