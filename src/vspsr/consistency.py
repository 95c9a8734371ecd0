"""Consistency with the LR image: the projection Π, and the way to integers that keeps it exact.

Π(x; y) = x + D⁺(y − D x) is the image nearest to x that downscales to y: the consistency-enforcing module (CEM) of
Bahat & Michaeli, *Explorable Super Resolution* (CVPR 2020), eq. 4, here with an exact pseudo-inverse instead of a
truncated filter. `quantize` goes on to 8 or 16 bits: the integers downscale to the integers of y.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vspsr.degradation import Degradation, check_bits_and_rounding
from vspsr.errors import ConsistencyWarning
from vspsr.exact import solve_integers

__all__ = ["Consistent", "Quantized", "check_image", "project", "quantize"]


def check_image(x: Tensor, name: str, low: float | None = None, high: float | None = None) -> None:
    """ValueError naming the argument where an image is not floating point, not finite or out of [low, high]."""
    if not x.is_floating_point() or x.ndim < 3:
        raise ValueError(f"`{name}` must be a floating-point image (..., C, H, W), got {x.dtype} {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"`{name}` must have at least one pixel, got shape {tuple(x.shape)}")
    least, most = (float(v) for v in x.detach().aminmax())
    if not (abs(least) < float("inf") and abs(most) < float("inf")):  # NaN fails every comparison
        raise ValueError(f"`{name}` has values that are not finite (NaN or infinity): mend the image first")
    if (low is not None and least < low) or (high is not None and most > high):
        raise ValueError(f"`{name}` must lie in [{low:g}, {high:g}], got values from {least:g} to {most:g}")


def project(x: Tensor, y: Tensor, degradation: Degradation | None = None) -> Tensor:
    """Π(x; y): the image nearest to x whose degradation is y.

    Args:
        x: (..., C, H, W) floating point, any range.
        y: (..., C, h, w), h = ceil(H/s), w = ceil(W/s); leading axes broadcast.
        degradation: D; by default bicubic with the scale that the sizes tell.

    Returns:
        Image shaped as x (broadcast), D of which is y up to rounding errors, borders included. Differentiable in
        both arguments; not clipped to a range.

    Raises:
        ValueError: sizes that do not fit, values that are not finite, a kernel too ill conditioned to invert.
    """
    check_image(x, "x")
    check_image(y, "y")
    degradation = degradation or degradation_between(x, y)
    _check_sizes(x, y, degradation)
    return project_unchecked(x, y, degradation)


def project_unchecked(x: Tensor, y: Tensor, degradation: Degradation) -> Tensor:
    """`project` without the checks: for inner loops."""
    return x + degradation.pseudo_inverse(y - degradation.down(x), (x.shape[-2], x.shape[-1]))


def degradation_between(x: Tensor, y: Tensor) -> Degradation:
    """Bicubic degradation with the integer scale between the sizes of x and y."""
    scale = round(x.shape[-1] / y.shape[-1])
    fitting = [s for s in (scale, scale + 1) if s >= 2 and Degradation(s).lr_size(*x.shape[-2:]) == y.shape[-2:]]
    if not fitting:
        raise ValueError(f"`x` {_size(x)} is no integer multiple of `y` {_size(y)}: give the `degradation`")
    return Degradation(fitting[0])


def _size(x: Tensor) -> str:
    return f"{x.shape[-2]}×{x.shape[-1]}"


def _check_sizes(x: Tensor, y: Tensor, degradation: Degradation) -> None:
    if degradation.lr_size(*x.shape[-2:]) != y.shape[-2:] or x.shape[-3] != y.shape[-3]:
        raise ValueError(
            f"`x` {tuple(x.shape[-3:])} does not downscale to `y` {tuple(y.shape[-3:])} at scale {degradation.scale}"
        )


class Consistent(nn.Module):
    """Any SR network made consistent: x = Π(module(y); y).

    Args:
        module: maps an LR image (B, C, h, w) to (B, C, H, W).
        degradation: D.
    """

    def __init__(self, module: nn.Module, degradation: Degradation) -> None:
        super().__init__()
        self.module, self.degradation = module, degradation

    def forward(self, y: Tensor) -> Tensor:
        """y (B, C, h, w) → (B, C, H, W), D of which is y. ValueError as in `project`."""
        return project(self.module(y), y, self.degradation)


@dataclass(frozen=True)
class Quantized:
    """An image of integers and how well it downscales to the LR image.

    Attributes:
        image: (..., C, H, W), uint8 for 8 bits, int32 for 16.
        lr_mismatches: LR values (pixels × channels) not reproduced exactly, one count per image (...), int64.
        lr_max_deviation: largest deviation from the LR integers, in levels, one per image (...), int64.
    """

    image: Tensor
    lr_mismatches: Tensor
    lr_max_deviation: Tensor

    @property
    def exact(self) -> bool:
        """Whether every image downscales to the LR image bit for bit."""
        return not bool(self.lr_mismatches.any())


def quantize(
    x: Tensor,
    y: Tensor,
    degradation: Degradation | None = None,
    bits: int = 8,
    rounding: str = "per-pass",
) -> Quantized:
    """The way to integers: near x, in range, and downscaling to the integers of y exactly.

    Range clamp and projection alternate where the rounded image misses an LR value; what is left is repaired pixel
    by pixel. Everything is verified with `Degradation.down_integers`. Each image is treated by itself, so its
    integers do not depend on what else is in the batch.

    Args:
        x: (..., C, H, W) floating point, 0 … 1 nominally; values beyond are allowed and clipped. H = s·h, W = s·w.
        y: (..., C, h, w) in [0, 1], or integers 0 … 2^bits − 1; leading axes broadcast against those of x.
        degradation: D; by default bicubic with the scale that the sizes tell.
        bits: 8 or 16.
        rounding: how the LR integers arise: "per-pass" rounds after each axis, rows first (MATLAB's `imresize` on
            integers, and how the challenge makes its files), "single" once at the end.

    Returns:
        `Quantized`. Where no image in range was found that gives exactly y, the closest found, with the number of
        LR values that differ and by how much, and a `ConsistencyWarning`.

    Raises:
        ValueError: an unknown option, sizes that do not fit, values that are not finite, y out of range.
    """
    peak = check_bits_and_rounding(bits, rounding)
    check_image(x, "x")
    if y.is_floating_point():
        check_image(y, "y", 0.0, 1.0)
        levels = (y.double() * peak).round()
    else:
        levels = y.double()
        if levels.numel() and (levels.min() < 0 or levels.max() > peak):
            raise ValueError(f"`y` must lie in 0 … {peak}, got {int(levels.min())} … {int(levels.max())}")
    degradation = degradation or degradation_between(x, y)
    _check_sizes(x, y, degradation)
    scale = degradation.scale
    if x.shape[-2:] != (scale * y.shape[-2], scale * y.shape[-1]):
        raise ValueError(f"`x` {_size(x)} must be exactly {scale} times `y` {_size(y)}")
    batch = torch.broadcast_shapes(x.shape[:-3], y.shape[:-3])
    images = x.detach().expand(*batch, *x.shape[-3:]).reshape(-1, *x.shape[-3:])
    targets = levels.expand(*batch, *y.shape[-3:]).reshape(-1, *y.shape[-3:])
    out = torch.empty(images.shape, dtype=torch.uint8 if bits == 8 else torch.int32, device=x.device)
    counts, deviations = [], []
    for index, (image, target) in enumerate(zip(images, targets, strict=True)):
        integers, lr = solve_integers(image, target, degradation, bits, rounding)
        out[index] = integers.to(out.dtype)
        deviation = (lr - target).abs()
        counts.append(int((deviation > 0).sum()))
        deviations.append(int(deviation.max()))
    if any(counts):
        warnings.warn(
            f"no image in range was found that downscales to `y` exactly: {sum(counts)} LR values differ, "
            f"by at most {max(deviations)} levels",
            ConsistencyWarning,
            stacklevel=2,
        )
    return Quantized(
        image=out.reshape(*batch, *x.shape[-3:]),
        lr_mismatches=torch.tensor(counts).reshape(batch),
        lr_max_deviation=torch.tensor(deviations).reshape(batch),
    )
