"""From a consistent image to integers of 8 or 16 bits that downscale to the integers of y exactly."""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.checks import (
    check_bits_and_rounding,
    check_image,
    check_leading_axes,
    check_number,
    check_types,
    tensor_text,
)
from vspsr.consistency.progress import one_of, report_progress
from vspsr.consistency.projection import fitting_degradation
from vspsr.consistency.solve import solve_integers
from vspsr.degradation import Degradation
from vspsr.degradation.banded import lasting_tensors
from vspsr.errors import ConsistencyWarning, counted, size_text

_BUDGET_PER_LR_PIXEL, _LEAST_BUDGET = 30e-6, 10.0
"""Seconds: several times what photographs need."""

_CHANNEL_BY_CHANNEL = 1 << 22
"""HR pixels from which on an image is treated channel by channel: 80 bytes a pixel are needed for each."""


@dataclass(frozen=True)
class Quantized:
    """An image of integers and how well it downscales to the LR image.

    Attributes:
        image: (..., C, H, W), uint8 for 8 bits, int32 for 16; on the device of x, the others on the CPU.
        lr_values_wrong: LR values (pixels × channels) not reproduced exactly, one count per image (...), int64.
        lr_max_deviation: largest deviation from the LR integers, in levels, one per image (...), int64.
        moved_rms, moved_max: distance of the image from x clipped to the range, root of the mean square and largest,
            in levels, one per image (...), float64. Rounding alone moves an image by 0.29 and at most 0.5.
    """

    image: Tensor
    lr_values_wrong: Tensor
    lr_max_deviation: Tensor
    moved_rms: Tensor
    moved_max: Tensor

    @property
    def exact(self) -> bool:
        """Whether every image downscales to the LR image bit for bit."""
        return not bool(self.lr_values_wrong.any())


def quantize(
    x: Tensor,
    y: Tensor,
    degradation: Degradation | None = None,
    bits: int = 8,
    rounding: str = "per-pass",
    budget: float | None = None,
) -> Quantized:
    """Integers near x, in range, that downscale to the integers of y exactly.

    Most images take a fraction of a second. Those with hard edges between black and white take longer; see
    `vspsr.consistency.solve` for the search. Everything is verified with `Degradation.down_integers`. Each image is
    treated by itself, so its integers do not depend on what else is in the batch.

    The search runs on the CPU whatever the device of x, is deterministic and ends by itself. Only if ``budget`` ends it
    first may the result depend on the speed of the machine: it is then the best image found so far.

    Args:
        x: (..., C, H, W) floating point, 0 … 1 nominally; values beyond are allowed and clipped. H = s·h, W = s·w.
        y: (..., C, h, w) in [0, 1], or integers 0 … 2^bits − 1; leading axes broadcast against those of x.
        degradation: D; by default bicubic at the scale between the two sizes.
        bits: 8 or 16.
        rounding: how the LR integers arise: "per-pass" rounds after each axis, rows first (MATLAB's `imresize` on
            integers, and how the challenge makes its files), "single" once at the end.
        budget: seconds per image after which the search ends; by default 30 for each million LR pixels, at least 10.
            They are processor time of the calling thread, so that other load on the machine does not change the
            result. They are compared between steps, which take up to a second, longer for images of many megapixels.

    Returns:
        `Quantized`. If no image in range was found that gives exactly y: of those found, the one with the fewest LR
        values wrong, their number and the largest deviation, and a `ConsistencyWarning`.

    Raises:
        ValueError: an unknown option, sizes or leading axes that do not fit, values that are not finite, y out of
            range, a negative budget.
    """
    made = quantized(x, y, degradation, bits, rounding, budget)
    if not made.exact:
        warnings.warn(
            "no image in range was found that downscales to `y` exactly: "
            f"{counted(int(made.lr_values_wrong.sum()), 'LR value')} wrong, by at most "
            f"{counted(int(made.lr_max_deviation.max()), 'level')}",
            ConsistencyWarning,
            stacklevel=2,
        )
    return made


@lasting_tensors()
def quantized(
    x: Tensor, y: Tensor, degradation: Degradation | None, bits: int, rounding: str, budget: float | None
) -> Quantized:
    """`quantize` without its warning."""
    peak = check_bits_and_rounding(bits, rounding)
    check_image(x, "x")
    check_types(y=(y, Tensor))
    device, x, y = x.device, x.cpu(), y.cpu()
    if y.is_floating_point():
        check_image(y, "y", 0.0, 1.0)
        levels = (y.double() * peak).round()
    elif y.ndim < 3:
        raise ValueError(f"`y` must be an image (..., C, h, w), got {tensor_text(y)}")
    else:
        levels = y.double()
        if levels.numel() and (levels.min() < 0 or levels.max() > peak):
            raise ValueError(f"`y` must lie in 0 … {peak}, got {int(levels.min())} … {int(levels.max())}")
    degradation = fitting_degradation(x, y, degradation)
    scale = degradation.scale
    if x.shape[-2:] != (scale * y.shape[-2], scale * y.shape[-1]):
        raise ValueError(f"`x` {size_text(x.shape)} must be exactly {scale} times `y` {size_text(y.shape)}")
    batch = check_leading_axes(x, y, ("x", "y"))
    images = x.expand(*batch, *x.shape[-3:]).reshape(-1, *x.shape[-3:])
    targets = levels.expand(*batch, *y.shape[-3:]).reshape(-1, *y.shape[-3:])
    out = torch.empty(images.shape, dtype=torch.uint8 if bits == 8 else torch.int32)
    usual = max(_LEAST_BUDGET, _BUDGET_PER_LR_PIXEL * y.shape[-2] * y.shape[-1])
    budget = usual if budget is None else check_number(budget, "budget")
    wrong, worst = torch.zeros(2, len(images), dtype=torch.int64)
    squares, farthest = torch.zeros(2, len(images), dtype=torch.float64)
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        # D acts on each channel by itself, so that a large image can be treated in the memory of one channel.
        size = 1 if image[0].numel() > _CHANNEL_BY_CHANNEL else len(image)
        parts = list(zip(out[index].split(size), image.split(size), target.split(size), strict=True))
        for number, (into, x_part, y_part) in enumerate(parts):
            with one_of(len(images), index):
                report_progress(number, len(parts))
            integers, lr = solve_integers(x_part, y_part, degradation, bits, rounding, budget / len(parts))
            into.copy_(integers)
            deviation = (lr - y_part).abs()
            wrong[index] += (deviation > 0).sum()
            worst[index] = max(worst[index], deviation.max())
            distance = integers.sub_((x_part.double() * peak).clamp_(0, peak)).abs_()
            squares[index] += distance.square().sum()
            farthest[index] = max(farthest[index], distance.max())
    return Quantized(
        image=out.reshape(*batch, *x.shape[-3:]).to(device),
        lr_values_wrong=wrong.reshape(batch),
        lr_max_deviation=worst.reshape(batch),
        moved_rms=(squares / math.prod(x.shape[-3:])).sqrt().reshape(batch),
        moved_max=farthest.reshape(batch),
    )
