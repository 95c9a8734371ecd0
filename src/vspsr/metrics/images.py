"""Pairs of images that a metric compares: their checks, the challenge's crop, luma."""

import torch
from torch import Tensor

from vspsr.checks import check_choice, check_integer, check_leading_axes, check_number, check_types, tensor_text
from vspsr.errors import size_text


def check_pair(a: Tensor, b: Tensor, peak: float, names: tuple[str, str] = ("a", "b")) -> None:
    """ValueError in one line where two images (..., C, H, W) cannot be compared on the range 0 … peak.

    Leading axes may differ as far as they broadcast; channels and size must agree.
    """
    for x, name in zip((a, b), names, strict=True):
        check_range(x, peak, name)
    if a.shape[-3:] != b.shape[-3:]:
        raise ValueError(
            f"`{names[0]}` {tuple(a.shape[-3:])} and `{names[1]}` {tuple(b.shape[-3:])} must have the same channels "
            "and size: expand grey to three channels, crop to a common size"
        )
    check_leading_axes(a, b, names)


def check_range(x: Tensor, peak: float, name: str) -> None:
    """ValueError where x is no real image (..., C, H, W) within 0 … peak."""
    check_peak(peak)
    if not isinstance(x, Tensor) or x.ndim < 3 or x.numel() == 0 or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"`{name}` must be an image (..., C, H, W), got {tensor_text(x)}")
    values = x.detach().int() if x.dtype == torch.uint16 else x.detach()  # of which torch has no extremes
    least, most = (float(v) for v in values.aminmax())
    if not (least >= 0 and most <= peak):  # NaN fails, too
        hint = " (16 bits measured as 8?)" if peak == 255 and most > 255 else ""
        raise ValueError(f"`{name}` must lie in 0 … {peak:g}, got values from {least:g} to {most:g}{hint}")


def check_peak(peak: float) -> None:
    """ValueError unless it is a finite number above 0."""
    if check_number(peak, "peak") == 0:
        raise ValueError("`peak` must be above 0: 255 for 8 bits, 65535 for 16, 1 for [0, 1]")


def check_gaussian(truth: Tensor, mean: Tensor, stddev: Tensor) -> None:
    """ValueError unless mean and standard deviation are finite and shaped as the truth, and stddev is not negative."""
    for x, name in ((mean, "mean"), (stddev, "stddev")):
        if not isinstance(x, Tensor) or x.shape != truth.shape or not bool(x.isfinite().all()):
            shapes = f"{tuple(truth.shape)}, got {tensor_text(x)}"
            raise ValueError(f"`{name}` must be finite and shaped as `truth` {shapes}")
    if float(stddev.min()) < 0:
        raise ValueError(f"`stddev` must not be negative, got {float(stddev.min()):g}")


def crop_to_size(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left height×width of an image (..., H, W); ValueError where it is smaller than that."""
    check_types(x=(x, Tensor))
    height, width = check_integer(height, "height", 1, 2**31), check_integer(width, "width", 1, 2**31)
    if x.shape[-2] < height or x.shape[-1] < width:
        raise ValueError(f"`x` {size_text(x.shape)} must be at least {size_text((height, width))}")
    return x[..., :height, :width]


def crop_to_multiple(x: Tensor, multiple: int = 8) -> Tensor:
    """The upper left part of an image (..., H, W) whose sides are multiples of ``multiple``.

    The NTIRE 2021 challenge measures everything on the GT cropped to multiples of 8, at x4 and at x8, and crops the SR
    image to the same (`crop_to_size`). ValueError where nothing would be left.
    """
    check_types(x=(x, Tensor))
    multiple = check_integer(multiple, "multiple", 1, 2**31)
    height, width = (n // multiple * multiple for n in x.shape[-2:])
    if not height or not width:
        raise ValueError(f"`x` {size_text(x.shape)} pixels are too few: {multiple} on each side are needed")
    return crop_to_size(x, height, width)


def luma(x: Tensor, peak: float) -> Tensor:
    """Y of ITU-R BT.601 as MATLAB's ``rgb2ycbcr`` of a floating-point image: RGB (..., 3, H, W) → (..., 1, H, W).

    For RGB in 0 … peak, Y lies in peak·(16 … 235)/255 and is not rounded, in float64.
    """
    if x.shape[-3] != 3:
        raise ValueError(f"`x` {tuple(x.shape[-3:])} must have three channels (RGB) for luma")
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=x.device) / 255
    return torch.tensordot(x.double(), weights, dims=([-3], [0])).unsqueeze(-3) + 16 * peak / 255


def select(x: Tensor, peak: float, channel: str, border: int) -> Tensor:
    """What PSNR and SSIM look at, in float64: the channels or the luma, without the border."""
    check_choice(channel, "channel", ("rgb", "y"))
    height, width = x.shape[-2:]
    if 2 * border >= min(height, width):
        raise ValueError(f"`border` must leave something of {size_text(x.shape)}, got {border}")
    inner = x[..., border : height - border, border : width - border]
    return luma(inner, peak) if channel == "y" else inner.double()
