"""The command `vspsr evaluate`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from vspsr.cli.console import device as pick_device
from vspsr.cli.console import download_progress, print_line, progress, when_stopped
from vspsr.cli.options import AsJson, Device, Output, Seed
from vspsr.cli.tables import print_table
from vspsr.errors import counted
from vspsr.files import printable, to_json


def evaluate(
    reports: Annotated[
        list[Path] | None, typer.Argument(help="Print a table of these finished reports.", show_default=False)
    ] = None,
    hr: Annotated[Path | None, typer.Option(help="Folder of HR images.", show_default=False)] = None,
    output: Annotated[Path | None, Output] = None,
    model: Annotated[
        str | None, typer.Option(help="A shipped model, a folder, or a Hugging Face Hub id.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder of SR images: STEM_s00.png … or STEM.png, or as in the challenge.", show_default=False
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="bicubic, edsr, rcan, srgan, esrgan, or a checkpoint that spandrel reads.", show_default=False
        ),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The baseline's weights.", show_default=False)] = None,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="Apply the exact projection to the baseline or the results.")
    ] = False,
    lr: Annotated[
        Path | None, typer.Option(help="Folder of LR images. (default: made from HR by imresize)", show_default=False)
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Integer ≥ 2.", show_default="that of --model, otherwise 4")] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="How many of each image. (default: 10, or all in --results)", show_default=False),
    ] = None,
    seed: Seed = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Spread of the model's samples. (default: the model's)", show_default=False)
    ] = None,
    backend: Annotated[
        Literal["stlpips-alex", "stlpips-vgg", "lpips-alex", "lpips-vgg", "lpips-squeeze"],
        typer.Option(help="Perceptual distance."),
    ] = "stlpips-alex",
    protocol: Annotated[
        Literal["ntire21", "whole"], typer.Option(help="whole: without the challenge's crop to multiples of 8.")
    ] = "ntire21",
    border: Annotated[int, typer.Option(min=0, help="Pixels left out on each side for PSNR and SSIM.")] = 0,
    channel: Annotated[Literal["y", "rgb"], typer.Option(help="Channel of SSIM. PSNR is given on both.")] = "y",
    details: Annotated[
        bool,
        typer.Option(
            "--details/--challenge-only", help="With or without SSIM, calibration and the distance between samples."
        ),
    ] = True,
    pictures: Annotated[int, typer.Option(min=0, help="How many images get pictures in the report.")] = 20,
    device: Device = "auto",
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes. (default: as cores and memory allow)", show_default=False),
    ] = None,
    table: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=5,
            help="Print a table of the paper (1 to 3) or the challenge (4, 5) with the rows of REPORTS.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report made with other settings.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate super-resolution: a model, a baseline or any results, by the NTIRE 2021 protocol and more metrics.

    Everything is checked before anything is computed.
    Re-running the command resumes it: finished images are kept.
    The report is a web page, with metrics.csv and summary.json for programs.

    Examples:  vspsr evaluate --model vspsr-x4 --hr Set14 --scale 4 -o report
    vspsr evaluate report other-report
    vspsr evaluate --table 2 report
    """
    if reports or table is not None:
        if hr or output:
            raise ValueError("`--hr` and `-o` are for an evaluation: a table of reports goes without them")
        from vspsr.report import tables

        found = tables.report_table(reports or []) if table is None else tables.paper_table(table, reports or [])
        if as_json:
            print(json.dumps(to_json(found), indent=2))
        else:
            print_table(tables.as_rich(found))
        return
    if hr is None or output is None:
        raise ValueError(f"`--{'output' if hr else 'hr'}` is missing: give --hr DIR and -o REPORT")
    from vspsr.evaluation.request import Request
    from vspsr.evaluation.runner import evaluate as run
    from vspsr.evaluation.runner import interrupted
    from vspsr.images.folders import image_files
    from vspsr.model import VSpSR

    if baseline is not None and samples not in (None, 1):
        raise ValueError(f"`samples` {samples} goes with --model or --results: a baseline has one image")
    if scale is None:
        scale = 4 if model is None else VSpSR.from_pretrained(model).scale
    request = Request(
        hr=hr,
        scale=scale,
        model=model,
        results=results,
        baseline=baseline,
        checkpoint=checkpoint,
        consistent=consistent,
        lr=lr,
        samples=samples,
        seed=seed,
        temperature=temperature,
        backend=backend,
        protocol=protocol,
        border=border,
        channel=channel,
        details=details,
        pictures=pictures,
    )
    kept = 0
    with when_stopped(lambda: interrupted(output)), progress(len(image_files([hr]))) as step:

        def counting(what: str, advance: int) -> None:
            nonlocal kept
            kept += 0 if what else advance
            step(what, advance)

        summary = run(request, output, pick_device(device), processes, overwrite, counting)
    if as_json:
        print(json.dumps(to_json(summary), indent=2))
    else:
        _show(summary, output)
        if kept:
            print_line(f"{kept} of {counted(summary['n_images'], 'image')} kept from an earlier run")


def baselines(
    fetch: Annotated[
        str | None, typer.Option(help="Download the published weights of this name.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where to. (default: torch's cache, where --baseline looks)", show_default=False)
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Accept a file without a published checksum.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the published weights of baselines, or download some. Each is listed with its licence.

    Example:  vspsr baselines --fetch edsr-x4
    """
    from vspsr.baselines import fetch_weights, published_weights
    from vspsr.files import sha256_of

    if fetch is not None:
        again = "run the same command again"
        with when_stopped(lambda: f"nothing of {fetch} was kept; {again}"), download_progress(fetch) as step:
            path = fetch_weights(fetch, folder, unverified, step)
        print_line(f"{path}: sha256 {sha256_of(path)}")
        return
    weights = published_weights().values()
    if as_json:
        print(json.dumps([asdict(w) for w in weights], indent=2))
        return
    table = Table("weights", "baseline", "scale", "checksum", "licence")
    for w in weights:
        table.add_row(w.name, w.architecture, f"x{w.scale}", _checksum(w.sha256), w.licence)
    print_table(table)


def _checksum(sha256: str | None) -> str:
    """How much of a file's SHA-256 is published."""
    if sha256 is None:
        return "none: needs --unverified"
    return "whole" if len(sha256) == 64 else f"first {len(sha256)} digits"


def _show(summary: dict[str, Any], output: Path) -> None:
    """The main figures as a table, and where the report is."""
    from vspsr.report.words import mean_number, number

    settings, n, samples = summary["settings"], summary["n_images"], summary["n_samples"]
    table = Table(
        "",
        f"{settings['backend']} ↓",
        "PSNR RGB ↑",
        "PSNR Y ↑",
        "SSIM ↑",
        "LR-PSNR ↑",
        title=printable(
            f"{settings['name']}: {counted(n, 'image')} of {settings['hr']}, x{settings['scale']}, samples: {samples}"
        ),
    )
    for title, key in (("samples", "means"), ("mean", "means_of_mean"), ("bicubic", "means_of_bicubic")):
        if means := summary[key]:
            columns = (("distance", 4), ("psnr_rgb", 2), ("psnr_y", 2), ("ssim", 4), ("lr_psnr", 2))
            texts = [mean_number(means[k], digits) if k in means else ("—", "") for k, digits in columns]
            table.add_row(title, *(f"{mean} ({note})" if note else mean for mean, note in texts))
    print_table(table)
    if summary["diversity"]:
        score, stddev = (number(summary["diversity"][k], 2) for k in ("score", "pixel_stddev"))
        print_line(f"diversity score {score}, mean pixel standard deviation {stddev} levels")
    lr = summary["lr"]
    print_line(
        f"{lr['lr_pixels_wrong']} of {lr['lr_pixels']} LR pixels are wrong; "
        f"{lr['samples_exact']} of {lr['samples']} SR images downscale to the LR image bit for bit"
    )
    print_line(f"report: {output / 'index.html'}")
