"""Metrics of super-resolution and of its space: consistency, fidelity, perception, diversity, calibration.

Functions measure one image; classes, in torchmetrics' manner, accumulate over many. docs/metrics.md defines each. The
functions need torch alone, perceptual distances and the classes the extra ``eval``.
"""

from typing import TYPE_CHECKING, Any

from vspsr.metrics.backends import BACKENDS, perceptual_backend
from vspsr.metrics.calibration import calibrate
from vspsr.metrics.consistency import lr_mismatches, lr_psnr, lr_psnr_and_mismatches
from vspsr.metrics.diversity import DiversityScore, diversity_curve, diversity_score, pairwise_distance, pixel_stddev
from vspsr.metrics.fidelity import psnr, ssim
from vspsr.metrics.images import crop_to_multiple, crop_to_size
from vspsr.metrics.perceptual import Backend, Perceptual
from vspsr.metrics.tallies import LEVELS, Calibration, Marginals

if TYPE_CHECKING:
    from vspsr.metrics.accumulators import (
        LRPSNR,
        PSNR,
        SSIM,
        CalibrationTally,
        Diversity,
        LRMismatches,
        PairwiseDistance,
        PerceptualDistance,
        PixelStddev,
    )

# Imported when first used: torchmetrics takes a quarter of a gigabyte and many seconds.
_CLASSES = (
    "LRPSNR",
    "PSNR",
    "SSIM",
    "CalibrationTally",
    "Diversity",
    "LRMismatches",
    "PairwiseDistance",
    "PerceptualDistance",
    "PixelStddev",
)

__all__ = [
    "BACKENDS",
    "LEVELS",
    "LRPSNR",
    "PSNR",
    "SSIM",
    "Backend",
    "Calibration",
    "CalibrationTally",
    "Diversity",
    "DiversityScore",
    "LRMismatches",
    "Marginals",
    "PairwiseDistance",
    "Perceptual",
    "PerceptualDistance",
    "PixelStddev",
    "calibrate",
    "crop_to_multiple",
    "crop_to_size",
    "diversity_curve",
    "diversity_score",
    "lr_mismatches",
    "lr_psnr",
    "lr_psnr_and_mismatches",
    "pairwise_distance",
    "perceptual_backend",
    "pixel_stddev",
    "psnr",
    "ssim",
]


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module 'vspsr.metrics' has no attribute {name!r}")
    from vspsr.metrics import accumulators

    return getattr(accumulators, name)


def __dir__() -> list[str]:
    return sorted(__all__)
