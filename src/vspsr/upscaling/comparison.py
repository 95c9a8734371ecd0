"""Pictures downscaled, and compared with LR pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vspsr.checks import check_types
from vspsr.degradation import Degradation, JpegSet
from vspsr.degradation.operator import fitting_scales
from vspsr.errors import size_text
from vspsr.images.picture import Picture, to_bits
from vspsr.images.sources import Source, source_of

DEGRADING = 48  # bytes that `degrade` takes for each pixel: three channels in float64, and half as much again


def degrade(picture: Picture, degradation: Degradation, rounding: str = "per-pass") -> Picture:
    """The LR picture of an HR picture, as MATLAB's `imresize` gives it; alpha likewise."""
    check_types(picture=(picture, Picture), degradation=(degradation, Degradation))

    def down(x: Tensor) -> Tensor:
        return degradation.down_integers(x, picture.bits, rounding)

    alpha = None if picture.alpha is None else down(picture.alpha)
    return replace(picture, pixels=down(picture.pixels), alpha=alpha)


def cropped(picture: Picture, scale: int) -> Picture:
    """Crop to multiples of the scale, at the right and at the bottom.

    ValueError if nothing is left.
    """
    height, width = (n // scale * scale for n in picture.size)
    if not height or not width:
        raise ValueError(f"{size_text(picture.size)} pixels are too few: {scale} on each side are needed")
    alpha = None if picture.alpha is None else picture.alpha[:, :height, :width]
    return replace(picture, pixels=picture.pixels[:, :height, :width], alpha=alpha)


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds. Figures of pixels and levels are None for a JPEG.

    Attributes:
        wrong, total: LR values (pixels × channels, alpha included) that differ, and all; for a JPEG, DCT coefficients.
        unit: which of them, "lr_values" or "coefficients".
        scale: s.
        lr_wrong: (h, w), LR pixels in which any channel differs.
        lr_max_deviation: largest difference, in levels.
        lr_psnr: LR-PSNR in dB over all values compared, infinite where exact.
        bits: depth of the comparison, that of the HR picture.
    """

    wrong: int
    total: int
    unit: str
    scale: int
    lr_wrong: Tensor | None = field(default=None, compare=False)
    lr_max_deviation: int | None = None
    lr_psnr: float | None = None
    bits: int | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.wrong == 0

    @property
    def lr_pixels(self) -> int | None:
        """LR pixels compared."""
        return None if self.lr_wrong is None else self.lr_wrong.numel()

    @property
    def lr_pixels_wrong(self) -> int | None:
        """LR pixels in which any channel differs."""
        return None if self.lr_wrong is None else int(self.lr_wrong.count_nonzero())

    @property
    def lr_wrong_rows(self) -> tuple[int, int] | None:
        """The first and the last LR row that has a wrong pixel; None where exact."""
        return self._first_and_last(1)

    @property
    def lr_wrong_columns(self) -> tuple[int, int] | None:
        """The first and the last LR column that has a wrong pixel; None where exact."""
        return self._first_and_last(0)

    def _first_and_last(self, across: int) -> tuple[int, int] | None:
        at = [] if self.lr_wrong is None else self.lr_wrong.any(across).nonzero().flatten().tolist()
        return (at[0], at[-1]) if at else None

    @property
    def where(self) -> str:
        """The part of the LR picture outside of which nothing is wrong, as the end of a clause; "" if unknown."""
        if self.lr_wrong_rows is None or self.lr_wrong_columns is None:
            return ""
        return ", within LR rows {} to {} and columns {} to {}".format(*self.lr_wrong_rows, *self.lr_wrong_columns)

    def record(self) -> dict[str, Any]:
        """What applies, as `vspsr check --json` names it."""
        named = {"exact": self.exact, f"{self.unit}_wrong": self.wrong, self.unit: self.total, "scale": self.scale}
        if self.lr_wrong is None:
            return named
        return named | {
            "lr_pixels_wrong": self.lr_pixels_wrong,
            "lr_pixels": self.lr_pixels,
            "lr_wrong_rows": self.lr_wrong_rows,
            "lr_wrong_columns": self.lr_wrong_columns,
            "lr_max_deviation": self.lr_max_deviation,
            "lr_psnr": self.lr_psnr,
            "bits": self.bits,
        }


def compare(
    hr: Picture,
    lr: Picture | Source,
    scale: int | None = None,
    kernel: str | Sequence[float] = "bicubic",
    rounding: str = "per-pass",
) -> Comparison:
    """Whether an HR picture downscales to an LR picture, or for a JPEG, to pixels that its tables save as that file.

    Colours count where the LR picture is visible (alpha > 0). Where the depths differ, the LR picture is compared in
    that of the HR picture, as `upscale` with ``bits`` makes it: 8 to 16 bits exactly, 16 to 8 bits rounded.

    Raises:
        ValueError: sizes, colours or alpha that do not go together.
    """
    check_types(hr=(hr, Picture), lr=(lr, Picture | Source))
    source = source_of(lr)
    lr = source.picture
    degradation = degradation_of_pair(hr, lr, scale, kernel)
    down = degrade(hr, degradation, rounding)
    if source.jpeg is not None:
        wrong = int(JpegSet(source.jpeg).wrong(to_bits(down.pixels, hr.bits, 8)))
        return Comparison(wrong, source.n_values, source.unit, degradation.scale)
    difference = (down.pixels - to_bits(lr.pixels, lr.bits, hr.bits)).abs()
    if lr.alpha is not None and down.alpha is not None:
        alpha = to_bits(lr.alpha, lr.bits, hr.bits)
        difference = torch.cat([difference * (lr.alpha > 0), (down.alpha - alpha).abs()])
    mse = float(difference.double().square().mean())
    return Comparison(
        int(difference.count_nonzero()),
        source.n_values,
        source.unit,
        degradation.scale,
        lr_wrong=difference.amax(0) > 0,
        lr_max_deviation=int(difference.max()),
        lr_psnr=10 * math.log10(hr.white**2 / mse) if mse else math.inf,
        bits=hr.bits,
    )


def degradation_of_pair(hr: Picture, lr: Picture, scale: int | None, kernel: str | Sequence[float]) -> Degradation:
    """The degradation between two pictures. ValueError if they do not go together."""
    hr_size, lr_size = size_text(hr.size), size_text(lr.size)
    if scale is None:
        fitting = fitting_scales(hr.size, lr.size)
        if not fitting:
            if any(n < 2 * m for n, m in zip(hr.size, lr.size, strict=True)):
                raise ValueError(f"HR {hr_size} must be at least 2 times as large as LR {lr_size}")
            near = min(64, max(2, round(hr.size[1] / lr.size[1])))
            expected = f"at scale {near} LR would be {size_text([-(-n // near) for n in hr.size])}"
            raise ValueError(f"HR {hr_size} is no integer multiple of LR {lr_size}: {expected}")
        if len(fitting) > 1:
            between = f"{fitting[0]} … {fitting[-1]}"
            raise ValueError(f"HR {hr_size} downscales to LR {lr_size} at scales {between}: give `scale`")
        scale = fitting[0]
    degradation = Degradation(scale, kernel)
    if degradation.lr_size(*hr.size) != lr.size:
        found = size_text(degradation.lr_size(*hr.size))
        raise ValueError(f"HR {hr_size} downscales to {found} at `scale` {scale}, but LR is {lr_size}")
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
        raise ValueError(f"SR {size_text(sr.size)} must be exactly {scale} times LR {size_text(lr.size)}")
