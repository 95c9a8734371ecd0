"""Files that are sent to the server: into its temporary folder, then into memory, within the limits."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from fastapi import Request
from starlette.requests import ClientDisconnect

from vspsr.errors import ImageFileError
from vspsr.explorer.limits import Limits
from vspsr.explorer.saved import SavedWith, is_session_file, read_session
from vspsr.explorer.session import Session
from vspsr.images import read_header
from vspsr.images.sources import Source, read_source


@asynccontextmanager
async def received(request: Request, folder: Path) -> AsyncIterator[tuple[Path, str]]:
    """The body of a request as a file in a folder, which is removed at the end; and its name on the user's machine.

    ClientDisconnect if the sender has gone, also at the end: what was read is then not wanted any more.
    """
    path = folder / f"upload-{secrets.token_hex(12)}"
    try:
        with path.open("xb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        yield path, unquote(request.headers.get("x-name", "picture"))[:200]
        if await request.is_disconnected():
            raise ClientDisconnect
    finally:
        path.unlink(missing_ok=True)


def read_picture(path: Path, title: str, most: int, was_jpeg: bool = False) -> Source:
    """An image file as a picture, and what is known about it.

    Args:
        path, was_jpeg: as in `read_source`.
        title: what to call it.
        most: number of pixels.

    Raises:
        ImageFileError: no image, or one of more than ``most`` pixels, by its header: begins with ``title``.
    """
    try:
        height, width = read_header(path).size
        if height * width > most:
            raise ImageFileError(f"{title}: has {width}×{height} pixels, more than {most / 1e6:.2g} million")
        return read_source(path, was_jpeg=was_jpeg)
    except ImageFileError as error:
        raise ImageFileError(str(error).replace(str(path), title)) from None


def read_upload(path: Path, title: str, limits: Limits, was_jpeg: bool = False) -> tuple[Session, SavedWith | None]:
    """An image file, or a session that was saved, as a session whose space is still to be made; what the file says of
    how it was saved.

    Raises:
        ImageFileError: neither, or too large.
    """
    if not is_session_file(path):
        return Session(title, read_picture(path, title, limits.lr_pixels, was_jpeg), limits), None
    session: Session | None = None
    for part in read_session(path, title):
        if isinstance(part, SavedWith):
            assert session is not None
            session.document = part.document
            return session, part
        name, file_title, source = part
        if session is None:
            if source.picture.size[0] * source.picture.size[1] > limits.lr_pixels:
                raise ImageFileError(f"{title}: its picture has more than {limits.lr_pixels / 1e6:.2g} million pixels")
            session = Session(file_title, source, limits)
        else:
            session.add_file(file_title, source.picture, name)
    raise ImageFileError(f"{title}: not a session that the explorer has saved")


def check_photo(path: Path) -> None:
    """ImageFileError unless a file is an image or a session, by its first bytes."""
    if path.suffix == ".safetensors" and path.is_file():
        return
    read_header(path)
