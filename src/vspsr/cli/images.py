"""The commands that make images: parse, call, print."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vspsr.cli.console import device as pick_device
from vspsr.cli.console import output_folder, print_error, print_note
from vspsr.cli.options import (
    MODEL_HELP,
    AsJson,
    AsPixels,
    Budget,
    Device,
    Folder,
    Inputs,
    Kernel,
    Overwrite,
    Rounding,
    Seed,
    WasJpeg,
    numbers_or_text,
)
from vspsr.cli.reports import end, exactness, print_wrong, run_files
from vspsr.errors import counted, size_text

if TYPE_CHECKING:
    from vspsr.upscaling.folders import Report
    from vspsr.upscaling.models import Models
    from vspsr.upscaling.saving import Options


def upscale(
    inputs: Annotated[
        list[Path], typer.Argument(help="Image files, or folders of them; - for standard input.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the outputs; made if missing. - writes one image to standard output.",
            callback=output_folder,
            show_default="vspsr-out; - for the input -",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help=MODEL_HELP, show_default="vspsr-x4, for JPEGs vspsr-x4-explore; vspsr-x8")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="4 or 8; what --model has, if that is given.", show_default="4")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=0, help="How many HR images, at most 10,000.", show_default="10; 1 or the mean with -o -"),
    ] = None,
    seed: Seed = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Spread of the samples: 0 gives the mean.", show_default="the model's")
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Also write the mean image.")] = False,
    stddev: Annotated[
        bool, typer.Option("--stddev", help="Also write the standard deviation: colour map and .npy.")
    ] = False,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="Also write a sheet with all side by side.")
    ] = False,
    bits: Annotated[
        Literal["auto", "8", "16"], typer.Option(help="Depth of the outputs; auto: that of the input.")
    ] = "auto",
    rounding: Rounding = "per-pass",
    as_pixels: AsPixels = False,
    was_jpeg: WasJpeg = False,
    denoise: Annotated[
        str | None,
        typer.Option(
            help="Take pixels as noisy: standard deviation over the full range, 0 ... 1, or auto to estimate it. "
            "S,G adds photon noise of gain G: a value u has the variance S^2 + G u.",
            show_default="exact",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="File that `vspsr calibrate` wrote, for --intervals and --trust-mask.", show_default=False),
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Also write the lower and the upper bound of each value.")
    ] = False,
    trust_mask: Annotated[
        bool, typer.Option("--trust-mask", help="Also write where bounds are closer than 8 of 255 levels to the mean.")
    ] = False,
    format: Annotated[
        Literal["png", "jpeg", "webp", "tiff", "avif"],
        typer.Option(help="Format of samples and the mean. jpeg, webp and avif lose the exactness when saving."),
    ] = "png",
    quality: Annotated[int | None, typer.Option(help="1 ... 100, for jpeg, webp and avif.", show_default="95")] = None,
    keep_print_size: Annotated[
        bool, typer.Option("--keep-print-size", help="Multiply the resolution, so that prints keep their size.")
    ] = False,
    budget: Budget = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Search subfolders too; outputs are in the same tree.")
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Super-resolve images: HR images that downscale to the input bit for bit, wherever such images exist.

    For a JPEG, each output gives the same coefficients when it is downscaled and saved with the tables of the file.
    This holds for inputs that are downscaled pictures, as `vspsr degrade` or MATLAB's imresize makes them.
    Other inputs may have no such image: the closest one found is written, and the exit code is 3.
    After an interruption, run the same command again: finished files are kept.
    With -o -, also for the input -, sample 0 of one image goes to standard output, or with --mean the mean, alone.

    Example:  vspsr upscale photo.png -o out --samples 10 --mean --stddev --contact-sheet
    """
    from vspsr.model import VSpSR
    from vspsr.upscaling.folders import input_files, upscale_files
    from vspsr.upscaling.intervals import read_calibration
    from vspsr.upscaling.models import Models
    from vspsr.upscaling.saving import Options

    if output is None:
        output = Path("-" if inputs == [Path("-")] else "vspsr-out")
    stream = _is_stream(inputs, output, recursive or as_json)
    if samples is None:
        samples = int(not mean) if stream else 10
    if not (samples or mean or stddev or contact_sheet or intervals or trust_mask or stream):
        raise ValueError("`--samples` 0: nothing is asked for: add --mean, --stddev or other outputs")
    options = Options(
        samples=samples,
        seed=seed,
        temperature=temperature,
        mean=mean,
        stddev=stddev,
        contact_sheet=contact_sheet,
        calibration=None if calibration is None else read_calibration(calibration),
        intervals=intervals,
        trust_mask=trust_mask,
        bits=bits if bits == "auto" else int(bits),
        rounding=rounding,
        overwrite=overwrite,
        as_pixels=as_pixels,
        was_jpeg=was_jpeg,
        format=format,
        quality=quality,
        keep_print_size=keep_print_size,
        denoise=numbers_or_text(denoise),
        budget=budget,
    )
    where = pick_device(device)
    models = Models(model, scale, lambda name: VSpSR.from_pretrained(name).to(where))

    if stream:
        reports = [_upscale_to_stdout(inputs[0], models, options)]
    else:
        files = input_files(inputs, output, recursive)
        work = partial(upscale_files, files, output, models, options, on_error=print_error)
        reports = run_files(work, len(files), output, as_json, _summary)
    _name_model_of_jpegs(reports, models, chosen=model is not None)
    end(reports, print_wrong(reports))


def _is_stream(inputs: Sequence[Path], output: Path, for_folders: bool) -> bool:
    """Whether one image goes to standard output; ValueError for options that do not go together."""
    dash = Path("-")
    if output != dash:
        if dash in inputs:
            raise ValueError("`-`, an image from standard input, needs `-o -`: it has no name that outputs could have")
        return False
    if len(inputs) != 1 or inputs[0].is_dir():
        raise ValueError("`-o -` writes one image: give one image file, or `-` for standard input")
    if for_folders:
        raise ValueError("`-o -` writes one image: leave out --recursive and --json, or give a folder")
    if sys.stdout is None:
        raise ValueError("`-o -` writes to standard output, which is closed")
    if dash in inputs and sys.stdin is None:
        raise ValueError("`-` reads standard input, which is closed")
    if sys.stdout.isatty():
        raise ValueError("`-o -` writes an image file, and standard output is a terminal: redirect it")
    return True


def _name_model_of_jpegs(reports: Sequence["Report"], models: "Models", chosen: bool) -> None:
    """Say which model JPEGs were upscaled with, if it is not what one might think."""
    if not (jpegs := sum(r.get("jpeg") is not None for r in reports)):
        return
    model, name = models.fitting(jpeg=True)
    if model.trained_on_jpegs:
        if not chosen:
            print_note(f"{counted(jpegs, 'JPEG')}: upscaled with {name}, which was trained on JPEGs")
        return
    print_note(f"{counted(jpegs, 'JPEG')}: {name} was not trained on JPEGs and may draw their ripples")


def _upscale_to_stdout(path: Path, models: "Models", options: "Options") -> "Report":
    """Super-resolve one image to standard output, with the summary on standard error."""
    from vspsr.upscaling.saving import upscale_stream

    image = path if path != Path("-") else sys.stdin.buffer.read()
    content, report = upscale_stream(image, *models.fitting(options.by_coefficients(image)), options)
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    shown = "standard input" if isinstance(image, bytes) else path
    print_note(f"{shown}: {size_text(report['hr_size'])}, {exactness(report)}")
    return report


def _summary(report: "Report") -> str:
    name = report["input"]
    if report["kept"]:
        return f"{name}: kept, all outputs exist (--overwrite makes them again)"
    samples = counted(report["samples"], "sample")
    return f"{name}: {samples} of {size_text(report['hr_size'])}, {exactness(report)}, {report['seconds']:.1f} s"


def degrade(
    inputs: Inputs,
    output: Folder = Path("vspsr-lr"),
    scale: Annotated[int, typer.Option(help="Integer ≥ 2.")] = 4,
    kernel: Kernel = "bicubic",
    rounding: Rounding = "per-pass",
    crop: Annotated[
        bool,
        typer.Option(
            "--crop", help="First crop HR to a multiple of the scale at the right and the bottom, as `evaluate` does."
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Downscale HR images, by default as MATLAB's imresize except at exact halves: photo.png becomes photox4.png.

    Example:  vspsr degrade hr/ -o lr --scale 4
    """
    from vspsr.degradation import Degradation
    from vspsr.upscaling.folders import degrade_files, input_files

    options = Degradation(scale, kernel), rounding, overwrite
    files = input_files(inputs, output)
    work = partial(degrade_files, files, output, *options, on_error=print_error, crop=crop)

    def summary(report: "Report") -> str:
        return f"{report['input']}: {'kept' if report['kept'] else size_text(report['lr_size'])}"

    end(run_files(work, len(files), output, as_json, summary))
