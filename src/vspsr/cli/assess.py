"""The commands that judge and mend pictures of any origin: `vspsr project`, `assess` and `calibrate`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vspsr.cli.console import print_error
from vspsr.cli.images import MISSED, AsPixels, Kernel, Rounding, run_files
from vspsr.cli.options import AsJson, Folder, Overwrite

PROJECT_EPILOG = "Examples:  vspsr project esrgan.png photo.png -o out\n\nvspsr project esrgan/ lr/ -o out"


def project(
    sr: Annotated[list[Path], typer.Argument(help="Upscaled images, or folders of them.", show_default=False)],
    lr: Annotated[
        Path, typer.Argument(help="Their LR image, or a folder with one of the same name each.", show_default=False)
    ],
    output: Folder = Path("vspsr-projected"),
    scale: Annotated[int | None, typer.Option(help="Integer ≥ 2.", show_default="from the sizes")] = None,
    kernel: Kernel = "bicubic",
    bits: Annotated[
        Literal["auto", "8", "16"], typer.Option(help="Depth of the outputs; auto: that of the upscaled image.")
    ] = "auto",
    rounding: Rounding = "per-pass",
    as_pixels: AsPixels = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make upscaled images of any origin downscale to their LR images exactly, as near to themselves as can be.

    photo.png becomes DIR/photo.png. In a folder, the LR image of photo_ESRGAN.png is photo.png or photox4.png.
    Of a JPEG, outputs downscale to pictures that are saved as this file, coefficient for coefficient.
    Where no such image is found, the closest one is written, and the exit code is 3.
    """
    from vspsr.upscaling.projecting import ProjectOptions, pair_files, project_files

    depth = bits if bits == "auto" else int(bits)
    options = ProjectOptions(scale, kernel, depth, rounding, overwrite, as_pixels)
    pairs = pair_files(sr, lr)

    def batch(files: Sequence[Path], step: Callable[[str, float], None]) -> Iterator[dict[str, Any]]:
        return project_files(pairs, output, options, step, print_error)

    reports = run_files(batch, list(pairs), output, as_json, _projected)
    if wrong := sum(bool(r.get("lr_values_wrong") or r.get("coefficients_wrong")) for r in reports):
        print_error(f"{wrong} of {len(reports)} images do not downscale to their LR images exactly")
    if any("error" in r for r in reports):
        raise typer.Exit(1)
    if wrong:
        raise typer.Exit(MISSED)


def _projected(report: dict[str, Any]) -> str:
    jpeg = "coefficients_wrong" in report
    key, what = ("coefficients_wrong", "JPEG coefficients") if jpeg else ("lr_values_wrong", "LR values")
    levels = "levels" if report["bits"] == 8 else "levels of 16 bits"
    moved = f"moved by {report['moved_rms']:.2f} {levels} rms, at most {report['moved_max']:.0f}"
    if not report["moved_max"]:
        moved = "not moved"
    text = f"{report['input']}: {what} wrong: {report[f'{key}_before']} before, {report[key]} after; {moved}"
    text += f" ({report['assumed']})" if report["assumed"] else ""
    return text + (", kept" if report["kept"] else "")
