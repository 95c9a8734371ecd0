"""Pictures downscaled, and compared with LR pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vspsr.degradation import Degradation, JpegCoefficients, JpegSet
from vspsr.degradation.operator import fitting_scales
from vspsr.images.picture import Picture, to_bits

DEGRADING = 48  # bytes that `degrade` takes for each pixel: three channels in float64, and half as much again


def degrade(picture: Picture, degradation: Degradation, rounding: str = "per-pass") -> Picture:
    """The LR picture of an HR picture, as MATLAB's `imresize` gives it; alpha likewise."""

    def down(x: Tensor) -> Tensor:
        return degradation.down_integers(x, picture.bits, rounding)

    alpha = None if picture.alpha is None else down(picture.alpha)
    return replace(picture, pixels=down(picture.pixels), alpha=alpha)


def cropped(picture: Picture, scale: int) -> Picture:
    """A picture without what its sides exceed a multiple of the scale by, at the right and at the bottom.

    ValueError where nothing is left.
    """
    height, width = (n // scale * scale for n in picture.size)
    if not height or not width:
        raise ValueError(f"{_size(picture)} pixels are too few: {scale} on each side are needed")
    alpha = None if picture.alpha is None else picture.alpha[:, :height, :width]
    return replace(picture, pixels=picture.pixels[:, :height, :width], alpha=alpha)


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        lr_pixels_wrong: LR pixels in which any channel differs.
        lr_pixels: LR pixels.
        lr_values_wrong: LR values (pixels × channels, alpha included) that differ.
        lr_values: LR values.
        lr_max_deviation: largest difference, in levels.
        lr_psnr: LR-PSNR in dB over all values compared, infinite where exact.
        scale: s.
        bits: depth of the comparison, that of the HR picture.
    """

    lr_pixels_wrong: int
    lr_pixels: int
    lr_values_wrong: int
    lr_values: int
    lr_max_deviation: int
    lr_psnr: float
    scale: int
    bits: int

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.lr_pixels_wrong == 0


def compare(
    hr: Picture,
    lr: Picture,
    scale: int | None = None,
    kernel: str | Sequence[float] = "bicubic",
    rounding: str = "per-pass",
) -> Comparison:
    """Whether an HR picture downscales to an LR picture. Colours count where the LR picture is visible (alpha > 0).

    Where the depths differ, the LR picture is compared in that of the HR picture, as `upscale` with ``bits`` makes it:
    8 to 16 bits exactly, 16 to 8 bits rounded.

    Raises:
        ValueError: sizes, colours or alpha that do not go together.
    """
    degradation = degradation_of_pair(hr, lr, scale, kernel)
    down = degrade(hr, degradation, rounding)
    difference = (down.pixels - to_bits(lr.pixels, lr.bits, hr.bits)).abs()
    if lr.alpha is not None and down.alpha is not None:
        alpha = to_bits(lr.alpha, lr.bits, hr.bits)
        difference = torch.cat([difference * (lr.alpha > 0), (down.alpha - alpha).abs()])
    mse = float(difference.double().square().mean())
    return Comparison(
        lr_pixels_wrong=int(difference.amax(0).count_nonzero()),
        lr_pixels=lr.size[0] * lr.size[1],
        lr_values_wrong=int(difference.count_nonzero()),
        lr_values=lr.n_values,
        lr_max_deviation=int(difference.max()),
        lr_psnr=10 * math.log10(hr.white**2 / mse) if mse else math.inf,
        scale=degradation.scale,
        bits=hr.bits,
    )


@dataclass(frozen=True)
class JpegComparison:
    """What `compare_jpeg` finds.

    Attributes:
        coefficients_wrong: DCT coefficients of the JPEG that are saved differently.
        coefficients: all of them.
        scale: s.
    """

    coefficients_wrong: int
    coefficients: int
    scale: int

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.coefficients_wrong == 0


def compare_jpeg(
    hr: Picture,
    lr: Picture,
    jpeg: JpegCoefficients,
    scale: int | None = None,
    kernel: str | Sequence[float] = "bicubic",
    rounding: str = "per-pass",
) -> JpegComparison:
    """Whether an HR picture, downscaled, rounded to 8 bits and saved with the tables of a JPEG, is that JPEG.

    Args:
        hr, scale, kernel, rounding: as in `compare`.
        lr, jpeg: the JPEG's decoded pixels and its coefficients.

    Raises:
        ValueError: sizes, colours or alpha that do not go together.
    """
    degradation = degradation_of_pair(hr, lr, scale, kernel)
    down = to_bits(degrade(hr, degradation, rounding).pixels, hr.bits, 8)
    return JpegComparison(int(JpegSet(jpeg).wrong(down)), jpeg.n_coefficients, degradation.scale)


def degradation_of_pair(hr: Picture, lr: Picture, scale: int | None, kernel: str | Sequence[float]) -> Degradation:
    """The degradation between two pictures. ValueError if they do not go together."""
    if scale is None:
        fitting = fitting_scales(hr.size, lr.size)
        if not fitting:
            larger = all(n >= 2 * m for n, m in zip(hr.size, lr.size, strict=True))
            what = "is no integer multiple of" if larger else "must be at least 2 times as large as"
            raise ValueError(f"HR {_size(hr)} {what} LR {_size(lr)}{_expected(hr, lr) if larger else ''}")
        if len(fitting) > 1:
            between = f"{fitting[0]} … {fitting[-1]}"
            raise ValueError(f"HR {_size(hr)} downscales to LR {_size(lr)} at scales {between}: give `scale`")
        scale = fitting[0]
    degradation = Degradation(scale, kernel)
    if degradation.lr_size(*hr.size) != lr.size:
        height, width = degradation.lr_size(*hr.size)
        raise ValueError(f"HR {_size(hr)} downscales to {width}×{height} at `scale` {scale}, but LR is {_size(lr)}")
    for what, a, b in (
        ("colour channels", hr.pixels.shape[0], lr.pixels.shape[0]),
        ("alpha channel", hr.alpha is not None, lr.alpha is not None),
    ):
        if a != b:
            raise ValueError(f"HR and LR differ in {what}: {a} and {b}")
    return degradation


def check_enlarged(sr: Picture, lr: Picture, scale: int) -> None:
    """ValueError unless SR is exactly ``scale`` times as large as LR."""
    if sr.size != (scale * lr.size[0], scale * lr.size[1]):
        raise ValueError(f"SR {_size(sr)} must be exactly {scale} times LR {_size(lr)}")


def _expected(hr: Picture, lr: Picture) -> str:
    """The LR size at the nearest scale, as the end of an error."""
    scale = min(64, max(2, round(hr.size[1] / lr.size[1])))
    height, width = (-(-n // scale) for n in hr.size)
    return f": at scale {scale} LR would be {width}×{height}"


def _size(picture: Picture) -> str:
    return f"{picture.size[1]}×{picture.size[0]}"
