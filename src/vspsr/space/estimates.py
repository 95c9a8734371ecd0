"""Standard deviations that are estimated from samples, and how far an estimate is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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


def sampled_stddev(draw: Callable[[int], Tensor], mean: Tensor) -> Tensor:
    """Standard deviation of samples around a known mean, in the shape of the mean.

    Args:
        draw: number of a sample → the sample, which may be overwritten.
        mean: of the samples.
    """
    progress, squares = _progress.get(), mean.new_zeros(mean.shape)
    for i in range(ESTIMATE_SAMPLES):
        if progress is not None:
            progress(i, ESTIMATE_SAMPLES)
        squares += draw(i).sub_(mean).square_()
    return squares.div_(ESTIMATE_SAMPLES).sqrt_()
