"""Image files as paths or as bytes: how they are opened, and what errors call them."""

import io
import stat
from pathlib import Path
from typing import BinaryIO

from vspsr.errors import ImageFileError
from vspsr.files import one_line

ImageFile = str | Path | bytes
"""The path of an image file, or its content."""


def name_of(path: ImageFile) -> str:
    """What errors call an image file, in one line."""
    return "image data" if isinstance(path, bytes) else one_line(path)


def open_file(path: ImageFile) -> BinaryIO:
    """Open a regular file that is not empty; unbuffered, because libvips continues with its descriptor."""
    if isinstance(path, bytes):
        if not path:
            raise ImageFileError("image data: is empty (0 bytes)")
        return io.BytesIO(path)
    try:
        status = Path(path).stat()
    except ValueError as error:
        raise ImageFileError(f"{one_line(path)}: no such file ({one_line(error)})") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageFileError(f"{one_line(path)}: is a folder, not an image file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageFileError(f"{one_line(path)}: is not a regular file")
    if status.st_size == 0:
        raise ImageFileError(f"{one_line(path)}: is empty (0 bytes)")
    return Path(path).open("rb", buffering=0)
