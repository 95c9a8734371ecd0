"""Files that come into being completely or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vspsr.errors import OutputError

__all__ = ["make_folder", "one_line", "replacing"]


def one_line(text: object) -> str:
    """Put what may have line breaks on one line."""
    return " ".join(str(text).split())


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name in the same folder; move it into place at the end.

    Where ``path`` is a symbolic link, the file that it points to is replaced and the link stays.

    Args:
        path: where to.
        overwrite: whether a file that exists may be replaced.

    Raises:
        OutputError: the file exists, or the folder or disk does not take it. One line that begins with ``path``;
            what was there before is untouched and no temporary file is left.
    """
    name, path = one_line(path), Path(path)
    try:
        _check_free(name, path, overwrite)
        final = path.resolve()
        temporary = final.with_name(f".vspsr-{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some disks say no earlier that they are full
            _check_free(name, path, overwrite)  # it may have appeared in the meantime
            temporary.replace(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except FileNotFoundError as error:
        raise OutputError(f"{name}: the folder {one_line(path.parent)} does not exist") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise OutputError(f"{name}: cannot be written ({reason})") from error


def _check_free(name: str, path: Path, overwrite: bool) -> None:
    """Refuse a place that is taken by what must not be replaced."""
    if path.is_dir():
        raise OutputError(f"{name}: is a folder")
    if path.exists() and not path.is_file():
        raise OutputError(f"{name}: is not a regular file")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise OutputError(f"{name}: exists already, and is kept unless overwriting is asked for")


def make_folder(folder: Path) -> None:
    """Make the output folder where it is missing. OutputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise OutputError(f"{folder}: the output folder cannot be made ({reason})") from error
