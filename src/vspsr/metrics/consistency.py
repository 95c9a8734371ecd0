"""Does the SR image downscale to the LR image? In dB, and as the number of wrong LR pixels.

The challenge downscales the SR and the GT image with MATLAB's `imresize` on 8-bit integers (rounded after each axis)
and takes the PSNR of the two. If the SR image downscales to the LR image exactly, LR-PSNR is infinite and no LR pixel
is wrong.
"""

import torch
from torch import Tensor

from vspsr.checks import check_bits_and_rounding
from vspsr.degradation.operator import Degradation
from vspsr.metrics.fidelity import decibels, per_image
from vspsr.metrics.images import check_range


def lr_psnr(
    sr: Tensor,
    reference: Tensor,
    degradation: Degradation,
    bits: int = 8,
    rounding: str = "per-pass",
    against: str = "hr",
) -> Tensor:
    """PSNR in dB, over RGB, of the SR image downscaled to integers.

    Range [0, ∞], higher is better; infinite where every LR value is met.

    Args:
        sr: (..., 3, H, W) integers 0 … 2^bits − 1 (any dtype that holds them).
        reference: against="hr": the GT image, shaped as SR, downscaled in the same way: the challenge's LR-PSNR.
            against="lr": the LR image itself, (..., 3, ⌈H/s⌉, ⌈W/s⌉). Leading axes broadcast.
        degradation: `Degradation(scale)` for MATLAB's bicubic.
        bits: 8 or 16.
        rounding: "per-pass" as MATLAB and the challenge, "single" once at the end.

    Returns:
        (...) float64.

    Raises:
        ValueError: shapes that do not fit, values out of range or not integer, an unknown option.
    """
    return lr_psnr_and_pixels_wrong(sr, reference, degradation, bits, rounding, against)[0]


def lr_pixels_wrong(
    sr: Tensor,
    reference: Tensor,
    degradation: Degradation,
    bits: int = 8,
    rounding: str = "per-pass",
    against: str = "lr",
) -> Tensor:
    """Number of LR pixels with at least one wrong channel: (...) int64.

    `vspsr.Quantized.lr_values_wrong` counts values (pixels × channels) instead.

    Range 0 … number of LR pixels, lower is better. Arguments and errors as in `lr_psnr`.
    """
    return lr_psnr_and_pixels_wrong(sr, reference, degradation, bits, rounding, against)[1]


def lr_psnr_and_pixels_wrong(
    sr: Tensor,
    reference: Tensor,
    degradation: Degradation,
    bits: int = 8,
    rounding: str = "per-pass",
    against: str = "lr",
) -> tuple[Tensor, Tensor]:
    """`lr_psnr` and `lr_pixels_wrong` together: SR and GT are downscaled only once, image by image."""
    peak = check_bits_and_rounding(bits, rounding)
    if against not in ("hr", "lr"):
        raise ValueError(f'`against` must be "hr" or "lr", got {against!r}')
    _check_integers(sr, peak, "sr")
    _check_integers(reference, peak, "reference")
    size = tuple(sr.shape[-2:])
    wanted = (sr.shape[-3], *(size if against == "hr" else degradation.lr_size(*size)))
    if tuple(reference.shape[-3:]) != wanted:
        raise ValueError(
            f"`reference` {tuple(reference.shape[-3:])} must be {wanted}, the {against.upper()} image of `sr` "
            f"{tuple(sr.shape[-3:])} at scale {degradation.scale}"
        )

    def down(x: Tensor) -> Tensor:
        return degradation.down_integers(x, bits, rounding)

    known: dict[int, Tensor] = {}  # address → its LR image: often one truth for all samples

    def one(x: Tensor, y: Tensor) -> Tensor:
        if against == "hr" and y.data_ptr() not in known:
            known.clear()
            known[y.data_ptr()] = down(y)
        difference = down(x) - (known[y.data_ptr()] if against == "hr" else y.int())
        different = (difference != 0).any(-3).sum()
        return torch.stack([decibels(difference.double().square().mean(), peak), different.double()])

    both = per_image(one, sr, reference)
    return both[..., 0], both[..., 1].long()


def _check_integers(x: Tensor, peak: int, name: str) -> None:
    check_range(x, peak, name)
    if x.is_floating_point() and not torch.equal(x, x.round()):
        raise ValueError(f"`{name}` must hold integers 0 … {peak}, got fractions: round the image as its file would be")
