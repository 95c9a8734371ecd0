"""Standard deviations that are estimated from samples, their standard error, and progress of long computations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor

ESTIMATE_SAMPLES = 100
ESTIMATE_SEED = 2**64 - 1
RELATIVE_ERROR = (2 * ESTIMATE_SAMPLES) ** -0.5  # standard error of an estimate, as a share of it

Progress = Callable[[int, int], None]
"""progress(steps done, steps in all)"""

_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def estimate_progress(progress: Progress | None) -> Iterator[None]:
    """Within it, ``progress(steps done, steps in all)`` is called before each sample of an estimate and before each
    part of a large picture; the number of steps may change.

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


@contextmanager
def one_of(parts: int, index: int) -> Iterator[None]:
    """Within it, steps are those of part ``index`` of so many parts of equal length."""
    outer = _progress.get()
    with nullcontext() if outer is None else estimate_progress(part_of(outer, parts, index)):
        yield


def sampled_stddev(draw: Callable[[int], Tensor], around: Tensor, subtract_mean: bool = False) -> Tensor:
    """Standard deviation of samples, in their shape. A step of its progress is a sample.

    ``draw``: number of a sample → the sample, which may be overwritten. ``around``: their mean, or, with
    ``subtract_mean``, what is near it.
    """
    total, squares = torch.zeros_like(around), torch.zeros_like(around)
    for i in range(ESTIMATE_SAMPLES):
        report_progress(i, ESTIMATE_SAMPLES)
        with estimate_progress(None):
            x = draw(i).sub_(around)
        if subtract_mean:
            total += x
        squares += x.square_()
    return squares.div_(ESTIMATE_SAMPLES).sub_(total.div_(ESTIMATE_SAMPLES).square_()).clamp_(min=0).sqrt_()
