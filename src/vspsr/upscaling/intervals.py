"""Calibrated intervals of values: the file with their factor, and the mask of pixels whose intervals are narrow.

`vspsr calibrate` makes the file; see `vspsr.evaluation.calibrating`.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vspsr.errors import VSpSRError
from vspsr.files import one_line, read_json, replacing
from vspsr.images.picture import Picture
from vspsr.model import VSpSR
from vspsr.state_dicts import digest_of
from vspsr.upscaling.assessment import TruePictures

METHOD = (
    "risk-controlling prediction sets, Hoeffding-Bentkus bound (Bates et al., Journal of the ACM 2021); loss of a "
    "picture: share of its values outside of mean ± factor·stddev"
)

TRUSTED = 8 / 255
"""Half-width of an interval, in units of the full range, below which a pixel is trusted: a difference that is hardly
seen in texture, and an eighth of the contrast of a clear edge. All channels have to be below it."""

FILE_NAME = "calibration.json"
"""Of the file in a model's folder, see `vspsr.model.model_file`."""

_LARGEST_FILE = 10_000_000  # bytes


class CalibrationError(VSpSRError):
    """A calibration file cannot be used: damaged, or made for another model."""


@dataclass(frozen=True)
class IntervalCalibration:
    """The content of a calibration file.

    Attributes:
        model: what the model was called: a shipped model, a folder or a Hub id.
        model_sha256: digest of its weights, kernel and calibration, see `model_digest`.
        scale: of the model.
        rounding: how LR integers were made, see `quantize`.
        alpha: largest expected share of values outside of their intervals …
        delta: … except with this probability over the choice of the calibration pictures.
        true_pictures: number of calibration pictures.
        factor: the intervals are mean ± factor·stddev.
        coverage: share of the values of the calibration pictures within, the mean over the pictures.
        joint_coverage: share of these pictures with at least 1 − alpha of the values within.
        by_size: four classes of intervals, the smallest first: `smallest` and `largest` half-width in 8-bit levels,
            `share` of all values, and `coverage`.
        gaussian_factor, gaussian_coverage: the factor that a Gaussian would have at 1 − alpha, and its coverage.
        unlikeliness, largest_unlikeliness: of these pictures, see `vspsr.upscaling.assessment.TruePictures`.
        method: what was done.
    """

    model: str
    model_sha256: str
    scale: int
    rounding: str
    alpha: float
    delta: float
    true_pictures: int
    factor: float
    coverage: float
    joint_coverage: float
    by_size: tuple[dict[str, float], ...]
    gaussian_factor: float
    gaussian_coverage: float
    unlikeliness: tuple[float, ...]
    largest_unlikeliness: tuple[float, ...]
    method: str = METHOD

    @property
    def true(self) -> TruePictures:
        """The pictures that others are compared with."""
        return TruePictures(self.unlikeliness, self.largest_unlikeliness)

    def check_model(self, model: VSpSR, path: Path | str = "`calibration`") -> None:
        """CalibrationError unless it was made for this model."""
        if self.model_sha256 != model_digest(model):
            raise CalibrationError(
                f"{one_line(path)}: was made for another model ({one_line(self.model)}, x{self.scale}, digest "
                f"{self.model_sha256[:12]}…): "
                "make one for this by `vspsr calibrate`"
            )

    def write(self, path: Path, overwrite: bool = False) -> None:
        """Write the file. OutputError as in `vspsr.files.replacing`."""
        with replacing(path, overwrite) as file:
            file.write((json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode())


def read_calibration(path: Path) -> IntervalCalibration:
    """A calibration file.

    Raises:
        CalibrationError: it cannot be read, or is none.
    """
    content = read_json(path, _LARGEST_FILE, CalibrationError)
    names = {f.name for f in fields(IntervalCalibration)}
    valid = isinstance(content, dict) and content.keys() == names
    if not valid or not all(check(content[name]) for name, check in _CHECKS.items()):
        raise CalibrationError(f"{one_line(path)}: is not a calibration file of `vspsr calibrate`")
    lists = {name: tuple(content[name]) for name in ("by_size", "unlikeliness", "largest_unlikeliness")}
    return IntervalCalibration(**{**content, **lists})


def _is_number(value: Any, low: float = 0.0, high: float = 1e9) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_share(value: Any) -> bool:
    return _is_number(value, 0, 1)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_number, values))


def _are_classes(values: Any) -> bool:
    keys = {"smallest", "largest", "share", "coverage"}
    return isinstance(values, list) and all(
        isinstance(v, dict) and v.keys() == keys and _are_numbers([*v.values()]) for v in values
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "model": lambda v: isinstance(v, str),
    "rounding": lambda v: v in ("per-pass", "single"),
    "model_sha256": lambda v: isinstance(v, str),
    "method": lambda v: isinstance(v, str),
    "scale": lambda v: isinstance(v, int) and _is_number(v, 2, 64),
    "true_pictures": lambda v: isinstance(v, int) and _is_number(v, 1),
    "alpha": _is_share,
    "delta": _is_share,
    "coverage": _is_share,
    "joint_coverage": _is_share,
    "gaussian_coverage": _is_share,
    "factor": _is_number,
    "gaussian_factor": _is_number,
    "by_size": _are_classes,
    "unlikeliness": _are_numbers,
    "largest_unlikeliness": _are_numbers,
}


def model_digest(model: VSpSR) -> str:
    """SHA-256 of all that a model's mean and σ depend on: weights, kernel, calibration."""
    config = json.dumps([model.config["kernel"], model.calibration])
    weights = model.state_dict() | {"config": torch.tensor(list(config.encode()), dtype=torch.uint8)}
    return digest_of(weights)


def trust_mask(stddev: Tensor, factor: float) -> Picture:
    """White where every channel's interval has a half-width below `TRUSTED`, black elsewhere.

    Args:
        stddev: (C, H, W) in units of the full range.
        factor: half-widths are factor·stddev.
    """
    trusted = (factor * stddev).amax(0, keepdim=True) < TRUSTED
    return Picture(255 * trusted.int(), mode="grey")
