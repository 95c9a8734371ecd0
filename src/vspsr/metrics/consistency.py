"""Does the SR image downscale to the LR image? In dB, and as the number of wrong LR pixels.

The challenge downscales the SR and the GT image with MATLAB's `imresize` on 8-bit integers (rounded after each axis)
and takes the PSNR of the two. If the SR image downscales to the LR image exactly, LR-PSNR is infinite and no LR pixel
is wrong.
"""

import torch
from torch import Tensor

from vspsr.checks import check_bits_and_rounding, check_leading_axes, check_types
from vspsr.degradation.operator import Degradation
from vspsr.metrics.fidelity import decibels, per_image
from vspsr.metrics.images import check_range


def lr_agreement(
    sr: Tensor, lr: Tensor, degradation: Degradation, bits: int = 8, rounding: str = "per-pass"
) -> tuple[Tensor, Tensor]:
    """LR-PSNR and the number of wrong LR pixels of SR images, downscaled to integers image by image.

    Args:
        sr: (..., 3, H, W) integers 0 … 2^bits − 1 (any dtype that holds them).
        lr: the LR image (..., 3, ⌈H/s⌉, ⌈W/s⌉), likewise; leading axes broadcast. For the challenge's LR-PSNR the
            downscaled GT image, ``degradation.down_integers(gt, bits, rounding)``.
        degradation: `Degradation(scale)` for MATLAB's bicubic.
        bits: 8 or 16.
        rounding: "per-pass" as MATLAB and the challenge, "single" once at the end.

    Returns:
        LR-PSNR in dB over RGB, (...) float64 in [0, ∞], higher is better; infinite where every LR value is met.
        Number of LR pixels with at least one wrong channel, (...) int64, lower is better. (The field `lr_values_wrong`
        of `vspsr.Quantized` counts values instead, pixels × channels.)

    Raises:
        ValueError: shapes that do not fit, values out of range or not integer, an unknown option.
    """
    peak = check_bits_and_rounding(bits, rounding)
    check_types(degradation=(degradation, Degradation))
    _check_integers(sr, peak, "sr")
    _check_integers(lr, peak, "lr")
    wanted = (sr.shape[-3], *degradation.lr_size(*sr.shape[-2:]))
    if tuple(lr.shape[-3:]) != wanted:
        raise ValueError(
            f"`lr` {tuple(lr.shape[-3:])} must be {wanted}, the LR image of `sr` {tuple(sr.shape[-3:])} at scale "
            f"{degradation.scale}"
        )

    check_leading_axes(sr, lr, ("sr", "lr"))

    def one(x: Tensor, y: Tensor) -> Tensor:
        difference = degradation.down_integers(x, bits, rounding) - y.int()
        different = (difference != 0).any(-3).sum()
        return torch.stack([decibels(difference.double().square().mean(), peak), different.double()])

    both = per_image(one, sr, lr)
    return both[..., 0], both[..., 1].long()


def _check_integers(x: Tensor, peak: int, name: str) -> None:
    check_range(x, peak, name)
    if x.is_floating_point() and not torch.equal(x, x.round()):
        raise ValueError(f"`{name}` must hold integers 0 … {peak}, got fractions: round the image as its file would be")
