"""Ctrl-C and SIGTERM let the current step finish: the run then stops with everything saved."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Signals:
    """A context that notes the first SIGINT or SIGTERM; a second Ctrl-C stops at once.

    Attributes:
        received: the signal's number, None where none came.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # signals reach no other
            self._before = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
