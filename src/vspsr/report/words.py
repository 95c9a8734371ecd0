"""Text of the report: names and meanings of metrics and pictures, and the settings."""

from typing import Any, NamedTuple

from vspsr.report.folder import ReportFolder


class MetricWords(NamedTuple):
    """Name of a metric, a note, and the number of decimals."""

    label: str
    note: str
    digits: int


METRIC_WORDS = {
    "lpips": MetricWords("perceptual distance", "mean of the map of distances, as the challenge takes it", 4),
    "distance": MetricWords("whole image", "the same distance as its package gives it, without a map", 4),
    "psnr_rgb": MetricWords("PSNR, RGB (dB)", "", 2),
    "psnr_y": MetricWords("PSNR, Y (dB)", "", 2),
    "ssim": MetricWords("SSIM", "", 4),
    "lr_psnr": MetricWords("LR-PSNR (dB)", "downscaled SR against downscaled truth", 2),
    "lr_psnr_file": MetricWords("LR-PSNR, file (dB)", "downscaled SR against the LR file", 2),
    "lr_pixels_wrong": MetricWords("LR pixels wrong", "pixels of the LR image that are not reproduced", 0),
}

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

GLOSSARY = [
    (
        "Perceptual distance",
        "Difference of two images in a network's features; 0 for equal images. The name says which network: figures of "
        "different backends cannot be compared.",
    ),
    (
        "LR-PSNR",
        "PSNR of the downscaled sample against the LR image. ∞: every LR pixel is reproduced exactly. The challenge "
        "requires 45 dB.",
    ),
    (
        "Diversity score Sₙ",
        "(global best − local best) / global best, in per cent: the gain from choosing among n samples at every pixel, "
        "compared with choosing one sample for the whole image.",
    ),
    (
        "σ of samples",
        "Standard deviation of the samples, mean over all pixels, in levels of 0–255. Noise increases it, too: read it "
        "together with the score.",
    ),
    (
        "Coverage",
        "The share of values whose truth lies inside the predicted central interval. A calibrated space has 90 % of "
        "them inside its 90 % interval; fewer means overconfident.",
    ),
    (
        "PIT histogram",
        "PIT: the share of the predicted distribution that lies below the truth (with samples, the rank of the truth). "
        "Flat is calibrated, a U is overconfident, a hill is underconfident.",
    ),
    (
        "Spread and skill",
        "If the predicted spread is twice as large, the error of the mean should be twice as large.",
    ),
    (
        "CRPS, energy score",
        "Distance between the predicted distribution and the truth, for single values and for whole images; lower is "
        "better. For a single image, CRPS is the absolute error.",
    ),
]

_HEADS = {
    "name": "evaluated", "kind": "kind", "version": "its version", "source": "source", "licence": "licence",
    "seed": "seed", "temperature": "temperature of samples", "calibration": "calibration of σ", "scale": "scale",
    "hr": "HR images", "lr": "LR images",
    "samples": "samples", "n_samples": "samples", "protocol": "protocol", "backend": "perceptual backend",
    "backend_version": "its version", "backend_range": "its colour range", "border": "border left out",
    "channel": "channel of SSIM", "details": "all metrics", "images": "images",
}  # fmt: skip


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
