"""`vspsr check`: whether an HR image downscales to an LR image."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vspsr.cli.console import ExitCode, print_line, progress
from vspsr.cli.options import AsJson, AsPixels, Kernel, Rounding, WasJpeg
from vspsr.errors import counted

if TYPE_CHECKING:
    from vspsr.upscaling.comparison import JpegComparison

CHECK_EPILOG = "Example:  vspsr check photo_x4_s00.png photo.png"


def check(
    hr: Annotated[Path, typer.Argument(help="HR image.", show_default=False)],
    lr: Annotated[Path, typer.Argument(help="LR image.", show_default=False)],
    scale: Annotated[int | None, typer.Option(help="Integer ≥ 2.", show_default="from the sizes")] = None,
    kernel: Kernel = "bicubic",
    rounding: Rounding = "per-pass",
    as_pixels: AsPixels = False,
    was_jpeg: WasJpeg = False,
    as_json: AsJson = False,
) -> None:
    """Check whether HR downscales to LR: exit code 0 only if it does so bit for bit, otherwise 3.

    With alpha, the colours are compared where the LR image is visible at all (alpha > 0), and alpha everywhere.
    If the depths differ, LR is compared in the depth of HR.
    If LR is a JPEG, HR is downscaled and saved with its tables, and the DCT coefficients are compared.
    """
    from vspsr.images import read_image
    from vspsr.images.sources import read_source
    from vspsr.upscaling.comparison import DEGRADING, compare, compare_jpeg

    with progress(1) as step:
        step(hr.name, 0)
        picture = read_image(hr, needed_per_pixel=DEGRADING)
        source = read_source(lr, as_pixels=as_pixels, was_jpeg=was_jpeg)
        if source.jpeg is not None:
            same = compare_jpeg(picture, source.picture, source.jpeg, scale, kernel, rounding)
        else:
            result = compare(picture, source.picture, scale, kernel, rounding)
    if source.jpeg is not None:
        _print_jpeg(same, source.jpeg.subsampling, as_json)
        return
    assumed = f" ({source.note})" if source.note else ""
    if as_json:
        psnr = None if math.isinf(result.lr_psnr) else result.lr_psnr
        print(json.dumps({"exact": result.exact, **asdict(result), "lr_psnr": psnr}))
    elif result.exact:
        print_line(f"exact: all {result.lr_pixels} LR pixels are reproduced bit for bit (LR-PSNR ∞){assumed}")
    else:
        print_line(
            f"not exact: {result.lr_values_wrong} of {counted(result.lr_values, 'LR value')} wrong, in "
            f"{result.lr_pixels_wrong} of {counted(result.lr_pixels, 'LR pixel')}, by at most "
            f"{counted(result.lr_max_deviation, 'level')} of {result.bits} bits (LR-PSNR {result.lr_psnr:.2f} dB)"
            f"{assumed}"
        )
    if not result.exact:
        raise typer.Exit(ExitCode.LR_WRONG)


def _print_jpeg(result: "JpegComparison", subsampling: str, as_json: bool) -> None:
    """Print how HR and a JPEG compare; exit code 3 unless they agree."""
    if as_json:
        print(json.dumps({"exact": result.exact, **asdict(result)}))
    elif result.exact:
        print_line(
            f"exact: downscaled and saved with the JPEG's tables, {subsampling}, it gives all {result.coefficients} "
            "coefficients of the file"
        )
    else:
        print_line(
            f"not exact: downscaled and saved with the JPEG's tables, {subsampling}, {result.coefficients_wrong} of "
            f"{result.coefficients} coefficients wrong (--as-pixels compares pixels)"
        )
    if not result.exact:
        raise typer.Exit(ExitCode.LR_WRONG)
