"""Pictures from arrays and PIL images: the same as from a file that Pillow has written of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import noise
from PIL import Image, ImageCms

from vspsr.images.io import read_image
from vspsr.images.picture import Picture
from vspsr.images.sources import AnyImage, source_of

RGB = Image.fromarray(noise(3))
IMAGES = {
    "1": RGB.convert("1"),
    "L": RGB.convert("L"),
    "LA": RGB.convert("LA"),
    "P": RGB.quantize(16),
    "RGB": RGB,
    "RGBA": Image.fromarray(noise(4)),
    "I;16": Image.fromarray(noise(1, 16)[..., 0]),
}


def picture_of(image: AnyImage) -> Picture:
    return source_of(image).picture


def assert_same(a: Picture, b: Picture) -> None:
    assert a.bits == b.bits
    assert torch.equal(a.pixels, b.pixels)
    assert (a.alpha is None) == (b.alpha is None)
    assert a.alpha is None or torch.equal(a.alpha, b.alpha)


@pytest.mark.parametrize("mode", IMAGES)
def test_pil_images_are_as_their_files(mode: str, tmp_path: Path) -> None:
    IMAGES[mode].save(tmp_path / "a.png")
    assert_same(picture_of(IMAGES[mode]), read_image(tmp_path / "a.png"))
    assert_same(picture_of(Image.open(tmp_path / "a.png")), read_image(tmp_path / "a.png"))


def test_transparent_colours(tmp_path: Path) -> None:
    IMAGES["P"].save(tmp_path / "a.png", transparency=3)
    assert_same(picture_of(Image.open(tmp_path / "a.png")), read_image(tmp_path / "a.png"))


def test_the_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    RGB.save(tmp_path / "a.png", icc_profile=profile)
    assert picture_of(Image.open(tmp_path / "a.png")).metadata["icc-profile-data"] == profile


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_arrays_come_back(bits: int, bands: int) -> None:
    array = noise(bands, bits)
    same = array[..., 0] if bands == 1 else array
    assert np.array_equal(picture_of(array).to_array(), same)
    assert np.array_equal(picture_of(array[..., 0]).to_array(), array[..., 0])
    assert np.array_equal(picture_of(array[::-1, ::2]).to_array(), same[::-1, ::2])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (3, 4)])
def test_pillow_takes_the_arrays_of_all_that_it_gives(mode: str, size: tuple[int, int]) -> None:
    bands, bits = (1, 16) if mode == "I;16" else (len(mode), 8)
    image = Image.fromarray(
        noise(bands, bits)[: size[0], : size[1]].squeeze(2) if bands == 1 else noise(bands)[: size[0], : size[1]]
    )
    found = Image.fromarray(picture_of(image).to_array())
    assert (found.mode, found.size) == (mode, size[::-1])
    assert np.array_equal(np.asarray(found), np.asarray(image))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5, 3)), np.zeros((4, 5), np.int64), np.zeros((4, 5, 5), np.uint8), np.zeros((0, 5), np.uint8)],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="`image` must be"):
        picture_of(array)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint32", "float16", "float32", "float64", "bool"])
def test_the_error_about_a_type_says_how_to_convert_it(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"array of {dtype}: ") as refused:
        picture_of(np.zeros((4, 5, 3), dtype))
    assert "use `.astype(numpy.uint8)`" in str(refused.value)
    assert ("round" in str(refused.value)) == (not np.issubdtype(dtype, np.integer))


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="CMYK"):
        picture_of(RGB.convert("CMYK"))
