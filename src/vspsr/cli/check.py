"""`vspsr check`: whether an HR image downscales to an LR image."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from vspsr.cli.console import ExitCode, print_line, progress
from vspsr.cli.options import AsJson, AsPixels, Kernel, Rounding, WasJpeg
from vspsr.errors import counted


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

    Example:  vspsr check photo_x4_s00.png photo.png
    """
    from vspsr.images import read_image
    from vspsr.images.sources import read_source
    from vspsr.upscaling.comparison import DEGRADING, compare

    with progress(1) as step:
        step(hr.name, 0)
        picture = read_image(hr, needed_per_pixel=DEGRADING)
        source = read_source(lr, as_pixels=as_pixels, was_jpeg=was_jpeg)
        result = compare(picture, source, scale, kernel, rounding)
    found = result.record()
    if as_json:
        print(json.dumps({k: None if v == math.inf else v for k, v in found.items()}))
    elif source.jpeg is not None:
        _print_jpeg(found, source.jpeg.subsampling)
    else:
        _print_pixels(found, f" ({source.note})" if source.note else "")
    if not result.exact:
        raise typer.Exit(ExitCode.LR_WRONG)


def _print_pixels(found: dict[str, Any], assumed: str) -> None:
    if found["exact"]:
        print_line(f"exact: all {found['lr_pixels']} LR pixels are reproduced bit for bit (LR-PSNR ∞){assumed}")
        return
    print_line(
        f"not exact: {found['lr_values_wrong']} of {counted(found['lr_values'], 'LR value')} wrong, in "
        f"{found['lr_pixels_wrong']} of {counted(found['lr_pixels'], 'LR pixel')}, by at most "
        f"{counted(found['lr_max_deviation'], 'level')} of {found['bits']} bits "
        f"(LR-PSNR {found['lr_psnr']:.2f} dB){assumed}"
    )


def _print_jpeg(found: dict[str, Any], subsampling: str) -> None:
    how, total = f"downscaled and saved with the JPEG's tables, {subsampling}", found["coefficients"]
    if found["exact"]:
        print_line(f"exact: {how}, it gives all {total} coefficients of the file")
    else:
        wrong = found["coefficients_wrong"]
        print_line(f"not exact: {how}, {wrong} of {total} coefficients wrong (--as-pixels compares pixels)")
