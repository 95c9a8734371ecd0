"""What is assumed of an image file: a JPEG's coefficients, or pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from jpeg_files import coefficients_differ, decoded, photo, saved, small_photo
from PIL import Image

from vspsr.errors import ImageFileError
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.sources import lossy_format, read_source, source_of


def test_jpeg_by_any_name(tmp_path: Path) -> None:
    content = saved(photo(24, 32), quality=70, subsampling="4:2:0")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    source = read_source(path)
    assert source.jpeg is not None
    assert coefficients_differ(source.jpeg, read_coefficients(content)) == 0
    assert "4:2:0" in source.note
    pixels = read_source(path, as_pixels=True)
    assert pixels.jpeg is None
    assert torch.equal(pixels.picture.pixels, source.picture.pixels)
    assert "JPEG" in pixels.note


def test_lossy_formats_are_named(tmp_path: Path) -> None:
    image = Image.fromarray(photo(24, 32).permute(1, 2, 0).numpy())
    made = {
        "a.webp": ("lossy WebP", {"quality": 80}),
        "b.webp": (None, {"lossless": True}),
        "a.avif": ("AVIF", {}),
        "a.tif": ("JPEG in a TIFF", {"compression": "jpeg"}),
        "b.tif": (None, {}),
        "a.png": (None, {}),
        "a.jpg": ("JPEG", {}),
    }
    for name, (expected, options) in made.items():
        image.save(tmp_path / name, **options)
        assert lossy_format(tmp_path / name) == expected, name
        if name != "a.jpg":
            source = read_source(tmp_path / name)
            assert source.jpeg is None
            assert source.note.startswith(expected) if expected else source.note == ""
            assert source.exact is (expected is None)
    alpha = np.dstack([np.asarray(image), np.full((24, 32), 128, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.webp", quality=80)  # an extended file: other chunks come first
    assert lossy_format(tmp_path / "alpha.webp") == "lossy WebP"


def test_what_has_no_coefficients_is_taken_as_pixels(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16)).save(tmp_path / "a.jpg")
    source = read_source(tmp_path / "a.jpg")
    assert source.jpeg is None
    assert "CMYK" in source.note
    assert "exact" in source.note


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = saved(photo(64, 64))
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageFileError, match=r"a\.jpg"):
        read_source(tmp_path / "a.jpg")


def test_pixels_that_were_a_jpeg(tmp_path: Path) -> None:
    content, path = saved(small_photo(), quality=80, subsampling="4:4:4"), tmp_path / "a.png"
    Image.fromarray(decoded(content).permute(1, 2, 0).numpy()).save(path)
    source = read_source(path)
    assert source.jpeg is None
    assert "quality 80" in source.note
    assert "--was-jpeg" in source.note
    assert not source.exact
    assert read_source(path, as_pixels=True).note == ""
    wanted = read_source(path, was_jpeg=True)
    assert wanted.jpeg is not None
    assert "quality 80" in wanted.note
    Image.fromarray(small_photo().byte().permute(1, 2, 0).numpy()).save(path)
    assert read_source(path).note == ""
    clean = read_source(path, was_jpeg=True)
    assert "no traces" in clean.note
    assert clean.exact


def test_opaque_alpha_hides_no_traces(tmp_path: Path) -> None:
    content, path = saved(small_photo(), quality=75), tmp_path / "a.png"
    image = Image.fromarray(decoded(content).permute(1, 2, 0).numpy()).convert("RGBA")
    image.save(path)
    source = read_source(path)
    assert "quality 75" in source.note
    assert source.picture.alpha is not None
    wanted = read_source(path, was_jpeg=True)
    assert wanted.jpeg is not None
    assert "alpha" in wanted.note
    assert (wanted.picture.alpha, wanted.picture.mode) == (None, "RGB")
    image.putpixel((0, 0), (0, 0, 0, 128))
    image.save(path)
    assert "no traces" in read_source(path, was_jpeg=True).note


def test_a_palette_hides_no_traces(tmp_path: Path) -> None:
    grey = Image.fromarray(decoded(saved(small_photo()[:1], quality=75))[0].numpy())
    image = grey.convert("P")
    image.putpalette([level for level in range(256) for _ in range(3)])
    image.save(tmp_path / "a.png")
    assert "quality 75" in read_source(tmp_path / "a.png").note
    assert read_source(tmp_path / "a.png", was_jpeg=True).jpeg is not None


def test_what_cannot_be_estimated_is_named(tmp_path: Path) -> None:
    pixels, path = (
        decoded(saved(small_photo(), quality=75, subsampling="4:2:0")).permute(1, 2, 0).numpy(),
        tmp_path / "a.png",
    )
    Image.fromarray(pixels[5:, 3:]).save(path)
    for wanted in (False, True):
        source = read_source(path, was_jpeg=wanted)
        assert source.jpeg is None
        assert "96×96 pixels from column 13, row 11" in source.note
        assert ("exact" in source.note) == wanted
    Image.fromarray(pixels[16:, 16:]).save(path)  # cropped as the note says
    assert read_source(path, was_jpeg=True).jpeg is not None


def test_transparency_of_every_mode_of_pillow() -> None:
    """As the file that Pillow writes of it is read."""
    rgba = np.full((7, 9, 4), 120, np.uint8)
    rgba[:, :4, 3] = 0
    rgba[:, 4:, 3] = 255
    whole, deep = Image.fromarray(rgba), Image.fromarray((np.arange(64).reshape(8, 8) * 900).astype(np.uint16))
    pictures = {
        "P with RGBA": whole.quantize(16),
        "P with one": whole.convert("RGB").quantize(4),
        "L": whole.convert("L"),
        "RGB": whole.convert("RGB"),
        "LA": whole.convert("LA"),
        "PA": whole.convert("PA"),
        "I;16": deep,
    }
    keys = {"P with one": 0, "L": 120, "RGB": (120, 120, 120), "I;16": 900}
    for name, image in pictures.items():
        file = io.BytesIO()
        image.save(file, "TIFF" if name == "PA" else "PNG", **({"transparency": keys[name]} if name in keys else {}))
        if name in keys:
            image.info["transparency"] = keys[name]
        found, wanted = source_of(image).picture, source_of(file.getvalue()).picture
        assert found.alpha is not None, name
        if name == "PA":
            assert int(found.alpha.min()) == 0
            continue
        assert wanted.alpha is not None, name
        assert torch.equal(found.alpha, wanted.alpha), name
        seen = found.alpha.expand_as(found.pixels) > 0
        assert torch.equal(found.pixels[seen], wanted.pixels.expand_as(found.pixels)[seen]), name
