"""A few JPEG files of other encoders than Pillow's: outputs give them, coefficient for coefficient.

`benchmarks/jpeg_files.py` does the same for 200 files.
"""

from pathlib import Path

import jpeglib
import numpy as np
import pytest
import pyvips
from jpeg_files import coefficients_differ, photo, saved_as
from spaces import small_model

from vspsr.degradation import Degradation
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.sources import read_source
from vspsr.upscaling import PictureSpace

MODEL = small_model(temperature=0.1)


def libjpeg(version: str, array: np.ndarray, path: Path, quality: int, subsampling: str) -> bytes:
    with jpeglib.version(version):
        made = jpeglib.from_spatial(array.copy())
        if array.shape[2] == 3:
            made.samp_factor = subsampling
        made.write_spatial(str(path), qt=quality)
    return path.read_bytes()


def libvips(array: np.ndarray, quality: int) -> bytes:
    image = pyvips.Image.new_from_memory(array.tobytes(), array.shape[1], array.shape[0], array.shape[2], "uchar")
    image = image.copy(interpretation="srgb")
    return bytes(image.jpegsave_buffer(Q=quality, subsample_mode="on", trellis_quant=True, restart_interval=2))


@pytest.mark.parametrize("encoder", ["mozjpeg403", "6b", "9f", "libvips"])
@pytest.mark.parametrize(("quality", "subsampling"), [(40, "4:2:0"), (85, "4:2:2"), (75, "grey")])
def test_outputs_give_the_file(encoder: str, quality: int, subsampling: str, tmp_path: Path) -> None:
    image = photo(23, 30)[: 1 if subsampling == "grey" else 3]
    array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    if encoder != "libvips":
        content = libjpeg(encoder, array, tmp_path / "a.jpg", quality, subsampling)
    elif subsampling == "4:2:0":
        content = libvips(array, quality)
    else:
        pytest.skip("libvips chooses the subsampling")
    source = read_source(content)
    assert source.jpeg is not None
    assert source.jpeg.subsampling == subsampling
    for picture, exactness in PictureSpace(MODEL, source).samples(2):
        assert exactness.coefficients_wrong == 0
        lr = Degradation(4).down_integers(picture.pixels)
        assert coefficients_differ(read_coefficients(saved_as(lr, content)), source.jpeg) == 0
