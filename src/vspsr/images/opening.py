"""Image files as paths or as bytes: how they are opened, and what errors call them."""

import hashlib
import io
import stat
from pathlib import Path

from vspsr.checks import check_types
from vspsr.errors import ImageFileError
from vspsr.files import one_line, reason_of

ImageFile = str | Path | bytes
"""The path of an image file, or its content."""


def name_of(path: ImageFile) -> str:
    """What errors call an image file, in one line. ValueError unless it is one of `ImageFile`."""
    check_types(path=(path, ImageFile))
    return "image data" if isinstance(path, bytes) else one_line(path)


def open_file(path: ImageFile) -> io.FileIO | io.BytesIO:
    """Open a regular file that is not empty; unbuffered, because libvips continues with its descriptor.

    ImageFileError where it cannot be opened.
    """
    if isinstance(path, bytes):
        if not path:
            raise ImageFileError("image data: is empty (0 bytes)")
        return io.BytesIO(path)
    name = one_line(path)
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageFileError(f"{name}: is a folder, not an image file")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise ImageFileError(f"{name}: is not a regular file")
        if status.st_size == 0:
            raise ImageFileError(f"{name}: is empty (0 bytes)")
        return Path(path).open("rb", buffering=0)
    except FileNotFoundError as error:
        raise ImageFileError(f"{name}: no such file") from error
    except ValueError as error:  # a null character in the name
        raise ImageFileError(f"{name}: no such file ({one_line(error)})") from error
    except OSError as error:
        raise ImageFileError(f"{name}: cannot be read ({reason_of(error)})") from error


def sha256_of_image(path: ImageFile) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits. ImageFileError as in `open_file`."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
