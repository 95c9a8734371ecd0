"""Input files, which no output may replace, whatever it is called and whatever links lead to it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

Identities = frozenset[tuple[int, int]]
"""Device and inode of files."""

_kept: ContextVar[Identities] = ContextVar("kept", default=frozenset())


def identities(paths: Iterable[Path]) -> Identities:
    """Of the files that exist, links followed."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):  # ValueError: a null character in the name
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


@contextmanager
def keep_inputs(inputs: Identities) -> Iterator[None]:
    """Within it, in the same thread, `vspsr.files.check_free` and `replacing` refuse these files as outputs."""
    token = _kept.set(_kept.get() | inputs)
    try:
        yield
    finally:
        _kept.reset(token)


def is_kept_input(path: Path) -> bool:
    """Whether a path leads to an input of the command that is running."""
    return not identities([path]).isdisjoint(_kept.get())
