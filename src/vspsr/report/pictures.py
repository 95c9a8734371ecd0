"""The pictures of one image for the report: photographs, and maps of uncertainty, error and the best of all samples.

WebP files of 8 bits, of full size: without loss where that costs little, else of high quality. Maps have a colour scale
from 0 to a round end that is kept in the record: levels of 0–255 for standard deviation and error, the distance itself
for the local best.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vspsr.files import make_folder, write_bytes
from vspsr.images.colours import srgb_array
from vspsr.images.picture import Picture
from vspsr.images.sheets import coloured, map_levels, scale_end, webp

SHOWN_SAMPLES = 10
"""Largest number of samples shown of an image."""

_LOSSLESS = 128 * 128  # pixels up to which a picture is kept without loss: a few tens of kilobytes
_LARGEST = 16383  # side of a WebP image


@dataclass(frozen=True)
class Shown:
    """Everything shown of one image; integer images of 0 … ``white``.

    Attributes:
        hr: (3, H, W).
        lr: (1 or 3, h, w).
        samples: (n, 3, H, W).
        mean: (3, H, W); None for one sample.
        bicubic: (3, H, W).
        white: 255 or 65535.
        maps: (n, H', W'), perceptual distance of each sample from the truth, on a part of the image.
        stddev: (3, H, W), standard deviation in closed form in units of the full range; None where there is none.
        profile: the ICC profile of the photographs, which are shown in sRGB; None for sRGB.
    """

    hr: Tensor
    lr: Tensor
    samples: Tensor
    mean: Tensor | None
    bicubic: Tensor
    white: int
    maps: Tensor
    stddev: Tensor | None
    profile: bytes | None = None


def write_pictures(folder: Path, shown: Shown) -> dict[str, float | None]:
    """Write gt, lr, bicubic, s00 …, mean, stddev, error and local_best, as far as available.

    The error is that of the mean, or of the only sample: root mean square over channels.

    Returns:
        name → end of its colour scale, None for photographs. Pictures with a side beyond 16383 pixels are left out.

    Raises:
        OutputError: the folder or a file cannot be written.
    """
    make_folder(folder)
    photographs = {"gt": shown.hr, "lr": shown.lr, "bicubic": shown.bicubic}
    photographs |= {f"s{i:02d}": x for i, x in enumerate(shown.samples[:SHOWN_SAMPLES])}
    if shown.mean is not None:
        photographs["mean"] = shown.mean
    ends: dict[str, float | None] = {}
    for name, image in photographs.items():
        if _write(folder / f"{name}.webp", _eight_bits(image, shown)):
            ends[name] = None
    for name, values in _maps(shown).items():
        end = scale_end(values, least=1e-6)
        if _write(folder / f"{name}.webp", coloured(values / end)):
            ends[name] = end
    return ends


def _maps(shown: Shown) -> dict[str, NDArray[np.float64]]:
    """Name → values (H, W) of the maps there are."""
    out = {}
    if shown.stddev is not None:
        out["stddev"] = map_levels(shown.stddev)
    elif len(shown.samples) > 1:
        channels = [shown.samples[:, c].double().var(0) for c in range(3)]
        out["stddev"] = map_levels(torch.stack(channels).sqrt() / shown.white)
    guess = shown.samples[0] if shown.mean is None else shown.mean
    out["error"] = map_levels((guess.double() - shown.hr.double()) / shown.white)
    best = shown.maps.amin(0).double().cpu().numpy()
    height, width = shown.hr.shape[-2:]
    # The part outside the protocol's crop repeats the edge, so that all pictures have the same size.
    out["local_best"] = np.pad(best, ((0, height - best.shape[0]), (0, width - best.shape[1])), mode="edge")
    return out


def _eight_bits(image: Tensor, shown: Shown) -> NDArray[np.uint8]:
    metadata = {} if shown.profile is None else {"icc-profile-data": shown.profile}
    return srgb_array(Picture(image.int(), 8 if shown.white == 255 else 16, metadata=metadata))


def _write(path: Path, rgb: NDArray[np.uint8]) -> bool:
    """Write a picture; False if it is too large for WebP."""
    if max(rgb.shape) > _LARGEST:
        return False
    write_bytes(path, webp(rgb, lossless=rgb.shape[0] * rgb.shape[1] <= _LOSSLESS), overwrite=True)
    return True
