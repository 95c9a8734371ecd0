"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from vspsr.cli.console import output_folder

Inputs = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)]
Output = typer.Option("--output", "-o", help="Folder for what is made; made if missing.", callback=output_folder)
Folder = Annotated[Path, Output]
Model = Annotated[str, typer.Option(help="A shipped model, a folder, or a Hugging Face Hub id.")]
Device = Annotated[str, typer.Option(help="auto (all GPUs, else CPU), cpu, cuda, cuda:1 …")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same images.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist; they are kept otherwise.")]
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
