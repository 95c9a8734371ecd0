"""`vspsr explore`: the space of a picture in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from vspsr.cli.console import device as pick_device
from vspsr.cli.console import print_line
from vspsr.cli.options import Device, Model, WasJpeg


def explore(
    photo: Annotated[Path | None, typer.Argument(help="LR image file, or a saved session.", show_default=False)] = None,
    model: Model = "vspsr-x4-explore",
    host: Annotated[str, typer.Option(help="Address to listen at; others let your network in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    was_jpeg: WasJpeg = False,
    device: Device = "auto",
) -> None:
    """Explore the space of a picture in the browser: look, walk, edit, compare, keep.

    The page is served to this machine alone, under an address with a random token. Ctrl-C ends it.

    Example:  vspsr explore photo.png
    """
    from vspsr.explorer import serve
    from vspsr.explorer.uploads import check_photo
    from vspsr.model import VSpSR

    if photo is not None:
        check_photo(photo)
    loaded = VSpSR.from_pretrained(model).to(pick_device(device))
    name, started = Path(model).name, lambda at: print_line(f"Exploring at {at}")
    serve(loaded, name, photo, host, port, browser, was_jpeg=was_jpeg, started=started)
