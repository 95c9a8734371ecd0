"""`vspsr upscale - -o -`: one image in, one image to standard output and nothing else."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vspsr.cli.console import print_note
from vspsr.errors import counted, size_text

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
    shown = "standard input" if isinstance(image, bytes) else path
    print_note(f"{shown}: {size_text(report['hr_size'])}, {exactness(report)}")
    return report


def wrong_of(report: dict[str, Any], key: str) -> tuple[int, int]:
    """How many LR values or JPEG coefficients of all outputs are wrong, of how many."""
    outputs = report.get("outputs")
    pictures = 1 if outputs is None else sum(key in (record or {}) for record in outputs.values())
    return report[key], pictures * report[key.removesuffix("_wrong")]


def exactness(report: dict[str, Any]) -> str:
    """How well images downscale to the input, and what was assumed."""
    jpeg, assumed = report.get("jpeg"), report.get("assumed")
    if jpeg is not None:
        assumed = jpeg["subsampling"] + (", no noise found" if report.get("denoise") == "auto" else "")
    if report.get("noise"):
        text = "downscaling gives the input up to its noise"
    elif jpeg is not None:
        wrong, total = wrong_of(report, "coefficients_wrong")
        text = "downscaling and saving gives this JPEG"
        text = f"{wrong} of {counted(total, 'JPEG coefficient')} wrong" if wrong else text
    else:
        wrong, total = wrong_of(report, "lr_values_wrong")
        text = "downscaling gives the input exactly"
        text = f"{wrong} of {counted(total, 'LR value')} wrong" if wrong else text
    until = report.get("exact_until")
    return text + (f" ({assumed})" if assumed else "") + (f", {until}, which loses that" if until else "")
