"""JPEG files made by Pillow, and what it makes of images with a file's own tables."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from vspsr.degradation import Degradation, JpegCoefficients, imresize
from vspsr.images.jpeg_file import read_coefficients

SUBSAMPLINGS = {(1, 1): "4:4:4", (1, 2): "4:2:2", (2, 2): "4:2:0"}


def photo(height: int, width: int, top: int = 100, left: int = 150) -> Tensor:
    """(3, height, width) uint8."""
    array = data.astronaut()[top : top + height, left : left + width].copy()
    return torch.from_numpy(array).permute(2, 0, 1)


def small_photo(start: int = 0, side: int = 112) -> Tensor:
    """A square picture with detail, (3, side, side) integers."""
    image = imresize(photo(4 * side, 4 * side, top=start, left=start).double() / 255, scale=1 / 4)
    return image.mul(255).round().clamp(0, 255)


def saved(image: Tensor, format: str = "JPEG", **options: Any) -> bytes:
    """An image (3, h, w) or (1, h, w) as a file."""
    file = io.BytesIO()
    array = image.byte().permute(1, 2, 0).numpy()
    Image.fromarray(array[..., 0] if len(image) == 1 else array).save(file, format, **options)
    return file.getvalue()


def decoded(content: bytes) -> Tensor:
    """The pixels of a file, (3, h, w) or (1, h, w) uint8."""
    array = np.atleast_3d(np.asarray(Image.open(io.BytesIO(content))))
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


def saved_as(image: Tensor, content: bytes) -> bytes:
    """An image saved by Pillow with the tables and the subsampling of a file."""
    tables = list(Image.open(io.BytesIO(content)).quantization.values())
    if len(image) == 1:
        return saved(image, qtables=tables)
    return saved(image, qtables=tables, subsampling=SUBSAMPLINGS[read_coefficients(content).sampling])


def coefficients_differ(a: JpegCoefficients, b: JpegCoefficients) -> int:
    """In how many coefficients two files differ."""
    pairs = zip(a.coefficients, b.coefficients, strict=True)
    return sum(int((x != y).sum()) for x, y in pairs)


def differs(hr: Tensor, content: bytes, bits: int = 8) -> int:
    """In how many coefficients HR, downscaled and saved by Pillow as a file, differs from it. Not turned."""
    lr = Degradation(4).down_integers(hr, bits)
    lr = lr if bits == 8 else (lr + 128) // 257
    return coefficients_differ(read_coefficients(saved_as(lr, content)), read_coefficients(content))
