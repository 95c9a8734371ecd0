"""Consistency with the LR image: the projection Π, and the way to integers that keeps it exact.

Π(x; y) = x + D⁺(y − D x) is the image nearest to x that downscales to y: the consistency-enforcing module (CEM) of
Bahat & Michaeli, *Explorable Super Resolution* (CVPR 2020), eq. 4, here with an exact pseudo-inverse instead of a
truncated filter. `quantize` goes on to 8 or 16 bits: the integers downscale to the integers of y.
"""

import torch
from torch import Tensor, nn

from vspsr.checks import check_image, check_leading_axes, check_types
from vspsr.degradation.operator import Degradation, fitting_scales
from vspsr.errors import size_text


def project(x: Tensor, y: Tensor, degradation: Degradation | None = None) -> Tensor:
    """Π(x; y): the image nearest to x whose degradation is y.

    Args:
        x: (..., C, H, W) floating point, any range.
        y: (..., C, h, w), h = ceil(H/s), w = ceil(W/s); leading axes broadcast.
        degradation: D; by default bicubic at the only scale that fits the two sizes.

    Returns:
        Image shaped as x (broadcast), which D maps to y up to rounding errors, borders included; of the wider dtype of
        the two. Differentiable in both arguments; not clipped to a range.

    Raises:
        ValueError: sizes or leading axes that do not fit, sizes that fit at several scales, values that are not finite,
            a kernel too ill conditioned to invert.
    """
    check_image(x, "x")
    check_image(y, "y")
    check_leading_axes(x, y, ("x", "y"))
    return project_unchecked(x, y, fitting_degradation(x, y, degradation))


def project_unchecked(x: Tensor, y: Tensor, degradation: Degradation) -> Tensor:
    """`project` without the checks: for inner loops."""
    x = x.to(torch.promote_types(x.dtype, y.dtype))  # D x must not be rounded to fewer bits than y has
    return x + degradation.pseudo_inverse(y - degradation.down(x), (x.shape[-2], x.shape[-1]))


def shifted(x: Tensor, shift: Tensor, origin: tuple[int, int], scale: int) -> Tensor:
    """x (..., H, W) plus a shift of a part of it, which begins at an LR pixel."""
    (top, left), out = (scale * i for i in origin), x.clone()
    out[..., top : top + shift.shape[-2], left : left + shift.shape[-1]] += shift
    return out


def fitting_degradation(x: Tensor, y: Tensor, degradation: Degradation | None) -> Degradation:
    """The degradation given, by default bicubic with the only scale that fits the sizes of x and y.

    Raises:
        ValueError: no scale fits, or several do; or y has not the size and channels of x downscaled.
    """
    if degradation is None:
        fitting = fitting_scales((x.shape[-2], x.shape[-1]), (y.shape[-2], y.shape[-1]))
        if len(fitting) != 1:
            what = f"downscales at scales {fitting[0]} … {fitting[-1]} to" if fitting else "is no integer multiple of"
            sizes = f"`x` {size_text(x.shape)} {what} `y` {size_text(y.shape)}"
            raise ValueError(f"{sizes}: give the `degradation`")
        degradation = Degradation(fitting[0])
    check_types(degradation=(degradation, Degradation))
    if degradation.lr_size(*x.shape[-2:]) != y.shape[-2:] or x.shape[-3] != y.shape[-3]:
        raise ValueError(
            f"`x` {tuple(x.shape[-3:])} does not downscale to `y` {tuple(y.shape[-3:])} at scale {degradation.scale}"
        )
    return degradation


class Consistent(nn.Module):
    """Any SR network made consistent: x = Π(module(y); y).

    Args:
        module: maps an LR image (B, C, h, w) to (B, C, H, W).
        degradation: D.
    """

    def __init__(self, module: nn.Module, degradation: Degradation) -> None:
        super().__init__()
        check_types(module=(module, nn.Module), degradation=(degradation, Degradation))
        self.module, self.degradation = module, degradation

    def forward(self, y: Tensor) -> Tensor:
        """y (B, C, h, w) → (B, C, H, W), which D maps to y. ValueError as in `project`."""
        check_types(y=(y, Tensor))
        return project(self.module(y), y, self.degradation)
