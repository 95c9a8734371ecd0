"""Progress of long computations, for whoever asked for them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Progress = Callable[[int, int], None]
"""progress(steps done, steps in all)"""

_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def estimate_progress(progress: Progress | None) -> Iterator[None]:
    """Within it, ``progress(steps done, steps in all)`` is called before each sample of an estimate, each part of
    a large picture and each channel of one that is made exact; the number of steps may change.

    What it raises ends the computation. With None nobody follows.
    """
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


def report_progress(done: int, total: int) -> None:
    """Call what `estimate_progress` was given, if anything."""
    if (progress := _progress.get()) is not None:
        progress(done, total)


def part_of(progress: Progress, parts: int, index: int) -> Progress:
    """Progress of part ``index`` of so many parts of equal length, as progress of them all."""
    return lambda done, total: progress(index * total + done, parts * total)


def one_of(parts: int, index: int) -> AbstractContextManager[None]:
    """Within it, steps are those of part ``index`` of so many parts of equal length."""
    outer = _progress.get()
    return estimate_progress(outer and part_of(outer, parts, index))
