"""`vspsr data`: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from vspsr.cli.console import download_progress, output_folder, print_line, when_stopped
from vspsr.errors import did_you_mean


def fetch(
    name: Annotated[str, typer.Argument(help="div2k", show_default=False)],
    root: Annotated[
        Path, typer.Option(help="Folder to put it in; made if missing.", show_default=False, callback=output_folder)
    ],
    parts: Annotated[
        str, typer.Option(help="Archives, by commas: tr_1X … va_8X (NTIRE 2021), train_HR … valid_LR_x8 (DIV2K).")
    ] = "tr_1X,tr_4X,va_1X,va_4X",
    mirror: Annotated[str | None, typer.Option(help="Another host with the same paths.", show_default=False)] = None,
) -> None:
    """Download a published data set. After an interruption, run the same command again to go on.

    DIV2K is for academic research only: read its terms at https://data.vision.ee.ethz.ch/cvl/DIV2K/.

    Example:  vspsr data fetch div2k --root data/div2k --parts tr_1X,tr_4X,va_1X,va_4X
    """
    from vspsr.data.fetch import DIV2K, HOST
    from vspsr.data.fetch import fetch as fetch_archive

    if name.lower() != "div2k":
        raise ValueError(f"unknown data set {name!r}: there is div2k")
    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    if not wanted:
        raise ValueError(f"`--parts` names nothing: there are {', '.join(DIV2K)}")
    for part in wanted:
        if part not in DIV2K:
            raise ValueError(f"`--parts` {part!r}: {did_you_mean(part, DIV2K)}")
    host = HOST if mirror is None else mirror.rstrip("/") + "/"
    done: list[str] = []
    with when_stopped(lambda: f"{len(done)} of {len(wanted)} archives fetched; run the same command again to go on"):
        for part in wanted:
            with download_progress(part) as step:
                folder = fetch_archive(DIV2K[part], root, host, step)
            done.append(part)
            print_line(f"{part}: in {folder}")
