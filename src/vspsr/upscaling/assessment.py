"""Whether an upscaled picture agrees with its LR picture: wrong LR values, unlikely and unsupported detail.

The space is a model's approximation, and true pictures lie farther from its mean than chi-square says: the share of an
LR pixel in the squared Mahalanobis distance, near 1 or below for a member, grows with σ on photographs, about as
0.13·(1 + σ) with σ in levels. The unlikeliness of a place is the ratio of its share to this. The finest detail
dominates the distance, so that a foreign patch shows better in the squared error over σ² of a place, compared with
that of other hard places of the picture. The mean unlikeliness and the most foreign place are compared with those of
true pictures, by conformal p-values (Vovk, Gammerman & Shafer, 2005), which assume only that the pictures are
exchangeable: of one kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vspsr.consistency import project
from vspsr.files import check_free, identities, keep_inputs, make_folder, write_json
from vspsr.images.io import read_image, write_image
from vspsr.images.picture import Picture, bleed
from vspsr.images.sheets import value_map
from vspsr.images.sources import Source, read_source, source_of
from vspsr.model import VSpSR
from vspsr.space import SRSpace
from vspsr.upscaling.comparison import DEGRADING, Comparison, check_enlarged, compare
from vspsr.upscaling.intervals import IntervalCalibration
from vspsr.upscaling.pictures import PictureSpace
from vspsr.upscaling.projecting import like

STDDEV = 4 / 255
"""Error allowed for in each value: see `SRSpace.nearest`."""

_WINDOW, _SHARE = 12, 8
"""Side, in LR pixels, of the windows that the most foreign place is chosen from; at most an eighth of the picture's."""

_FINEST = 2 / 255  # added to σ in the error in standard deviations: what is too small to count
_LARGEST_ERROR = 3.0  # in standard deviations: a few odd pixels are no foreign place
_HARD = 0.9  # share of the windows of a picture that are less foreign than those that the most foreign is compared with
_TYPICAL = 0.13  # share of an LR pixel in d², for σ = 0, of photographs in the space of vspsr-x4
_MAP_END = 10.0  # unlikeliness from which the map is yellow
_UNUSUAL = 0.05  # p-values below it


@dataclass(frozen=True)
class Unlikeliness:
    """How unlikely the detail of a picture is: 1 is usual for photographs, whatever their texture.

    Attributes:
        whole: mean over the picture.
        foreign: the squared error over the variance in the window in which it is largest, over the 90th percentile of
            all windows: how foreign the most foreign place is. Windows have 12×12 LR pixels, in small pictures less.
        at: (row, column) of the LR pixel in the middle of this window.
        by_pixel: (h, w), of each LR pixel.
        distance: Mahalanobis distance of the picture's detail.
        expected: its root mean square for a member of the space seen with an error of `STDDEV`.
        outside: (C, H, W), detail that no member has, in units of the full range.
    """

    whole: float
    foreign: float
    at: tuple[int, int]
    by_pixel: Tensor
    distance: float
    expected: float
    outside: Tensor


@torch.no_grad()
def unlikeliness(space: SRSpace, picture: Tensor) -> Unlikeliness:
    """How unlikely the detail of a picture is in a space.

    Args:
        space: the space of one LR image.
        picture: (1, C, H, W) in [0, 1].

    Raises:
        ValueError, NotGaussianError: as in `SRSpace.nearest`.
    """
    found, variance, nothing = space.nearest(picture, STDDEV), space.stddev.square(), torch.zeros_like(space.y)
    sigma = avg_pool2d(255**2 * variance.mean(1, keepdim=True), space.degradation.scale)[0, 0].sqrt()
    by_pixel = (found.by_pixel / (_TYPICAL * (1 + sigma))).cpu()
    detail = project(picture - space.mean, nothing, space.degradation)
    error = (detail.square() / (variance + _FINEST**2)).clamp(max=_LARGEST_ERROR**2).mean(1)
    side = max(1, min(_WINDOW, min(by_pixel.shape) // _SHARE))
    windows = avg_pool2d(avg_pool2d(error, space.degradation.scale), side, 1)[0]
    top, left = divmod(int(windows.argmax()), windows.shape[1])
    hard = windows.flatten().kthvalue(max(1, round(_HARD * windows.numel()))).values
    return Unlikeliness(
        whole=float(by_pixel.mean()),
        foreign=float(windows.max() / hard.clamp(min=1e-6)),
        at=(top + side // 2, left + side // 2),
        by_pixel=by_pixel,
        distance=found.distance,
        expected=found.expected,
        outside=project(found.outside, nothing, space.degradation)[0].float().cpu(),
    )


@dataclass(frozen=True)
class Assessment:
    """What `assess` finds.

    Attributes:
        comparison: whether it downscales to the LR picture, or for a JPEG, gives its coefficients.
        unlikeliness: how unlikely its detail is.
        p_whole, p_foreign: share of true pictures, this one included, that are at least as unlikely on average, and
            whose most foreign place is at least as foreign; None without true pictures to compare with.
        p_smooth: share of them that are at most as unlikely on average: small for pictures that were smoothed, and for
            samples, whose detail is as the model expects it.
    """

    comparison: Comparison
    unlikeliness: Unlikeliness
    p_whole: float | None
    p_foreign: float | None
    p_smooth: float | None

    @property
    def lr_values_wrong(self) -> int:
        """LR values that are not reproduced; for a JPEG, coefficients."""
        return self.comparison.wrong

    @property
    def supported(self) -> bool:
        """Whether nothing is wrong and, if true pictures are known, its detail is no more unlikely than theirs."""
        return self.comparison.exact and all(p is None or p >= _UNUSUAL for p in (self.p_whole, self.p_foreign))

    @property
    def verdict(self) -> str:
        """One line: whether it agrees with the LR picture, whether true pictures are like it, and its distance."""
        found, same = self.unlikeliness, self.comparison
        what = "LR values" if same.unit == "lr_values" else "JPEG coefficients"
        lr = "downscales to LR exactly" if same.exact else f"{same.wrong} of {same.total} {what} are wrong{same.where}"
        return f"{lr}; {self._detail}; Mahalanobis distance {found.distance / found.expected:.2f}·√n"

    @property
    def _detail(self) -> str:
        found = self.unlikeliness
        if self.p_whole is None or self.p_foreign is None or self.p_smooth is None:
            return f"unlikeliness {found.whole:.2f} on average (1 is usual)"
        top, left = found.at
        whole = f"{found.whole:.2f} on average (p = {{:.2g}})"
        place = f"{found.foreign:.2f} times other hard places at LR row {top}, column {left} (p = {self.p_foreign:.2g})"
        parts = [whole.format(self.p_whole), place]
        unusual = [part for part, p in zip(parts, (self.p_whole, self.p_foreign), strict=True) if p < _UNUSUAL]
        if unusual:
            return f"detail more unlikely than that of true pictures: {', '.join(unusual)}"
        if self.p_smooth < _UNUSUAL:
            parts = [whole.format(self.p_smooth), place]
            return f"more as expected than true pictures are, so smoothed or generated: {', '.join(parts)}"
        return f"its detail is no more unlikely than that of true pictures: {', '.join(parts)}"


def pictures_of(result: Assessment) -> dict[str, Picture]:
    """The pictures of an assessment: `unlikely`, a map with one colour scale for all pictures and a red dot in each
    LR pixel that is wrong, and `unsupported`, the detail that no member has, on grey."""
    found, wrong = result.unlikeliness, result.comparison.lr_wrong
    scale = result.comparison.scale
    enlarged = found.by_pixel.double().repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    dots = torch.zeros(enlarged.shape, dtype=torch.bool)
    if wrong is not None:
        side = scale // 2
        inner = slice((scale - side) // 2, (scale + side) // 2)
        dots.unflatten(1, (-1, scale)).unflatten(0, (-1, scale))[:, inner, :, inner] = wrong[:, None, :, None]
    grey = (128 + 255 * found.outside.double()).round().clamp(0, 255).int()
    return {
        "unlikely": value_map(enlarged.numpy(), _MAP_END, "1: usual", dots.numpy(), "LR wrong"),
        "unsupported": Picture(grey, mode="grey" if len(grey) == 1 else "RGB"),
    }


def assess(
    sr: Picture,
    lr: Picture | Source,
    model: VSpSR,
    true: IntervalCalibration | None = None,
    rounding: str = "per-pass",
) -> Assessment:
    """Whether an upscaled picture of any origin agrees with its LR picture and the model's space.

    Args:
        sr: the upscaled picture, s times as large as `lr`.
        lr: the LR picture. The space is that of its pixels, also of a JPEG, whose coefficients are compared. If both
            pictures are grey stored in colour, the space is that of the grey picture; the colours of an upscaled
            picture that has some count.
        true: the calibration whose pictures are those to compare with.
        rounding: how LR integers arise, as in `quantize`.

    Raises:
        ValueError: pictures that do not go together.
        NotGaussianError: the model's space is not a Gaussian.
        ImageFileError: the space does not fit in memory.
    """
    source = source_of(lr)
    sr = like(sr, source.picture)
    check_enlarged(sr, source.picture, model.scale)
    same = compare(sr, source, model.scale, model.degradation.kernel, rounding)
    pixels_alone = Source(source.picture, as_colour=not Source(sr).is_grey_in_colour)
    sr = like(sr, pixels_alone.in_grey.picture)
    space = PictureSpace(model, pixels_alone, rounding=rounding).space
    pixels = sr.pixels if sr.alpha is None else bleed(sr.pixels, sr.alpha)
    found = unlikeliness(space, (pixels.double() / sr.white)[None].to(space.y))
    if true is None:
        return Assessment(same, found, None, None, None)
    return Assessment(
        same,
        found,
        _p_value(found.whole, true.unlikeliness),
        _p_value(found.foreign, true.foreign),
        _p_value(-found.whole, [-whole for whole in true.unlikeliness]),
    )


def _p_value(value: float, others: Sequence[float]) -> float:
    """The conformal p-value: share of the others and the value itself that are at least as large."""
    return (1 + sum(other >= value for other in others)) / (1 + len(others))


def assess_file(
    sr: Path,
    lr: Path,
    model: VSpSR,
    name: str,
    true: IntervalCalibration | None = None,
    rounding: str = "per-pass",
    as_pixels: bool = False,
    folder: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """`assess` for image files. For ``a.png``: ``a_unlikely.png``, ``a_unsupported.png`` and ``a_report.json``.

    Args:
        sr, lr: the image files.
        model, true, rounding: as in `assess`.
        name: what to call the model in the report.
        as_pixels: as in `read_source`.
        folder: where to write, made if missing; None to write nothing.
        overwrite: whether files that exist are replaced.

    Returns:
        The report.

    Raises:
        ImageFileError, ValueError, NotGaussianError: as `read_image` and `assess`.
        OutputError: a file exists, is an input, or cannot be written.
    """
    names = ("unlikely.png", "unsupported.png", "report.json")
    files = {} if folder is None else {name: folder / f"{sr.stem}_{name}" for name in names}
    with keep_inputs(identities((sr, lr))):
        for file in files.values():
            check_free(file, overwrite)
    picture, source = read_image(sr, needed_per_pixel=DEGRADING), read_source(lr, as_pixels=as_pixels)
    result = assess(picture, source, model, true, rounding)
    found, same = result.unlikeliness, result.comparison
    report = {
        "input": str(sr),
        "lr": str(lr),
        "model": name,
        "verdict": result.verdict,
        "supported": result.supported,
        f"{same.unit}_wrong": same.wrong,
        same.unit: same.total,
        "lr_wrong_rows": same.lr_wrong_rows,
        "lr_wrong_columns": same.lr_wrong_columns,
        "distance": found.distance,
        "expected_distance": found.expected,
        "unlikeliness": found.whole,
        "foreign": found.foreign,
        "foreign_at": {"lr_row": found.at[0], "lr_column": found.at[1]},
        "p_value": result.p_whole,
        "p_value_foreign": result.p_foreign,
        "p_value_smooth": result.p_smooth,
        "true_pictures": None if true is None else len(true.unlikeliness),
        "assumed": source.assumed if len(found.outside) == 1 else source.note,
    }
    if folder is not None:
        make_folder(folder)
        for kind, made in pictures_of(result).items():
            write_image(files[f"{kind}.png"], made, overwrite=overwrite)
        write_json(files["report.json"], report, overwrite)
    return report
