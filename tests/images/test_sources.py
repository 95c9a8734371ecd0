"""What is assumed of an image file: a JPEG's coefficients, or pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jpeg_files import coefficients_differ, decoded, photo, saved
from PIL import Image
from torch import Tensor

from vspsr.degradation import imresize
from vspsr.errors import ImageFileError
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.jpeg_traces import jpeg_traces
from vspsr.images.sources import lossy_format, read_source


def small(seed: int = 0) -> Tensor:
    """A picture of 112×112 pixels with detail, integers."""
    image = imresize(photo(448, 448, top=seed, left=seed).double() / 255, scale=1 / 4)
    return image.mul(255).round().clamp(0, 255)


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


@pytest.mark.parametrize("quality", [50, 75, 90])
@pytest.mark.parametrize(("subsampling", "sampling"), [("4:4:4", (1, 1)), ("4:2:0", (2, 2))])
def test_traces(quality: int, subsampling: str, sampling: tuple[int, int]) -> None:
    content = saved(small(), quality=quality, subsampling=subsampling)
    traces = jpeg_traces(decoded(content))
    assert traces is not None
    assert (traces.quality, traces.sampling) == (quality, sampling)
    code = read_coefficients(content)
    total = sum(c.numel() for c in code.coefficients)
    assert coefficients_differ(traces.coefficients(decoded(content)), code) < 0.05 * total


def test_no_traces() -> None:
    for image in (small(), small(20), torch.zeros(3, 8, 8), torch.zeros(1, 64, 64), decoded(saved(small()))[:, 1:, 3:]):
        assert jpeg_traces(image) is None
    assert jpeg_traces(decoded(saved(small()[:1], quality=80))) is not None


def test_pixels_that_were_a_jpeg(tmp_path: Path) -> None:
    content, path = saved(small(), quality=80, subsampling="4:4:4"), tmp_path / "a.png"
    Image.fromarray(decoded(content).permute(1, 2, 0).numpy()).save(path)
    source = read_source(path)
    assert source.jpeg is None
    assert "quality 80" in source.note
    assert "--was-jpeg" in source.note
    assert read_source(path, as_pixels=True).note == ""
    wanted = read_source(path, was_jpeg=True)
    assert wanted.jpeg is not None
    assert "quality 80" in wanted.note
    Image.fromarray(small().byte().permute(1, 2, 0).numpy()).save(path)
    assert read_source(path).note == ""
    assert "no traces" in read_source(path, was_jpeg=True).note
