"""Calibrated intervals of values: the file with their factor, and the mask of pixels whose intervals are narrow.

`vspsr calibrate` makes the file; see `vspsr.evaluation.calibrating`.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vspsr.errors import VSpSRError
from vspsr.files import one_line, read_json
from vspsr.images.picture import Picture
from vspsr.model import VSpSR
from vspsr.state_dicts import digest_of

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
_LARGEST = 1e9  # number: infinity and NaN are no values


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
        unlikeliness, foreign: of these pictures, `whole` and `foreign` of `vspsr.upscaling.assessment.Unlikeliness`.
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
    foreign: tuple[float, ...]
    method: str = METHOD

    def check_model(self, model: VSpSR, path: Path | str = "`calibration`") -> None:
        """CalibrationError unless it was made for this model."""
        if self.model_sha256 != model_digest(model):
            other = f"{one_line(self.model)}, x{self.scale}, digest {self.model_sha256[:12]}…"
            made_for = f"was made for another model ({other}): make one for this by `vspsr calibrate`"
            raise CalibrationError(f"{one_line(path)}: {made_for}")


def read_calibration(path: Path) -> IntervalCalibration:
    """A calibration file. CalibrationError where it cannot be read, or is none."""
    content = read_json(path, _LARGEST_FILE, CalibrationError)
    if not isinstance(content, dict) or not _is_calibration(content):
        problem = "is not a calibration file of this version: make one by `vspsr calibrate`"
        raise CalibrationError(f"{one_line(path)}: {problem}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    return IntervalCalibration(**values)


def _is_calibration(content: dict[str, Any]) -> bool:
    """Whether all keys are there and those that are used have valid values. The others are for people."""
    return (
        content.keys() == {f.name for f in fields(IntervalCalibration)}
        and all(isinstance(content[name], str) for name in ("model", "model_sha256"))
        and content["rounding"] in ("per-pass", "single")
        and all(isinstance(content[name], list) for name in ("unlikeliness", "foreign"))
        and _are_numbers([content["factor"], content["scale"]])
        and _are_numbers(content["unlikeliness"] + content["foreign"])
    )


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= _LARGEST for v in values)


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
