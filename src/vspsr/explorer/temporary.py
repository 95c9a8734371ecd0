"""A temporary folder that is removed even if its process was killed."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vspsr.files import lock


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder among the system's temporary files, which is removed at the end with everything in it.

    Folders of this prefix that killed processes have left are removed first. Those of running processes are kept: they
    hold a lock on them. If the file system does not support locks, all are kept.

    Args:
        prefix: of the folder's name.

    Raises:
        OSError: the folder cannot be made.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with _folder_lock(path, wait=False) as locked:
            if locked:
                shutil.rmtree(path, ignore_errors=True)
    while True:
        temporary = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
        folder = Path(temporary.name)
        with temporary, _folder_lock(folder, wait=True):
            if folder.exists():  # else another process removed it as stale before it was locked
                yield folder
                return


@contextmanager
def _folder_lock(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock of a folder; whether it could be locked."""
    if sys.platform == "win32":
        yield False
        return
    with ExitStack() as opened:
        try:
            # Among the system's temporary files, a name may be a link or a pipe that somebody else has made.
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            opened.callback(os.close, descriptor)
            lock(descriptor, wait)
            locked = True
        except OSError:
            locked = False
        yield locked
