"""The commands that judge and mend pictures of any origin: `vspsr check`, `project`, `assess` and `calibrate`."""

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vspsr.cli.console import ExitCode, print_error, print_line, progress, when_stopped
from vspsr.cli.console import device as pick_device
from vspsr.cli.options import (
    AsJson,
    AsPixels,
    Budget,
    Device,
    Folder,
    Kernel,
    Model,
    Output,
    Overwrite,
    Replace,
    Rounding,
    WasJpeg,
)
from vspsr.cli.reports import end, print_wrong, run_files
from vspsr.errors import counted

if TYPE_CHECKING:
    from vspsr.upscaling.folders import Progress, Report
    from vspsr.upscaling.intervals import IntervalCalibration


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
        _print_pixels(found, result.where, f" ({source.note})" if source.note else "")
    if not result.exact:
        raise typer.Exit(ExitCode.LR_WRONG)


def _print_pixels(found: dict[str, Any], where: str, assumed: str) -> None:
    if found["exact"]:
        print_line(f"exact: all {found['lr_pixels']} LR pixels are reproduced bit for bit (LR-PSNR ∞){assumed}")
        return
    print_line(
        f"not exact: {found['lr_values_wrong']} of {counted(found['lr_values'], 'LR value')} wrong, in "
        f"{found['lr_pixels_wrong']} of {counted(found['lr_pixels'], 'LR pixel')}, by at most "
        f"{counted(found['lr_max_deviation'], 'level')} of {found['bits']} bits"
        f"{where} (LR-PSNR {found['lr_psnr']:.2f} dB){assumed}"
    )


def _print_jpeg(found: dict[str, Any], subsampling: str) -> None:
    how, total = f"downscaled and saved with the JPEG's tables, {subsampling}", found["coefficients"]
    if found["exact"]:
        print_line(f"exact: {how}, it gives all {total} coefficients of the file")
    else:
        wrong = found["coefficients_wrong"]
        print_line(f"not exact: {how}, {wrong} of {total} coefficients wrong (--as-pixels compares pixels)")


def project(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="SR... LR...",
            help="Upscaled images, or folders of them; then their LR images, or a folder of these.",
            show_default=False,
        ),
    ],
    output: Folder = Path("vspsr-projected"),
    scale: Annotated[int | None, typer.Option(help="Integer ≥ 2.", show_default="from the sizes")] = None,
    kernel: Kernel = "bicubic",
    bits: Annotated[
        Literal["auto", "8", "16"], typer.Option(help="Depth of the outputs; auto: that of the upscaled image.")
    ] = "auto",
    rounding: Rounding = "per-pass",
    as_pixels: AsPixels = False,
    budget: Budget = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make upscaled images of any origin downscale to their LR images exactly, with the smallest change.

    photo.png becomes DIR/photo.png. The LR image of photo_ESRGAN.png is photo.png or photox4.png; to a single LR image
    all others belong.
    For a JPEG, each output gives the same coefficients when it is downscaled and saved with the tables of the file.
    Where no such image is found, the closest one is written, and the exit code is 3.

    Examples:  vspsr project esrgan.png photo.png -o out
    vspsr project esrgan/*.png lr/*.png -o out
    """
    from vspsr.upscaling.folders import check_no_input, each_file
    from vspsr.upscaling.projected_files import pair_files, project_file

    depth = bits if bits == "auto" else int(bits)
    options = {"scale": scale, "kernel": kernel, "bits": depth, "rounding": rounding, "budget": budget}
    for path in images:
        check_no_input(output, path)
    pairs = pair_files(images)

    def one(path: Path, where: Path, _: "Progress") -> "Report":
        return project_file(path, pairs[path], where, as_pixels, overwrite, **options)

    work = partial(each_file, dict.fromkeys(pairs, Path()), output, None, one, on_error=print_error)
    reports = run_files(work, len(pairs), output, as_json, _projected)
    end(reports, print_wrong(reports))


def _projected(report: "Report") -> str:
    jpeg = "coefficients_wrong" in report
    key, what = ("coefficients_wrong", "JPEG coefficients") if jpeg else ("lr_values_wrong", "LR values")
    levels = "levels" if report["bits"] == 8 else "levels of 16 bits"
    moved = f"moved by {report['moved_rms']:.2f} {levels} rms, at most {report['moved_max']:.0f}"
    if not report["moved_max"]:
        moved = "not moved"
    text = f"{report['input']}: {what} wrong: {report[f'{key}_before']} before, {report[key]} after; {moved}"
    text += f" ({report['assumed']})" if report["assumed"] else ""
    return text + (", kept" if report["kept"] else "")


def assess(
    sr: Annotated[Path, typer.Argument(help="Upscaled image of any origin.", show_default=False)],
    lr: Annotated[Path, typer.Argument(help="Its LR image.", show_default=False)],
    output: Annotated[Path | None, Output] = None,
    model: Model = "vspsr-x4",
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="File that `vspsr calibrate` wrote: compare with its pictures. (default: that of the model, if any)",
            show_default=False,
        ),
    ] = None,
    rounding: Rounding = "per-pass",
    as_pixels: AsPixels = False,
    device: Device = "auto",
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Judge an upscaled image by its LR image: LR values that are wrong, and detail that is unlikely.

    Unlikeliness is about 1 where detail is as usual as in photographs, larger where it is not.
    It is compared with true pictures: p is the share of them that are at least as unlikely. Below 0.05 is unusual.
    With -o, NAME_unlikely.png (a map, with red dots where LR values are wrong), NAME_unsupported.png (detail that no
    member of the space has) and NAME_report.json are written. Usual detail need not be true.
    The exit code is 0, whatever the verdict.

    Example:  vspsr assess esrgan.png photo.png --calibration mine.json -o out
    """
    from vspsr.model import VSpSR, model_file
    from vspsr.upscaling.assessment import assess_file
    from vspsr.upscaling.intervals import FILE_NAME, read_calibration

    loaded = VSpSR.from_pretrained(model)
    known = model_file(model, FILE_NAME) if calibration is None else calibration
    true = None
    if known is not None:
        true = read_calibration(known)
        true.check_model(loaded, known)
    loaded.to(pick_device(device))
    with progress(1) as step:
        step(sr.name, 0)
        report = assess_file(sr, lr, loaded, model, true, rounding, as_pixels, output, overwrite)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print_line(f"{sr}: {report['verdict']}" + (f" ({report['assumed']})" if report["assumed"] else ""))


def calibrate(
    folder: Annotated[Path, typer.Argument(help="HR images of your own kind.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for `upscale --calibration` and `assess --calibration`.")
    ] = Path("calibration.json"),
    model: Model = "vspsr-x4",
    alpha: Annotated[float, typer.Option(help="Share of an image's values that may lie outside of intervals.")] = 0.1,
    delta: Annotated[float, typer.Option(help="Probability that this promise is not kept.")] = 0.1,
    rounding: Rounding = "per-pass",
    device: Device = "auto",
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Find the factor for intervals mean ± factor·σ on images of your own kind: a promise without assumptions.

    LR images are made by the model's degradation. With probability 1 - delta over the choice of these images, the
    expected share of values outside of their intervals is at most alpha on further images of this kind.
    The method is that of risk-controlling prediction sets (Bates et al., 2021) with the Hoeffding-Bentkus bound.

    Example:  vspsr calibrate my-photos --alpha 0.1 --delta 0.1 -o mine.json
    """
    from dataclasses import asdict

    from vspsr.evaluation.calibrating import calibrate_folder
    from vspsr.files import check_free, identities, keep_inputs, make_folder, one_line, write_json
    from vspsr.images.folders import image_files
    from vspsr.model import VSpSR

    if not folder.is_dir():
        raise ValueError(f"{one_line(folder)}: is not a folder of HR images")
    files = image_files([folder])
    with keep_inputs(identities(files)):
        make_folder(output.parent)  # what cannot be written is said before hours of work
        check_free(output, overwrite)
    loaded = VSpSR.from_pretrained(model).to(pick_device(device))
    stopped = "nothing was written; run the same command again"
    with when_stopped(lambda: stopped), progress(len(files)) as step:
        result = calibrate_folder(folder, loaded, model, alpha, delta, rounding, step)
    write_json(output, result, overwrite)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
    else:
        _print_calibration(result, output)


def _print_calibration(result: "IntervalCalibration", output: Path) -> None:
    print_line(f"factor {result.factor:.2f} from {counted(result.true_pictures, 'image')}, in {output}")
    print_line(
        f"within mean ± {result.factor:.2f}·σ: {result.coverage:.1%} of the values; at least {1 - result.alpha:.0%} of "
        f"the values in {result.joint_coverage:.0%} of the images"
    )
    for c in result.by_size:
        size = f"half-width {c['smallest']:.1f} to {c['largest']:.1f} levels"
        print_line(f"  {size}: {c['coverage']:.1%} of {c['share']:.0%} of the values")
    if 1 - result.coverage < result.alpha / 2:
        print_line(
            f"with {counted(result.true_pictures, 'image')} the promise of {1 - result.alpha:.0%} takes this reserve: "
            "more images make the intervals narrower"
        )
    print_line(f"without calibration, ± {result.gaussian_factor:.2f}·σ: {result.gaussian_coverage:.1%} of the values")
