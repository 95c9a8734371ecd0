"""The commands that make images: parse, call, print."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vspsr.cli.console import ExitCode, output_folder, print_error, print_line, print_note, progress, when_stopped
from vspsr.cli.console import device as pick_device
from vspsr.cli.options import (
    AsJson,
    AsPixels,
    Budget,
    Device,
    Folder,
    Inputs,
    Kernel,
    Model,
    Overwrite,
    Rounding,
    Seed,
    WasJpeg,
    numbers_or_text,
)
from vspsr.cli.streams import exactness, is_stream, upscale_to_stdout, wrong_of
from vspsr.errors import counted, size_text

UPSCALE_EPILOG = "Example:  vspsr upscale photo.png -o out --samples 10 --mean --stddev --contact-sheet"
DEGRADE_EPILOG = "Example:  vspsr degrade hr/ -o lr --scale 4"

_JPEG_MODEL = "vspsr-x4-explore"
_DRAWN = 0.01
"""Share of LR values wrong from which an image is hardly a downscaled photograph."""


def upscale(
    inputs: Annotated[
        list[Path], typer.Argument(help="Image files, or folders of them; - for standard input.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for what is made; made if missing. - writes one image to standard output.",
            callback=output_folder,
        ),
    ] = Path("vspsr-out"),
    model: Model = "vspsr-x4",
    scale: Annotated[int | None, typer.Option(help="Check that the model has this scale.", show_default=False)] = None,
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
        typer.Option(help="File of `vspsr calibrate` for --intervals and --trust-mask.", show_default=False),
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
    quality: Annotated[int | None, typer.Option(help="Of jpeg, webp and avif, 1 ... 100.", show_default="95")] = None,
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

    Of a JPEG, outputs downscale to pictures that are saved as this file, coefficient for coefficient.
    This holds for inputs that are downscaled pictures, as `vspsr degrade` or MATLAB's imresize makes them.
    Other inputs may have no such image: the closest one found is written, and the exit code is 3.
    After an interruption, run the same command again: finished files are kept.
    With -o -, sample 0 of one image, or with --mean the mean, goes to standard output and nothing else does.
    """
    from vspsr.model import VSpSR
    from vspsr.upscaling.folders import upscale_files
    from vspsr.upscaling.intervals import read_calibration
    from vspsr.upscaling.saving import Options

    stream = is_stream(inputs, output, recursive or as_json)
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
    loaded = VSpSR.from_pretrained(model)
    if scale is not None and scale != loaded.scale:
        raise ValueError(f"`--scale` {scale} does not fit: the model {model} upscales by {loaded.scale}")
    loaded.to(pick_device(device))

    def batch(files: Mapping[Path, Path], step: Callable[[str, float], None]) -> Iterator[dict[str, Any]]:
        made = upscale_files(list(files), output, loaded, model, options, step, print_error, files)
        for (path, subfolder), report in zip(files.items(), made, strict=True):
            # Two subfolders may have files of one name.
            yield report if "error" in report else {**report, "input": str(subfolder / path.name)}

    if stream:
        reports = [upscale_to_stdout(inputs[0], loaded, model, options)]
    else:
        reports = _run(batch, inputs, output, as_json, _summary, recursive)
    if (jpegs := sum(r.get("jpeg") is not None for r in reports)) and not loaded.trained_on_jpegs:
        other = f"; `--model {_JPEG_MODEL}` was" if loaded.scale == 4 else ""
        print_note(f"{counted(jpegs, 'JPEG')}: {model} was not trained on JPEGs and may draw their ripples{other}")
    end(reports, print_wrong(reports))


def print_wrong(reports: Sequence[dict[str, Any]]) -> int:
    """Say how many LR values and JPEG coefficients are wrong, and why; returns their number."""
    found = 0
    for key, what in (("lr_values_wrong", "LR value"), ("coefficients_wrong", "JPEG coefficient")):
        if bad := [r for r in reports if r.get(key)]:
            wrong, total = (sum(n) for n in zip(*(wrong_of(r, key) for r in bad), strict=True))
            why = "not downscaled bicubically, or searched for too short a time"
            if wrong > _DRAWN * total:
                why = "drawn at this size, or not downscaled bicubically"
            why = f": {why} (see README, Which images have an exact answer)" if key == "lr_values_wrong" else ""
            where = f"{len(bad)} of {counted(len(reports), 'image')}"
            print_error(f"{wrong} of {counted(total, what)} wrong in {where}{why}")
            found += wrong
    return found


def end(reports: Sequence[dict[str, Any]], wrong: int = 0) -> None:
    """Raise the exit code of a command that worked on files; ``wrong`` LR values or coefficients."""
    failed = sum("error" in r for r in reports)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED if failed < len(reports) else ExitCode.NOTHING_DONE)
    if wrong:
        raise typer.Exit(ExitCode.LR_WRONG)


def _run(
    batch: Callable[[Mapping[Path, Path], Callable[[str, float], None]], Iterator[dict[str, Any]]],
    inputs: Sequence[Path],
    output: Path,
    as_json: bool,
    summary: Callable[[dict[str, Any]], str],
    recursive: bool = False,
) -> list[dict[str, Any]]:
    """Work on the images among the inputs: see `run_files`."""
    from vspsr.upscaling.folders import input_files

    return run_files(batch, input_files(inputs, output, recursive), output, as_json, summary)


def run_files(
    batch: Callable[[Mapping[Path, Path], Callable[[str, float], None]], Iterator[dict[str, Any]]],
    files: Mapping[Path, Path],
    output: Path,
    as_json: bool,
    summary: Callable[[dict[str, Any]], str],
) -> list[dict[str, Any]]:
    """Work on files with a progress bar, then print the reports; returns them."""
    reports: list[dict[str, Any]] = []

    def status() -> str:
        done = sum("error" not in r for r in reports)
        return f"{done} of {counted(len(files), 'image')} done" + (f", outputs in {output}" if done else "")

    with when_stopped(lambda: f"{status()}; run the same command again to go on"), progress(len(files)) as step:
        reports.extend(batch(files, step))
    if as_json:
        print(json.dumps(reports, indent=2))
        return reports
    for report in reports:
        if "error" not in report:
            print_line(summary(report))
    print_line(status())
    return reports


def _summary(report: dict[str, Any]) -> str:
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
    """Downscale HR images, by default as MATLAB's imresize but for exact halves: photo.png becomes photox4.png."""
    from vspsr.degradation import Degradation
    from vspsr.upscaling.folders import degrade_files

    degradation = Degradation(scale, kernel)

    def batch(files: Mapping[Path, Path], step: Callable[[str, float], None]) -> Iterator[dict[str, Any]]:
        return degrade_files(list(files), output, degradation, rounding, overwrite, step, print_error, crop)

    def summary(report: dict[str, Any]) -> str:
        return f"{report['input']}: {'kept' if report['kept'] else size_text(report['lr_size'])}"

    end(_run(batch, inputs, output, as_json, summary))
