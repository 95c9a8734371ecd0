"""Files that are sent to the server: into its temporary folder, then into memory, within the limits."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import Request

from vspsr.errors import ImageFileError
from vspsr.explorer.keep import is_session_file, read_session
from vspsr.explorer.limits import Limits
from vspsr.explorer.session import Session
from vspsr.images import read_header, read_image
from vspsr.images.picture import Picture


@asynccontextmanager
async def received(request: Request, folder: Path) -> AsyncIterator[tuple[Path, str]]:
    """The body of a request as a file in a folder, which is removed at the end; and its name on the user's machine."""
    path = folder / f"upload-{secrets.token_hex(12)}"
    try:
        with path.open("xb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        yield path, unquote(request.headers.get("x-name", "picture"))[:200]
    finally:
        path.unlink(missing_ok=True)


def read_picture(path: Path, title: str, most: int) -> Picture:
    """An image file as a picture.

    Raises:
        ImageFileError: no image, or one of more than ``most`` pixels, by its header: begins with ``title``.
    """
    try:
        height, width = read_header(path).size
        if height * width > most:
            raise ImageFileError(f"{title}: has {width}×{height} pixels, more than {most / 1e6:.2g} million")
        return read_image(path)
    except ImageFileError as error:
        raise ImageFileError(str(error).replace(str(path), title)) from None


def read_upload(path: Path, title: str, limits: Limits) -> Session:
    """An image file, or a session that was saved, as a session whose space is still to be made.

    Raises:
        ImageFileError: neither, or too large.
    """
    if not is_session_file(path):
        return Session(title, read_picture(path, title, limits.lr_pixels), limits)
    session: Session | None = None
    about: dict[str, Any] = {}
    for part in read_session(path, title):
        if isinstance(part, dict):
            about = part
        elif session is None:
            if part[2].size[0] * part[2].size[1] > limits.lr_pixels:
                raise ImageFileError(f"{title}: its picture has more than {limits.lr_pixels / 1e6:.2g} million pixels")
            session = Session(part[1], part[2], limits)
        else:
            session.add_file(part[1], part[2], part[0])
    if session is None:
        raise ImageFileError(f"{title}: not a session that the explorer has saved")
    session.document = about.get("document")
    return session


def check_photo(path: Path) -> None:
    """ImageFileError unless a file is an image or a session, by its first bytes."""
    if path.suffix == ".safetensors" and path.is_file():
        return
    read_header(path)
