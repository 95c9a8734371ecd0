"""Ctrl-C and SIGTERM let the step under way end: the run then stops as at a time limit, with everything saved."""

import signal
import threading
from types import FrameType
from typing import Any, Self

import lightning
from lightning.pytorch.callbacks import Callback

__all__ = ["Interrupt"]


class Interrupt(Callback):
    """Stops the run after the step in which the first of these signals came; a second Ctrl-C stops it at once.

    It listens while it is entered as a context.

    Attributes:
        received: the signal's number, None where none came.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """From before there are processes that make batches, so that they leave Ctrl-C to this one."""
        if threading.current_thread() is threading.main_thread():  # signals reach no other
            self._before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
            signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take SIGTERM from Lightning, which would have the run end as if it was done."""
        if self._before:
            signal.signal(signal.SIGTERM, self._receive)

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Stop all processes after the same step."""
        asked = self.received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            trainer.should_stop = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
