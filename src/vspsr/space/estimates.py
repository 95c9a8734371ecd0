"""Standard deviations that are estimated from samples, and their standard error."""

from collections.abc import Callable

import torch
from torch import Tensor

from vspsr.consistency.progress import estimate_progress, report_progress

ESTIMATE_SAMPLES = 100
ESTIMATE_SEED = 2**64 - 1
RELATIVE_ERROR = (2 * ESTIMATE_SAMPLES) ** -0.5  # standard error of an estimate, as a share of it


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
