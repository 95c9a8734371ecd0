"""JPEGs that are recognised by their pixels alone. Pillow makes them."""

import io

import numpy as np
import pytest
import torch
from jpeg_files import coefficients_differ, decoded, saved, small_photo
from PIL import Image
from skimage import data
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.degradation.jpeg import rgb_to_ycc
from vspsr.images.jpeg_comb import grid_offset
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.jpeg_traces import JpegTraces, jpeg_traces

SAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
# As an image editor writes them at its quality "high": not a multiple of libjpeg's.
LUMINANCE = (
    [6, 4, 4, 6, 9, 11, 12, 16],
    [4, 5, 5, 6, 8, 10, 12, 12],
    [4, 5, 5, 6, 10, 12, 14, 19],
    [6, 6, 6, 11, 12, 15, 19, 28],
    [9, 8, 10, 12, 16, 20, 27, 31],
    [11, 10, 12, 15, 20, 27, 31, 31],
    [12, 12, 14, 19, 27, 31, 31, 31],
    [16, 12, 19, 28, 31, 31, 31, 31],
)
CHROMINANCE = (
    [7, 7, 13, 24, 26, 31, 31, 31],
    [7, 12, 16, 21, 31, 31, 31, 31],
    [13, 16, 17, 31, 31, 31, 31, 31],
    [24, 21, 31, 31, 31, 31, 31, 31],
    [26, 31, 31, 31, 31, 31, 31, 31],
    *[[31] * 8] * 3,
)
OWN = [[step for row in table for step in row] for table in (LUMINANCE, CHROMINANCE)]


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize(("subsampling", "sampling"), SAMPLINGS.items())
def test_traces(quality: int, subsampling: str, sampling: tuple[int, int]) -> None:
    content = saved(small_photo(), quality=quality, subsampling=subsampling)
    traces = jpeg_traces(decoded(content))
    assert traces == JpegTraces(quality, sampling)
    code = read_coefficients(content)
    total = sum(c.numel() for c in code.coefficients)
    assert coefficients_differ(traces.coefficients(decoded(content)), code) < (0.05 if quality < 95 else 0.07) * total


def test_grey() -> None:
    assert jpeg_traces(decoded(saved(small_photo()[:1], quality=80))) == JpegTraces(80, (1, 1))


@pytest.mark.parametrize("crop", [(8, 8), (3, 5), (0, 8), (15, 0)])
@pytest.mark.parametrize(("subsampling", "sampling"), SAMPLINGS.items())
def test_crops(crop: tuple[int, int], subsampling: str, sampling: tuple[int, int]) -> None:
    pixels = decoded(saved(small_photo(), quality=75, subsampling=subsampling))
    traces = jpeg_traces(pixels[:, crop[0] :, crop[1] :])
    origin = tuple(-start % (8 * s) for start, s in zip(crop, sampling, strict=True))
    assert traces == JpegTraces(75, sampling, (origin[0], origin[1]))
    height, width = traces.whole((112 - crop[0], 112 - crop[1]))
    assert [n % (8 * s) for n, s in zip((height, width), sampling, strict=True)] == [0, 0]
    assert crop[0] + origin[0] + height == 112


def own_tables(image: Tensor, subsampling: str) -> bytes:
    tables = OWN[: 1 if len(image) == 1 else 2]
    return saved(image, qtables=tables) if len(image) == 1 else saved(image, qtables=tables, subsampling=subsampling)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2"])
def test_tables_of_its_own(subsampling: str) -> None:
    content = own_tables(photo_of_256(), subsampling)
    code = read_coefficients(content)
    traces = jpeg_traces(decoded(content))
    assert traces == JpegTraces(None, SAMPLINGS[subsampling])
    found = traces.coefficients(decoded(content))
    assert torch.equal(found.tables[0], code.tables[0].int())
    for component in range(3):  # the intervals that are assumed contain those of the file
        (low, high), (file_low, file_high) = (bounds(c, component) for c in (found, code))
        assert float(((file_low < low) | (file_high > high)).double().mean()) < 0.04


def bounds(code: object, component: int) -> tuple[Tensor, Tensor]:
    values, steps = code.coefficients[component].double(), code.tables[component].double()  # type: ignore[attr-defined]
    return (values - 0.5) * steps, (values + 0.5) * steps


def photo_of_256() -> Tensor:
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    return Degradation(2).down_integers(image, 8)


def test_columns_and_rows_are_alike() -> None:
    turned = decoded(own_tables(photo_of_256().mT, "4:2:2")).mT  # 4:2:2 on its side is 4:4:0
    assert jpeg_traces(turned) == JpegTraces(None, (2, 1))


def test_little_colour_leaves_the_tables_unknown() -> None:
    grey = photo_of_256()[1:2].expand(3, -1, -1).double()
    pale = (grey + 0.05 * (photo_of_256() - grey)).round()
    traces = jpeg_traces(decoded(own_tables(pale, "4:2:0")))
    assert traces is not None
    assert (traces.quality, traces.estimable) == (None, False)


def test_the_grid_is_found() -> None:
    pixels = decoded(saved(small_photo(), quality=75))
    for row, column in ((0, 0), (3, 5), (7, 1)):
        luminance = rgb_to_ycc(pixels[:, -row % 8 :, -column % 8 :])[0]
        assert grid_offset(luminance) == (row, column)
    assert grid_offset(torch.zeros(16, 16)) == (0, 0)


def clean_pictures() -> dict[str, Tensor]:
    """Pictures that were no JPEG: photos, noise, gradients, patterns, enlarged pixels."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 255, 128)
    plane = (ramp[:, None] + ramp) / 2
    small = small_photo(side=64)
    coarse = torch.randint(0, 8, (3, 48, 48), generator=generator) * 32
    tiles = torch.randint(0, 256, (4, 8, 8), generator=generator)
    chosen = tiles[torch.randint(0, 4, (16, 16), generator=generator)].transpose(1, 2).reshape(1, 128, 128)
    photo = Image.fromarray(data.astronaut()).resize((160, 160), Image.Resampling.LANCZOS)
    made = {
        "photo": small_photo(),
        "another": small_photo(20),
        "too small": torch.zeros(3, 8, 8),
        "flat": torch.full((3, 64, 64), 77),
        "noise": torch.randint(0, 256, (3, 128, 128), generator=generator),
        "ramp": plane.round().expand(3, -1, -1),
        "dithered ramp": (plane + torch.rand(128, 128, generator=generator) - 0.5)
        .round()
        .clamp(0, 255)
        .expand(3, -1, -1),
        "tiles": chosen,
        "posterised": small_photo() // 32 * 32,
        "dithered": torch.from_numpy(np.array(photo.convert("1")))[None] * 255,
        "palette": torch.from_numpy(np.array(photo.quantize(64).convert("RGB"))).permute(2, 0, 1),
    }
    for k in (2, 4, 8):
        made[f"enlarged {k}"] = small.repeat_interleave(k, 1).repeat_interleave(k, 2)[:, :256, :256]
        made[f"levels enlarged {k}"] = coarse.repeat_interleave(k, 1).repeat_interleave(k, 2)
    return made


def test_no_traces() -> None:
    for name, image in clean_pictures().items():
        assert jpeg_traces(image.int()) is None, name
    for array in (data.coffee(), data.chelsea(), data.rocket()):
        image = torch.from_numpy(array.copy()).permute(2, 0, 1)[:, : len(array) // 3 * 3, :300]
        assert jpeg_traces(Degradation(3).down_integers(image, 8)) is None


def test_a_resized_jpeg_has_none() -> None:
    image = Image.open(io.BytesIO(saved(small_photo(), quality=75))).resize((150, 150), Image.Resampling.BICUBIC)
    assert jpeg_traces(torch.from_numpy(np.array(image)).permute(2, 0, 1)) is None
