"""Standard deviations that are estimated from samples, and their standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

ESTIMATE_SAMPLES = 100
ESTIMATE_SEED = 2**64 - 1
RELATIVE_ERROR = (2 * ESTIMATE_SAMPLES) ** -0.5  # standard error of an estimate, as a share of it

_progress: ContextVar[Callable[[int, int], None] | None] = ContextVar("progress of estimates", default=None)


@contextmanager
def estimate_progress(progress: Callable[[int, int], None]) -> Iterator[None]:
    """Within it, ``progress(samples drawn, samples in all)`` is called before each sample of an estimate.

    What it raises ends the estimate.
    """
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


def sampled_stddev(draw: Callable[[int], Tensor], around: Tensor, subtract_mean: bool = False) -> Tensor:
    """Standard deviation of samples, in their shape.

    Args:
        draw: number of a sample → the sample, which may be overwritten.
        around: the mean of the samples; or, with ``subtract_mean``, what is near it.
    """
    progress, total, squares = _progress.get(), torch.zeros_like(around), torch.zeros_like(around)
    for i in range(ESTIMATE_SAMPLES):
        if progress is not None:
            progress(i, ESTIMATE_SAMPLES)
        x = draw(i).sub_(around)
        if subtract_mean:
            total += x
        squares += x.square_()
    return squares.div_(ESTIMATE_SAMPLES).sub_(total.div_(ESTIMATE_SAMPLES).square_()).clamp_(min=0).sqrt_()
