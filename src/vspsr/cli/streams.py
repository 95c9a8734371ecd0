"""`vspsr upscale - -o -`: one image in, one image to standard output and nothing else."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vspsr.cli.console import print_note

if TYPE_CHECKING:
    from vspsr.model import VSpSR
    from vspsr.upscaling.saving import Options


def is_stream(inputs: Sequence[Path], output: Path, for_folders: bool) -> bool:
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
    if sys.stdout.isatty():
        raise ValueError("`-o -` writes an image file, and standard output is a terminal: redirect it")
    return True


def upscale_to_stdout(path: Path, model: "VSpSR", name: str, options: "Options") -> dict[str, Any]:
    """Super-resolve one image to standard output, with the summary on standard error."""
    from vspsr.upscaling.streams import upscale_stream

    image = path if path != Path("-") else sys.stdin.buffer.read()
    content, report = upscale_stream(image, model, name, options)
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    height, width = report["hr_size"]
    print_note(f"{'standard input' if isinstance(image, bytes) else path}: {width}×{height}, {exactness(report)}")
    return report


def exactness(report: dict[str, Any]) -> str:
    """How well images downscale to the input, and what was assumed."""
    missed, jpeg, wrong = report["lr_values_wrong"], report.get("jpeg"), report.get("coefficients_wrong")
    assumed = report.get("assumed")
    if jpeg is not None:
        assumed = jpeg["subsampling"] + (", no noise found" if report.get("denoise") == "auto" else "")
    if report.get("noise"):
        text = "downscaling gives the input up to its noise"
    elif jpeg is not None:
        text = f"{wrong} JPEG coefficients missed" if wrong else "downscaling and saving gives this JPEG"
    else:
        text = f"{missed} LR values missed" if missed else "downscaling gives the input exactly"
    until = report.get("exact_until")
    return text + (f" ({assumed})" if assumed else "") + (f", {until}, which loses that" if until else "")
