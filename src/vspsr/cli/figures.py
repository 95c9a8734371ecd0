"""`vspsr figures`: the figures of the paper, for one's own images and models or for report folders."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from vspsr.cli.console import ExitCode, print_error, print_line, progress, when_stopped
from vspsr.cli.console import device as pick_device
from vspsr.cli.options import Device, Folder, Model, Overwrite, Seed
from vspsr.cli.reports import end
from vspsr.errors import counted


class Kind(StrEnum):
    """Which figure."""

    sparsity = "sparsity"
    comparison = "comparison"
    atoms = "atoms"


def figures(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="LR images, or folders of them; or reports of `vspsr evaluate` to compare.", show_default=False
        ),
    ],
    output: Folder = Path("vspsr-figures"),
    figure: Annotated[
        list[Kind] | None, typer.Option(help="Which figures; may be given more than once.", show_default="all")
    ] = None,
    model: Model = "vspsr-x4",
    hr: Annotated[
        bool, typer.Option("--hr", help="The images are HR: they are downscaled first and shown in the comparison.")
    ] = False,
    samples: Annotated[int, typer.Option(min=0, max=20, help="Samples in the comparison.")] = 3,
    seed: Seed = 0,
    crop: Annotated[
        list[str] | None,
        typer.Option(
            help="LEFT,TOP,SIDE in HR pixels; may be given more than once.", show_default="where the pictures differ"
        ),
    ] = None,
    file_format: Annotated[Literal["png", "pdf", "svg"], typer.Option("--format", help="Kind of file.")] = "png",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Draw sparsity, comparisons with crops, and the atoms of images: Figs. 3 to 6 of the paper.

    Examples:  vspsr figures photo.png -o figures
    vspsr figures --hr butterfly.png --crop 300,220,64 --format pdf
    vspsr figures REPORT_OURS REPORT_SRGAN --figure comparison
    """
    from vspsr.checks import check_seed
    from vspsr.images.folders import image_files
    from vspsr.model import VSpSR
    from vspsr.report.figure_files import FigureOptions, figures_of_image, figures_of_reports
    from vspsr.upscaling.folders import Progress, Report, each_file
    from vspsr.upscaling.outputs import folder_for_outputs

    check_seed(seed)
    kinds = tuple(dict.fromkeys(figure or Kind))
    boxes = tuple(_box(text) for text in crop or [])
    options = FigureOptions(output, kinds, boxes, hr, samples, seed, file_format, overwrite)
    written: list[Path] = []

    def status() -> str:
        return f"{counted(len(written), 'file')} written to {output}; those of the same settings are kept"

    reports = [path for path in inputs if (path / "settings.json").is_file()]
    if reports:
        if len(reports) < len(inputs):
            other = next(p for p in inputs if p not in reports)
            raise ValueError(f"{other}: is no report folder; reports and images cannot be mixed")
        if figure and "comparison" not in kinds:
            raise ValueError("`--figure`: report folders hold pictures only: the comparison can be drawn from them")
        total = len(list((reports[0] / "images").glob("*.json")))
        with folder_for_outputs(output), when_stopped(status), progress(total) as step:
            written.extend(figures_of_reports(reports, options, lambda stem: step(stem, 1)))
        print_line(status())
        return
    loaded = VSpSR.from_pretrained(model)
    loaded.to(pick_device(device))
    files = dict.fromkeys(image_files(inputs), Path())

    def work(path: Path, _: Path, __: Progress) -> Report:
        written.extend(figures_of_image(path, loaded, model, options))
        return {"input": str(path)}

    with when_stopped(status), progress(len(files)) as step:
        results = list(each_file(files, output, None, work, step, print_error))
    print_line(status())
    if written and any("error" in result for result in results):
        raise typer.Exit(ExitCode.SOME_FAILED)
    end(results)


def _box(text: str) -> tuple[int, int, int]:
    try:
        left, top, side = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"`--crop` must be LEFT,TOP,SIDE in HR pixels, got {text!r}") from error
    return left, top, side
