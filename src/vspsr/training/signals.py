"""Ctrl-C and SIGTERM let the current step finish: the run then stops with everything saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """The numbers of the SIGINTs and SIGTERMs that have come; a second Ctrl-C stops at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    in_main = threading.current_thread() is threading.main_thread()  # signals reach no other
    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)} if in_main else {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
