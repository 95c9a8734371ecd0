"""The pictures of one image for the report: photographs, and maps of uncertainty, error and the best of all samples.

WebP files of 8 bits, of full size: without loss where that costs little, else of high quality. Maps have a colour scale
from 0 to a round end that is kept in the record: levels of 0–255 for standard deviation and error, the distance itself
for the local best.
"""

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


def write_pictures(
    folder: Path,
    hr: Tensor,
    lr: Picture,
    samples: Tensor,
    mean: Tensor | None,
    enlarged: Tensor,
    distances: Tensor,
    stddev: Tensor | None,
    profile: bytes | None,
) -> dict[str, float | None]:
    """Write gt, lr, bicubic, s00 …, mean, stddev, error and local_best, as far as available.

    The error is that of the mean, or of the only sample: root mean square over channels.

    Args:
        folder: where to; made if missing.
        hr: (3, H, W), an integer image of the depth of ``lr``, as the others are.
        lr: the LR picture.
        samples: (n, 3, H, W).
        mean: (3, H, W); None for one sample.
        enlarged: (3, H, W), by bicubic interpolation.
        distances: (n, H', W'), perceptual distance of each sample from the truth, on a part of the image.
        stddev: (3, H, W), standard deviation in closed form in units of the full range; None where there is none.
        profile: the ICC profile of the photographs, which are shown in sRGB; None for sRGB.

    Returns:
        name → end of its colour scale, None for photographs. Pictures with a side beyond 16383 pixels are left out.

    Raises:
        OutputError: the folder or a file cannot be written.
    """
    make_folder(folder)
    photographs = {"gt": hr, "lr": lr.pixels, "bicubic": enlarged}
    photographs |= {f"s{i:02d}": x for i, x in enumerate(samples[:SHOWN_SAMPLES])}
    photographs |= {} if mean is None else {"mean": mean}
    metadata = {} if profile is None else {"icc-profile-data": profile}
    ends: dict[str, float | None] = {}
    for name, image in photographs.items():
        if _write(folder / f"{name}.webp", srgb_array(Picture(image.int(), lr.bits, metadata=metadata))):
            ends[name] = None
    maps = {}
    if stddev is not None:
        maps["stddev"] = map_levels(stddev)
    elif len(samples) > 1:
        channels = [samples[:, c].double().var(0) for c in range(3)]
        maps["stddev"] = map_levels(torch.stack(channels).sqrt() / lr.white)
    guess = samples[0] if mean is None else mean
    maps["error"] = map_levels((guess.double() - hr.double()) / lr.white)
    best = distances.amin(0).double().cpu().numpy()
    height, width = hr.shape[-2:]
    # The part outside the protocol's crop repeats the edge, so that all pictures have the same size.
    maps["local_best"] = np.pad(best, ((0, height - best.shape[0]), (0, width - best.shape[1])), mode="edge")
    for name, values in maps.items():
        end = scale_end(values, least=1e-6)
        if _write(folder / f"{name}.webp", coloured(values / end)):
            ends[name] = end
    return ends


def _write(path: Path, rgb: NDArray[np.uint8]) -> bool:
    """Write a picture; False if it is too large for WebP."""
    if max(rgb.shape) > _LARGEST:
        return False
    write_bytes(path, webp(rgb, lossless=rgb.shape[0] * rgb.shape[1] <= _LOSSLESS), overwrite=True)
    return True
