"""What commands that work on files do alike: progress, lines on standard output, what is wrong, the exit code."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vspsr.cli.console import ExitCode, print_error, print_line, progress, when_stopped
from vspsr.errors import counted

if TYPE_CHECKING:
    from vspsr.upscaling.folders import Progress, Report

_DRAWN = 0.01
"""Share of LR values wrong from which an image is hardly a downscaled photograph."""


def print_wrong(reports: Sequence["Report"]) -> int:
    """Say how many LR values and JPEG coefficients are wrong, and why; returns their number."""
    found, done = 0, sum("error" not in r for r in reports)
    for key, what in (("lr_values_wrong", "LR value"), ("coefficients_wrong", "JPEG coefficient")):
        if bad := [r for r in reports if r.get(key)]:
            wrong, total = (sum(n) for n in zip(*(_wrong_of(r, key) for r in bad), strict=True))
            why = "not downscaled bicubically, or searched for too short a time"
            if wrong > _DRAWN * total:
                why = "drawn at this size, or not downscaled bicubically"
            why = f": {why} (see README, Which images have an exact answer)" if key == "lr_values_wrong" else ""
            where = f"{len(bad)} of {counted(done, 'image')}"
            print_error(f"{wrong} of {counted(total, what)} wrong in {where}{why}")
            found += wrong
    return found


def end(reports: Sequence["Report"], wrong: int = 0) -> None:
    """Raise the exit code of a command that worked on files; ``wrong`` LR values or coefficients."""
    failed = sum("error" in r for r in reports)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED if failed < len(reports) else ExitCode.NOTHING_DONE)
    if wrong:
        raise typer.Exit(ExitCode.LR_WRONG)


def run_files(
    work: Callable[["Progress"], "Iterator[Report]"],
    n: int,
    output: Path,
    as_json: bool,
    summary: Callable[["Report"], str],
) -> "list[Report]":
    """Work on ``n`` files with a progress bar, then print the reports; returns them."""
    reports: list[Report] = []

    def status() -> str:
        done = sum("error" not in r for r in reports)
        return f"{done} of {counted(n, 'image')} done" + (f", outputs in {output}" if done else "")

    with when_stopped(lambda: f"{status()}; run the same command again to go on"), progress(n) as step:
        reports.extend(work(step))
    if as_json:
        print(json.dumps(reports, indent=2))
        return reports
    for report in reports:
        if "error" not in report:
            print_line(summary(report))
    print_line(status())
    return reports


def _wrong_of(report: "Report", key: str) -> tuple[int, int]:
    """How many LR values or JPEG coefficients of all outputs are wrong, of how many: of 0, if none was to be exact."""
    outputs = report.get("outputs")
    pictures = 1 if outputs is None else sum(key in (record or {}) for record in outputs.values())
    return report[key], pictures * report[key.removesuffix("_wrong")]


def exactness(report: "Report") -> str:
    """How well images downscale to the input, and what was assumed."""
    jpeg, assumed = report.get("jpeg"), report.get("assumed")
    if jpeg is not None:
        assumed = jpeg["subsampling"] + (", no noise found" if report.get("denoise") == "auto" else "")
    if report.get("noise"):
        text = "downscaling gives the input up to its noise"
    else:
        key, what, text = "lr_values_wrong", "LR value", "downscaling gives the input exactly"
        if jpeg is not None:
            key, what, text = "coefficients_wrong", "JPEG coefficient", "downscaling and saving gives this JPEG"
        wrong, total = _wrong_of(report, key)
        text = f"{wrong} of {counted(total, what)} wrong" if wrong else text if total else "no HR image of the space"
    until = report.get("exact_until")
    return text + (f" ({assumed})" if assumed else "") + (f", {until}, which loses that" if until else "")
