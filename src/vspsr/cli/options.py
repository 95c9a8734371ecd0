"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vspsr.cli.console import output_folder

Inputs = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)]
Output = typer.Option("--output", "-o", help="Folder for the outputs; made if missing.", callback=output_folder)
Folder = Annotated[Path, Output]
MODEL_HELP = "A shipped model, a folder, or a Hugging Face Hub id."
Model = Annotated[str, typer.Option(help=MODEL_HELP)]
Device = Annotated[str, typer.Option(help="auto (all GPUs, else CPU), cpu, cuda, cuda:1 …")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same images.")]
Kernel = Annotated[
    Literal["bicubic", "bilinear", "lanczos3", "box"],
    typer.Option(help="Downscaling kernel; bicubic is MATLAB's."),
]
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
Budget = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Seconds of processor time after which the search for a picture's exact integers ends.",
        show_default="30 for each million LR pixels, at least 10",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist; they are kept otherwise.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist; without it, stop at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a report for programs on standard output.")]


def numbers_or_text(value: str | None) -> float | tuple[float, ...] | str | None:
    """What an option holds that takes a number, numbers between commas, or a word."""
    if value is None:
        return None
    try:
        first, *others = (float(number) for number in value.split(","))
    except ValueError:
        return value
    return (first, *others) if others else first
