"""JPEG files of many kinds, upscaled: coefficients in which outputs, downscaled and saved again, differ from the file.

    python benchmarks/jpeg_files.py
    python benchmarks/jpeg_files.py --files 40 --samples 1

Each file is a crop of a photograph of scikit-image (CC0 or public domain), 24 to 40 pixels a side, downscaled by 4 and
saved by one of several encoders, ImageMagick among them if it is installed. Samples are downscaled, rounded to 8 bits
and saved by Pillow's libjpeg-turbo with the file's tables and subsampling, and the coefficients are compared. The
second table: the time of `upscale` on a JPEG, and the parts of it that a PNG does not need.
"""

import argparse
import io
import itertools
import shutil
import subprocess
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jpeglib
import numpy as np
import pyvips
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage import data
from torch import Tensor

from vspsr import Degradation, VSpSR
from vspsr.consistency.jpeg_member import JpegMembers
from vspsr.degradation import JpegCoefficients, JpegSet
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.sources import read_source
from vspsr.upscaling.pictures import PictureSpace

QUALITIES = (30, 40, 50, 60, 70, 75, 80, 85, 90, 92, 95, 98)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "grey")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
SAMPLING = {(1, 1): "4:4:4", (1, 2): "4:2:2", (2, 2): "4:2:0"}


def pillow(image: np.ndarray, quality: int, subsampling: str, progressive: bool) -> bytes:
    """libjpeg-turbo by Pillow; baseline files have restart markers."""
    file = io.BytesIO()
    options: dict[str, Any] = {} if subsampling == "grey" else {"subsampling": subsampling}
    options |= {"progressive": True} if progressive else {"restart_marker_blocks": 3}
    Image.fromarray(image).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def libvips(image: np.ndarray, quality: int, subsampling: str, progressive: bool) -> bytes:
    """libvips, which has libjpeg-turbo or mozjpeg: trellis quantisation where it knows it."""
    height, width = image.shape[:2]
    made = pyvips.Image.new_from_memory(image.tobytes(), width, height, image.size // (height * width), "uchar")
    made = made.copy(interpretation="b-w" if image.ndim == 2 else "srgb")
    mode = "on" if subsampling == "4:2:0" else "off"
    options = {"Q": quality, "subsample_mode": mode, "interlace": progressive, "trellis_quant": True}
    return bytes(made.jpegsave_buffer(**options, restart_interval=0 if progressive else 2))


def other(version: str) -> Callable[[np.ndarray, int, str, bool], bytes]:
    """Another version of libjpeg, by jpeglib."""

    def encode(image: np.ndarray, quality: int, subsampling: str, progressive: bool) -> bytes:
        with jpeglib.version(version), tempfile.TemporaryDirectory() as folder:
            jpeg = jpeglib.from_spatial(np.atleast_3d(image).copy())
            if image.ndim == 3:
                jpeg.samp_factor = subsampling
            flags = ["+PROGRESSIVE_MODE"] if progressive else []
            jpeg.write_spatial(f"{folder}/a.jpg", qt=quality, flags=flags)
            return Path(f"{folder}/a.jpg").read_bytes()

    return encode


def imagemagick(image: np.ndarray, quality: int, subsampling: str, progressive: bool) -> bytes:
    """ImageMagick, as a command."""
    height, width = image.shape[:2]
    raw = ["-size", f"{width}x{height}", "-depth", "8", "gray:-" if image.ndim == 2 else "rgb:-"]
    options = ["-quality", str(quality), "-interlace", "JPEG" if progressive else "none"]
    if subsampling != "grey":
        options += ["-sampling-factor", subsampling]
    return subprocess.run(
        [*MAGICK, *raw, *options, "jpg:-"], input=image.tobytes(), capture_output=True, check=True
    ).stdout


def magick() -> list[str]:
    """The command of ImageMagick 7 or 6; empty if there is none."""
    for name in ("magick", "convert"):
        if path := shutil.which(name):
            shown = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stdout
            if shown.startswith("Version: ImageMagick"):
                return [path]
    return []


MAGICK = magick()
ENCODERS = {
    "libjpeg-turbo (Pillow)": pillow,
    "libvips": libvips,
    "mozjpeg 4.0.3": other("mozjpeg403"),
    "libjpeg 6b": other("6b"),
    "libjpeg 9f": other("9f"),
} | ({"ImageMagick": imagemagick} if MAGICK else {})


def lr_image(index: int) -> np.ndarray:
    """An LR image (h, w, 3) of 24 … 40 pixels a side, odd or even."""
    h, w = 24 + 5 * index % 17, 24 + 7 * index % 17
    hr = torch.from_numpy(getattr(data, PHOTOGRAPHS[index % len(PHOTOGRAPHS)])().copy()).permute(2, 0, 1)
    top, left = (37 * index % (n - 4 * m) for n, m in zip(hr.shape[1:], (h, w), strict=True))
    lr = Degradation(4).down_integers(hr[:, top : top + 4 * h, left : left + 4 * w])
    return np.ascontiguousarray(lr.permute(1, 2, 0).numpy().astype(np.uint8))


def saved_again(lr: Tensor, content: bytes, sampling: tuple[int, int]) -> JpegCoefficients:
    """An LR image (C, h, w) saved by Pillow with a file's tables and subsampling."""
    file = io.BytesIO()
    tables = list(Image.open(io.BytesIO(content)).quantization.values())
    array = lr.permute(1, 2, 0).numpy().astype(np.uint8)
    options = {} if len(lr) == 1 else {"subsampling": SAMPLING[sampling]}
    Image.fromarray(array.squeeze(2) if len(lr) == 1 else array).save(file, "JPEG", qtables=tables, **options)
    return read_coefficients(file.getvalue())


def coefficients_wrong(model: VSpSR, content: bytes, samples: int) -> tuple[list[int], int]:
    """Of each sample, how many coefficients differ, and how many there are."""
    source = read_source(content)
    assert source.jpeg is not None, source.note
    wrong = []
    for picture, exactness in PictureSpace(model, source).samples(samples):
        lr = model.degradation.down_integers(picture.pixels)
        again = saved_again(lr, content, source.jpeg.sampling)
        pairs = zip(again.coefficients, source.jpeg.coefficients, strict=True)
        wrong.append(sum(int((a != b).sum()) for a, b in pairs))
        assert wrong[-1] == exactness.coefficients_wrong  # what is reported
    return wrong, sum(c.numel() for c in source.jpeg.coefficients)


def files(count: int) -> list[tuple[str, int, str, bool]]:
    """Encoder, quality, subsampling, progressive or not: all combinations in a mixed order."""
    combinations = list(itertools.product(ENCODERS, QUALITIES, SUBSAMPLINGS, (False, True)))
    # libvips has no 4:2:2.
    combinations = [c for c in combinations if not (c[0] == "libvips" and c[2] == "4:2:2")]
    order = np.random.default_rng(0).permutation(len(combinations))[:count]
    return [combinations[i] for i in order]


def exactness_table(model: VSpSR, count: int, samples: int, minutes: float) -> None:
    results: dict[tuple[str, object], list[tuple[list[int], int]]] = defaultdict(list)
    start = time.perf_counter()
    for index, (encoder, quality, subsampling, progressive) in enumerate(track(files(count), "files")):
        if time.perf_counter() - start > minutes * 60:
            break
        image = lr_image(index)
        if subsampling == "grey":
            image = np.ascontiguousarray(image[..., 1])
        content = ENCODERS[encoder](image, quality, subsampling, progressive)
        found = coefficients_wrong(model, content, samples)
        kind = "progressive" if progressive else "sequential"
        for key in (("quality", quality), ("encoder", encoder), ("chroma", subsampling), ("coding", kind), ("", "all")):
            results[key].append(found)
    table = Table(title=f"{len(results['', 'all'])} JPEG files, {samples} samples each")
    for column in ("", "", "files", "samples", "samples that give the file", "coefficients", "of them wrong"):
        table.add_column(column, justify="left" if not column else "right")
    for key in sorted(results, key=lambda k: (list(dict.fromkeys(r[0] for r in results)).index(k[0]), str(k[1]))):
        rows = results[key]
        wrong = [w for sample, _ in rows for w in sample]
        total = sum(len(sample) * coefficients for sample, coefficients in rows)
        exact = sum(w == 0 for w in wrong)
        table.add_row(*map(str, (*key, len(rows), len(wrong), exact, total, sum(wrong))))
    Console(width=120).print(table)


def speed_table(model: VSpSR, samples: int = 10) -> None:
    table = Table(title=f"upscale of a JPEG of 192×128 pixels, 4:2:0, {samples} samples; seconds")
    columns = ("quality", "whole", "coefficients and set", "share", "LR pictures of 8 bits", "share", "of a PNG, whole")
    for column in columns:
        table.add_column(column, justify="right")
    hr = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1)[:, :400]
    lr = torch.nn.functional.interpolate(hr[None].float(), (128, 192), mode="area")[0].round().byte()
    for quality in (75, 95):
        content = pillow(lr.permute(1, 2, 0).numpy(), quality, "4:2:0", False)
        upscaled(model, content, 1)  # what is made once
        start = time.perf_counter()
        of_png = upscaled(model, content, samples, as_pixels=True)
        plain = time.perf_counter() - start
        del of_png
        start = time.perf_counter()
        pictures = upscaled(model, content, samples)
        whole = time.perf_counter() - start
        start = time.perf_counter()
        jpeg_set = JpegSet(read_coefficients(content))
        sets = time.perf_counter() - start
        members = JpegMembers(jpeg_set)
        start = time.perf_counter()
        for picture in pictures:
            members.near(model.degradation.down(picture.double() / 255))
        near = time.perf_counter() - start
        row = (whole, sets, f"{sets / whole:.1%}", near, f"{near / whole:.1%}", plain)
        table.add_row(str(quality), *(x if isinstance(x, str) else f"{x:.2f}" for x in row))
    Console(width=120).print(table)


def upscaled(model: VSpSR, content: bytes, samples: int, as_pixels: bool = False) -> list[Tensor]:
    source = read_source(content, as_pixels=as_pixels)
    space = PictureSpace(model, source)
    return [picture.pixels for picture, _ in space.samples(samples)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vspsr-x4")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="stop with the files that are done by then")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    model = VSpSR.from_pretrained(args.model)
    exactness_table(model, args.files, args.samples, args.minutes)
    speed_table(model)


if __name__ == "__main__":
    main()
