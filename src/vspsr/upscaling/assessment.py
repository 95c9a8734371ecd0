"""How an upscaled picture lies to the space of its LR picture: wrong LR values, unlikely and unsupported detail.

The space is a model's approximation, and true pictures lie farther from its mean than chi-square says: the share of an
LR pixel in the squared Mahalanobis distance, near 1 or below for a member, grows with σ on photographs, about as
0.13·(1 + σ) with σ in levels. The unlikeliness of a place is the ratio of its share to this. A picture is compared with
true pictures by it: on average, and at its most unlikely place. The comparison is a conformal p-value (Vovk, Gammerman
& Shafer, 2005), which assumes nothing but that the pictures are of one kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vspsr.consistency import project
from vspsr.degradation import JpegCoefficients
from vspsr.images.picture import Picture, bleed
from vspsr.images.sheets import value_map
from vspsr.model import VSpSR
from vspsr.space import SRSpace
from vspsr.upscaling.comparison import check_enlarged, compare, compare_jpeg
from vspsr.upscaling.pictures import PictureSpace
from vspsr.upscaling.projecting import like

STDDEV = 4 / 255
"""Error allowed for in each value: see `SRSpace.nearest`."""

WINDOW = 4
"""LR pixels: sides of the windows of which the most unlikely is looked for."""

_TYPICAL = 0.13  # share of an LR pixel in d², for σ = 0, of photographs in the space of vspsr-x4
_MAP_END = 10.0  # of the colours of the map
_UNUSUAL = 0.05  # p-values below it


@dataclass(frozen=True)
class Unlikeliness:
    """How unlikely the detail of a picture is: 1 is usual for photographs, whatever their texture.

    Attributes:
        whole: mean over the picture.
        largest: the mean over the window of 4×4 LR pixels in which it is largest.
        at: (top, left) of this window, in LR pixels.
        by_pixel: (h, w), of each LR pixel.
        distance: Mahalanobis distance of the picture's detail.
        expected: its root mean square for a member of the space seen with an error of `STDDEV`.
        outside: (C, H, W), detail that no member has, in units of the full range.
    """

    whole: float
    largest: float
    at: tuple[int, int]
    by_pixel: Tensor
    distance: float
    expected: float
    outside: Tensor


def unlikeliness(space: SRSpace, picture: Tensor) -> Unlikeliness:
    """See `Unlikeliness`.

    Args:
        space: of one image.
        picture: (1, C, H, W) in [0, 1].

    Raises:
        ValueError, NotGaussianError: as in `SRSpace.nearest`.
    """
    found = space.nearest(picture, STDDEV)
    sigma = avg_pool2d(255**2 * space.stddev.square().mean(1, keepdim=True), space.degradation.scale)[0, 0].sqrt()
    by_pixel = (found.by_pixel / (_TYPICAL * (1 + sigma))).cpu()
    h, w = by_pixel.shape
    windows = avg_pool2d(by_pixel[None], (min(WINDOW, h), min(WINDOW, w)), 1)[0]
    top, left = divmod(int(windows.argmax()), windows.shape[1])
    return Unlikeliness(
        whole=float(by_pixel.mean()),
        largest=float(windows.max()),
        at=(top, left),
        by_pixel=by_pixel,
        distance=found.distance,
        expected=found.expected,
        outside=project(found.outside, torch.zeros_like(space.y), space.degradation)[0].float().cpu(),
    )


@dataclass(frozen=True)
class TruePictures:
    """What `Unlikeliness` says of true pictures of one kind.

    Attributes:
        whole, largest: of each picture.
    """

    whole: tuple[float, ...]
    largest: tuple[float, ...]


@dataclass(frozen=True)
class Assessment:
    """What `assess` finds.

    Attributes:
        lr_values_wrong, lr_values: LR values that are not reproduced, and all; of a JPEG, coefficients.
        unlikeliness: how unlikely its detail is.
        p_whole, p_largest: share of true pictures, this one included, that are at least as unlikely, on average and at
            the most unlikely place; None without true pictures to compare with.
    """

    lr_values_wrong: int
    lr_values: int
    unlikeliness: Unlikeliness
    p_whole: float | None
    p_largest: float | None

    @property
    def supported(self) -> bool:
        """Whether every LR value is met and, if true pictures are known, its detail is as usual as theirs."""
        usual = all(p is None or p >= _UNUSUAL for p in (self.p_whole, self.p_largest))
        return self.lr_values_wrong == 0 and usual

    @property
    def verdict(self) -> str:
        """One line."""
        found, exact = self.unlikeliness, self.lr_values_wrong == 0
        lr = "downscales to LR exactly" if exact else f"{self.lr_values_wrong} of {self.lr_values} LR values are wrong"
        if self.p_whole is None or self.p_largest is None:
            return f"{lr}; unlikeliness {found.whole:.2f} on average, {found.largest:.2f} at its largest (1 is usual)"
        top, left = found.at
        parts = [
            f"{found.whole:.2f} on average (p = {self.p_whole:.2g})",
            f"{found.largest:.2f} at LR row {top}, column {left} (p = {self.p_largest:.2g})",
        ]
        unusual = [part for part, p in zip(parts, (self.p_whole, self.p_largest), strict=True) if p < _UNUSUAL]
        if not unusual:
            return f"{lr}; its detail is no more unlikely than that of true pictures: {', '.join(parts)}"
        return f"{lr}; detail more unlikely than that of true pictures: {', '.join(unusual)}"


def pictures_of(found: Unlikeliness) -> dict[str, Picture]:
    """What an assessment shows: `unlikely`, the map, each LR pixel enlarged, its colours the same in all maps; and
    `unsupported`, detail that no member has, on grey."""
    outside = found.outside
    scale = outside.shape[-1] // found.by_pixel.shape[-1]
    enlarged = found.by_pixel.double().repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    grey = (128 + 255 * outside.double()).round().clamp(0, 255).int()
    return {
        "unlikely": value_map(enlarged.numpy(), _MAP_END, "1: usual"),
        "unsupported": Picture(grey, mode="grey" if len(grey) == 1 else "RGB"),
    }


def assess(
    sr: Picture,
    lr: Picture,
    model: VSpSR,
    true: TruePictures | None = None,
    rounding: str = "per-pass",
    jpeg: JpegCoefficients | None = None,
) -> Assessment:
    """How an upscaled picture, of whatever origin, agrees with its LR picture.

    Args:
        sr: the upscaled picture, s times as large as `lr`.
        lr: the LR picture. The space is that of its pixels, also of a JPEG.
        model: the model.
        true: true pictures to compare with.
        rounding: how LR integers arise, as in `quantize`.
        jpeg: what `lr` was decoded from; its coefficients are then compared instead of LR values.

    Raises:
        ValueError: pictures that do not go together.
        NotGaussianError: the model's space is not a Gaussian.
        ImageFileError: the space does not fit in memory.
    """
    sr, scale, kernel = like(sr, lr), model.scale, model.degradation.kernel
    check_enlarged(sr, lr, scale)
    if jpeg is None:
        same = compare(sr, lr, scale, kernel, rounding)
        wrong, total = same.lr_values_wrong, same.lr_values
    else:
        saved = compare_jpeg(sr, lr, jpeg, scale, kernel, rounding)
        wrong, total = saved.coefficients_wrong, saved.coefficients
    space = PictureSpace(model, lr, rounding=rounding).space
    pixels = sr.pixels if sr.alpha is None else bleed(sr.pixels, sr.alpha)
    with torch.no_grad():
        found = unlikeliness(space, (pixels.double() / sr.white)[None].to(space.y))
    p_whole, p_largest = None, None
    if true is not None:
        p_whole, p_largest = _p_value(found.whole, true.whole), _p_value(found.largest, true.largest)
    return Assessment(wrong, total, found, p_whole, p_largest)


def _p_value(value: float, others: Sequence[float]) -> float:
    """The conformal p-value: share of the others and the value itself that are at least as large."""
    return (1 + sum(other >= value for other in others)) / (1 + len(others))
