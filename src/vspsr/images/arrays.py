"""Pictures from numpy arrays and PIL images."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vspsr.images.picture import Picture

_BITS = {"uint8": 8, "uint16": 16}
_MODES = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "P": "RGB", "PA": "RGBA"}
_DEEP = {"I;16", "I;16L", "I;16B"}
_NAMES = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}


def from_array(array: NDArray[Any]) -> Picture:
    """The picture of a numpy array.

    Args:
        array: (H, W), or (H, W, bands) with 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) bands; uint8 or uint16.

    Raises:
        ValueError: another type or shape.
    """
    bits = _BITS.get(array.dtype.name)
    if bits is None:
        raise ValueError(f"`image` must be uint8 or uint16, got an array of {array.dtype}: round it to integers first")
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[2] not in _NAMES):
        raise ValueError(f"`image` must be (H, W) or (H, W, 1 … 4) and not empty, got {array.shape}")
    planes = torch.from_numpy(np.atleast_3d(array).transpose(2, 0, 1).astype(np.int32, order="C"))
    split = len(planes) - (len(planes) % 2 == 0)
    alpha = planes[split:] if split < len(planes) else None
    return Picture(planes[:split], bits, alpha, mode=_NAMES[len(planes)])


def from_pillow(image: Image.Image) -> Picture:
    """The picture of a PIL image, as it is: not turned, although its EXIF may ask for it. Its ICC profile is kept.

    Raises:
        ValueError: a mode other than 1, L, LA, P, PA, RGB, RGBA and I;16.
    """
    mode = _MODES.get(image.mode)
    if mode is not None:
        if "transparency" in image.info:
            mode = "LA" if mode == "L" else "RGBA"
        array = np.asarray(image if mode == image.mode else image.convert(mode))
    elif image.mode in _DEEP:
        array = np.asarray(image).astype(np.uint16)
    else:
        raise ValueError(f"`image` has the mode {image.mode!r}: convert it to L, LA, RGB, RGBA or I;16")
    made = from_array(array)
    profile = image.info.get("icc_profile")
    metadata = {"icc-profile-data": profile} if isinstance(profile, bytes) else {}
    return Picture(made.pixels, made.bits, made.alpha, metadata, made.mode)
