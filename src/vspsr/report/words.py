"""Text of the report: numbers, names of metrics and pictures, and the settings.

Numbers have a true minus, groups of thousands, ∞, and a dash for unknown values.
"""

import math
from typing import Any

from vspsr.report.folder import ReportFolder

PICTURE_WORDS = {
    "gt": ("ground truth", "Ground truth", ""),
    "lr": ("LR", "Low-resolution input", ""),
    "bicubic": ("bicubic", "Bicubic enlargement", ""),
    "mean": ("mean", "Mean of the super-resolution space", ""),
    "stddev": ("standard deviation", "Standard deviation of each pixel, dark for certain,", " levels"),
    "error": ("error", "Error of the mean image, or of the only sample, dark for none,", " levels"),
    "local_best": ("local best", "Smallest perceptual distance of all samples at each pixel, dark for near,", ""),
}
"""Picture → its name, what it shows (to be followed by "of" and the image), the unit of its colour scale."""

_HEADS = {  # of the settings that are not called by their keys
    "name": "evaluated", "version": "its version", "temperature": "temperature of samples",
    "calibration": "calibration of σ", "hr": "HR images", "lr": "LR images", "backend": "perceptual backend",
    "backend_version": "its version", "backend_range": "its colour range", "border": "border left out",
    "channel": "channel of SSIM", "details": "all metrics",
}  # fmt: skip


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits}f}" if abs(value) >= 10_000 else f"{value:.{digits}f}"
    return text.replace("-", "−").replace(",", "\N{NARROW NO-BREAK SPACE}")


def mean_number(figures: dict[str, Any], digits: int) -> tuple[str, str]:
    """A mean of `metrics.aggregate` and a note. If only some values are infinite, the mean is that of the others."""
    finite, infinite = figures["finite"], figures["infinite"]
    if finite and infinite:
        return number(figures["finite_mean"], digits), f"of {finite} finite; ∞ in {infinite} of {finite + infinite}"
    return number(figures["mean"], digits), ""


def provenance(report: ReportFolder) -> list[dict[str, Any]]:
    """Settings and versions as titled lists of pairs."""
    blocks: dict[str, list[tuple[str, str]]] = {"Settings": []}
    for key, value in report.settings.items():
        if key == "images":
            value = f"{len(value)}, listed above"
        if isinstance(value, dict):
            blocks[key.replace("_", " ").capitalize()] = [(str(k), _words(v)) for k, v in value.items()]
        elif value is not None and value != "":
            blocks["Settings"].append((_HEADS.get(key, key.replace("_", " ")), _words(value)))
    seconds = sum(r.seconds for r in report.records)
    blocks["Settings"].append(("time", f"{seconds:.1f} s, {seconds / len(report.records):.2f} s an image"))
    return [{"title": title, "pairs": pairs} for title, pairs in blocks.items() if pairs]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_words(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
