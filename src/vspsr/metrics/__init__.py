"""Metrics of super-resolution and of its space: consistency, fidelity, perception, diversity, calibration.

Functions measure one image, or the samples of one image. `aggregate` and `Calibration` combine their results over many
images. docs/metrics.md defines each metric. Perceptual distances need the extra ``eval``, the others torch alone.
"""

from vspsr.metrics.accumulators import aggregate
from vspsr.metrics.backends import BACKENDS, perceptual_backend
from vspsr.metrics.calibration import calibrate
from vspsr.metrics.consistency import lr_agreement
from vspsr.metrics.diversity import DiversityScore, diversity_score, pixel_stddev
from vspsr.metrics.fidelity import psnr, ssim
from vspsr.metrics.images import crop_to_multiple, crop_to_size
from vspsr.metrics.perceptual import Backend, PerceptualScore
from vspsr.metrics.tallies import LEVELS, Calibration, Marginals

__all__ = [
    "BACKENDS",
    "LEVELS",
    "Backend",
    "Calibration",
    "DiversityScore",
    "Marginals",
    "PerceptualScore",
    "aggregate",
    "calibrate",
    "crop_to_multiple",
    "crop_to_size",
    "diversity_score",
    "lr_agreement",
    "perceptual_backend",
    "pixel_stddev",
    "psnr",
    "ssim",
]
