"""The commands that make and check images: parse, call, print."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vspsr.cli.console import device as pick_device
from vspsr.cli.console import output_folder, print_error, print_line, progress, when_stopped
from vspsr.cli.options import AsJson, Device, Folder, Inputs, Model, Overwrite, Seed, numbers_or_text
from vspsr.cli.streams import exactness, is_stream, upscale_to_stdout

if TYPE_CHECKING:
    from vspsr.upscaling.comparison import JpegComparison

Kernel = Annotated[str, typer.Option(help="bicubic (MATLAB's imresize), bilinear, lanczos3 or box.")]


Rounding = Annotated[
    Literal["per-pass", "single"],
    typer.Option(help="LR integers: rounded after each axis (MATLAB, the challenge) or once at the end."),
]

AsPixels = Annotated[
    bool, typer.Option("--as-pixels", help="Take the decoded pixels of a JPEG as exact, not its coefficients.")
]
WasJpeg = Annotated[
    bool, typer.Option("--was-jpeg", help="If pixels show that they were a JPEG before, estimate its coefficients.")
]

MISSED = 3  # exit code where LR values are missed


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
    )
    loaded = VSpSR.from_pretrained(model)
    if scale is not None and scale != loaded.scale:
        raise ValueError(f"`--scale` {scale} does not fit: the model {model} upscales by {loaded.scale}")
    loaded.to(pick_device(device))

    def batch(files: Mapping[Path, Path], step: Callable[[str, float], None]) -> Iterator[dict[str, Any]]:
        return upscale_files(list(files), output, loaded, model, options, step, print_error, files)

    if stream:
        reports = [upscale_to_stdout(inputs[0], loaded, model, options)]
    else:
        reports = _run(batch, inputs, output, as_json, _summary, recursive)
    missed = 0
    for key, what in (("lr_values_wrong", "LR values"), ("coefficients_wrong", "JPEG coefficients")):
        if counts := [r[key] for r in reports if r.get(key)]:
            print_error(f"{sum(counts)} {what} are missed in {len(counts)} of {len(reports)} images")
            missed += sum(counts)
    if any("error" in r for r in reports):
        raise typer.Exit(1)
    if missed:
        raise typer.Exit(MISSED)


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
        return f"{done} of {len(files)} images done, outputs in {output}"

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
    height, width = report["hr_size"]
    return f"{name}: {report['samples']} samples of {width}×{height}, {exactness(report)}, {report['seconds']:.1f} s"


def degrade(
    inputs: Inputs,
    output: Folder = Path("vspsr-lr"),
    scale: Annotated[int, typer.Option(help="Integer ≥ 2.")] = 4,
    kernel: Kernel = "bicubic",
    rounding: Rounding = "per-pass",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Downscale HR images, by default as MATLAB's imresize but for exact halves: photo.png becomes photox4.png."""
    from vspsr.degradation import Degradation
    from vspsr.upscaling.folders import degrade_files

    degradation = Degradation(scale, kernel)

    def batch(files: Mapping[Path, Path], step: Callable[[str, float], None]) -> Iterator[dict[str, Any]]:
        return degrade_files(list(files), output, degradation, rounding, overwrite, step, print_error)

    def summary(report: dict[str, Any]) -> str:
        height, width = report["lr_size"]
        return f"{report['input']}: {'kept' if report['kept'] else f'{width}×{height}'}"

    if any("error" in r for r in _run(batch, inputs, output, as_json, summary)):
        raise typer.Exit(1)


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
    """Check whether HR downscales to LR: exit code 0 only if it does so bit for bit.

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
            f"not exact: {result.lr_pixels_wrong} of {result.lr_pixels} LR pixels differ, by at most "
            f"{result.lr_max_deviation} levels of {result.bits} bits (LR-PSNR {result.lr_psnr:.2f} dB){assumed}"
        )
    if not result.exact:
        raise typer.Exit(1)


def _print_jpeg(result: "JpegComparison", subsampling: str, as_json: bool) -> None:
    """Print how HR and a JPEG compare; exit code 1 unless they agree."""
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
            f"{result.coefficients} coefficients differ from the file's (--as-pixels compares pixels)"
        )
    if not result.exact:
        raise typer.Exit(1)
