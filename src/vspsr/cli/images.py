"""The commands that make and check images: parse, call, print."""

import json
import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vspsr.cli.console import device as pick_device
from vspsr.cli.console import print_error, print_line, progress
from vspsr.errors import explain, is_expected

__all__ = ["check", "degrade", "upscale"]

Inputs = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)]
Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the outputs; made if missing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist; they are kept otherwise.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a report for programs on standard output.")]
Kernel = Annotated[str, typer.Option(help="bicubic (MATLAB's imresize), bilinear, lanczos3 or box.")]


class Rounding(StrEnum):
    """How LR integers arise."""

    per_pass = "per-pass"
    single = "single"


class Bits(StrEnum):
    """Depth of the outputs."""

    auto = "auto"
    eight = "8"
    sixteen = "16"


RoundingOption = Annotated[
    Rounding,
    typer.Option(help="LR integers: rounded after each axis (MATLAB, the challenge) or once at the end."),
]

_DEGRADING = 48  # bytes for each pixel: three channels in float64, and half as much again


def upscale(
    inputs: Inputs,
    output: Folder = Path("vspsr-out"),
    model: Annotated[str, typer.Option(help="A shipped model, a folder, or a Hugging Face Hub id.")] = "vspsr-x4",
    scale: Annotated[int | None, typer.Option(help="Check that the model has this scale.", show_default=False)] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many HR images.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Spread of the samples: 0 gives the mean. [default: the model's]")
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Also write the mean image.")] = False,
    stddev: Annotated[
        bool, typer.Option("--stddev", help="Also write the exact standard deviation: colour map and .npy.")
    ] = False,
    contact_sheet: Annotated[bool, typer.Option("--contact-sheet", help="Also write all side by side.")] = False,
    bits: Annotated[Bits, typer.Option(help="Depth of the outputs; auto: that of the input.")] = Bits.auto,
    rounding: RoundingOption = Rounding.per_pass,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Super-resolve images: any number of HR images, each of which downscales to the input bit for bit."""
    from vspsr.checks import check_seed, check_temperature
    from vspsr.files import make_folder
    from vspsr.images.folders import image_files
    from vspsr.model import VSpSR
    from vspsr.upscaling.folders import Options, upscale_file

    check_seed(seed)
    if temperature is not None:
        check_temperature(temperature)
    loaded = VSpSR.from_pretrained(model)
    if scale is not None and scale != loaded.scale:
        raise ValueError(f"`--scale` {scale} does not fit: the model {model} upscales by {loaded.scale}")
    loaded.to(pick_device(device))
    files = list(image_files(inputs))
    make_folder(output)
    depth = bits.value if bits is Bits.auto else int(bits.value)
    options = Options(samples, seed, temperature, mean, stddev, contact_sheet, depth, rounding.value, overwrite)
    reports: list[dict[str, Any]] = []
    stems: dict[str, Path] = {}
    with progress(len(files)) as step:
        for path in files:
            step(path.name, 0)
            try:
                first = stems.setdefault(path.stem, path)
                if first != path:
                    raise ValueError(f"{path}: its outputs would be named as those of {first}: rename one of them")
                say = partial(_say, step, path.name)
                reports.append(upscale_file(path, output, loaded, model, options, say))
            except Exception as error:
                if not is_expected(error):
                    raise
                reports.append({"input": str(path), "error": explain(error)})
                print_error(error)
            step(path.name, 1)
    failed = [r for r in reports if "error" in r]
    if as_json:
        print(json.dumps(reports, indent=2))
    else:
        for report in reports:
            if "error" not in report:
                print_line(_summary(report))
        done = len(reports) - len(failed)
        print_line(f"{done} of {len(reports)} images done, outputs in {output}")
    if failed:
        raise typer.Exit(1)


def _say(step: Callable[[str, int], None], name: str, what: str) -> None:
    step(f"{name}: {what}", 0)


def _summary(report: dict[str, Any]) -> str:
    name = report["input"]
    if report["kept"]:
        return f"{name}: kept, all outputs exist (--overwrite to make them anew)"
    missed = report["lr_values_not_met"]
    exact = "every one downscales to the input exactly" if not missed else f"{missed} LR values not met"
    height, width = report["hr_size"]
    return f"{name}: {report['samples']} samples of {width}×{height}, {exact}, {report['seconds']:.1f} s"


def degrade(
    inputs: Inputs,
    output: Folder = Path("vspsr-lr"),
    scale: Annotated[int, typer.Option(help="Integer ≥ 2.")] = 4,
    kernel: Kernel = "bicubic",
    rounding: RoundingOption = Rounding.per_pass,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Downscale HR images as MATLAB's imresize does: photo.png becomes photox4.png."""
    from vspsr.degradation.operator import Degradation
    from vspsr.files import make_folder
    from vspsr.images.folders import image_files
    from vspsr.images.io import read_image, write_image
    from vspsr.upscaling.pictures import degrade as degrade_picture

    degradation = Degradation(scale, kernel)
    files = list(image_files(inputs))
    make_folder(output)
    reports: list[dict[str, Any]] = []
    targets: dict[Path, Path] = {}
    with progress(len(files)) as step:
        for path in files:
            target = output / f"{path.stem}x{scale}.png"
            try:
                if (first := targets.setdefault(target, path)) != path:
                    raise ValueError(f"{path}: its output would be named as that of {first}: rename one of them")
                hr = read_image(path, needed_per_pixel=_DEGRADING)
                lr = degrade_picture(hr, degradation, rounding.value)
                write_image(target, lr, overwrite=overwrite)
                reports.append({"input": str(path), "output": str(target), "lr_size": list(lr.size)})
            except Exception as error:
                if not is_expected(error):
                    raise
                reports.append({"input": str(path), "error": explain(error)})
                print_error(error)
            step(path.name, 1)
    failed = sum("error" in r for r in reports)
    if as_json:
        print(json.dumps(reports, indent=2))
    else:
        print_line(f"{len(reports) - failed} of {len(reports)} images written to {output}")
    if failed:
        raise typer.Exit(1)


def check(
    hr: Annotated[Path, typer.Argument(help="HR image.", show_default=False)],
    lr: Annotated[Path, typer.Argument(help="LR image.", show_default=False)],
    scale: Annotated[int | None, typer.Option(help="[default: what the sizes tell]", show_default=False)] = None,
    kernel: Kernel = "bicubic",
    rounding: RoundingOption = Rounding.per_pass,
    as_json: AsJson = False,
) -> None:
    """Does HR downscale to LR? Exit 0 only where it does so bit for bit.

    With alpha, the colours are compared where the LR image is visible at all (alpha > 0), and alpha everywhere.
    """
    from vspsr.images.io import read_image
    from vspsr.upscaling.pictures import compare

    result = compare(read_image(hr, needed_per_pixel=_DEGRADING), read_image(lr), scale, kernel, rounding.value)
    if as_json:
        psnr = None if math.isinf(result.lr_psnr) else result.lr_psnr
        fields = {"exact": result.exact, "lr_pixels_different": result.pixels, "lr_pixels": result.total}
        print(json.dumps({**fields, "largest_deviation": result.deviation, "lr_psnr": psnr, "scale": result.scale}))
    elif result.exact:
        print_line(f"exact: all {result.total} LR pixels are reproduced bit for bit (LR-PSNR ∞)")
    else:
        print_line(
            f"not exact: {result.pixels} of {result.total} LR pixels differ, by at most {result.deviation} levels "
            f"(LR-PSNR {result.lr_psnr:.2f} dB)"
        )
    if not result.exact:
        raise typer.Exit(1)
