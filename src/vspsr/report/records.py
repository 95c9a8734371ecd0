"""What is kept of an evaluation: one record for each image, the table of all samples, the summary.

Everything in the summary follows from the records alone, in the order of their stems, so that it is the same however
the images were dealt out to processes. JSON has no infinity: it is written as the string "inf", and what is not defined
as null.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import reduce
from pathlib import Path
from typing import Any

from vspsr.files import replacing
from vspsr.metrics.tallies import LEVELS, Calibration

__all__ = ["METRICS", "ImageRecord", "SampleRow", "read_json", "references", "samples", "summarize", "write_json"]

METRICS = {
    "lpips": False,
    "distance": False,
    "psnr_rgb": True,
    "psnr_y": True,
    "ssim": True,
    "lr_psnr": True,
    "lr_psnr_file": True,
    "lr_pixels_differ": False,
}
"""Columns of the table → whether higher is better."""


@dataclass(frozen=True)
class SampleRow:
    """The figures of one SR image.

    Attributes:
        index: number of the sample from 0; None for the mean image and for bicubic.
        lpips: perceptual distance from the truth, mean of the map (the challenge's "LPIPS").
        distance: the same as its package gives it without a map.
        psnr_rgb, psnr_y: in dB.
        ssim: structural similarity.
        lr_psnr: in dB, of the downscaled SR image against the downscaled truth, both cropped as the protocol says.
        lr_psnr_file: in dB, against the LR file that was given, not cropped; None without one.
        lr_pixels_differ: number of pixels in which the downscaled SR image differs from the LR image that it was made
            from (the file that was given, or the downscaled truth).
    """

    index: int | None
    lpips: float
    distance: float | None
    psnr_rgb: float
    psnr_y: float
    ssim: float | None
    lr_psnr: float
    lr_psnr_file: float | None
    lr_pixels_differ: int


@dataclass(frozen=True)
class ImageRecord:
    """Everything that was measured on one image.

    Attributes:
        stem: of the HR file.
        height, width: of the HR image as evaluated.
        bits: 8 or 16.
        n_samples: number of samples.
        lr_pixels: number of LR pixels.
        samples: a row for each sample.
        mean: of the space's mean, or of the mean of the samples; None where there is neither or not asked for.
        bicubic: of the LR image enlarged by bicubic interpolation.
        global_best, local_best, score, curve: diversity, see `vspsr.metrics.diversity_score`; None for one sample, and
            the score also where a sample is perfect.
        pixel_stddev: standard deviation over samples, mean over pixels, in levels of 0–255; None for one sample.
        pairwise: mean perceptual distance of two samples; None where not asked for.
        calibration: `vspsr.metrics.Calibration` as JSON; None where not asked for.
        pictures: name → end of the colour scale of its map (None for photographs), of the pictures written.
        files: file → digest, of all files that went into this record.
        seconds: time it took.
    """

    stem: str
    height: int
    width: int
    bits: int
    n_samples: int
    lr_pixels: int
    samples: list[SampleRow]
    mean: SampleRow | None
    bicubic: SampleRow
    global_best: float | None
    local_best: float | None
    score: float | None
    curve: list[float | None] | None
    pixel_stddev: float | None
    pairwise: float | None
    calibration: dict[str, Any] | None
    pictures: dict[str, float | None] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON."""
        return dict(to_json(asdict(self)))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ImageRecord":
        """Of what `to_json` gave; KeyError, TypeError or ValueError for anything else."""
        values = {f.name: from_json(content[f.name]) for f in fields(cls)}
        values["stem"] = content["stem"]  # an image may be called inf
        values["samples"] = [SampleRow(**row) for row in values["samples"]]
        for kind in ("mean", "bicubic"):
            values[kind] = None if values[kind] is None else SampleRow(**values[kind])
        return cls(**values)


def to_json(value: Any) -> Any:
    """Numbers that JSON has not: infinity as "inf" or "-inf", NaN as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


def from_json(value: Any) -> Any:
    """The numbers that `to_json` wrote."""
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, Mapping):
        return {k: from_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_json(v) for v in value]
    return value


def write_json(path: Path, content: Any) -> None:
    """Write completely or not at all; what was there is replaced."""
    with replacing(path, overwrite=True) as file:
        file.write((json.dumps(to_json(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """An object of JSON; None where there is no such file or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def samples(records: Sequence[ImageRecord]) -> bytes:
    """CSV with a line for each image and sample: image, sample, then the metrics."""
    return _table((record.stem, row.index, row) for record in records for row in record.samples)


def references(records: Sequence[ImageRecord]) -> bytes:
    """CSV with a line for each image's bicubic interpolation and mean, for comparison with `samples`."""
    kinds = ("bicubic", "mean")
    return _table((record.stem, kind, getattr(record, kind)) for record in records for kind in kinds)


def _table(rows: Iterable[tuple[str, str | int | None, SampleRow | None]]) -> bytes:
    """Infinity is written as inf, what is unknown is left empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["image", "sample", *METRICS])
    for stem, name, row in rows:
        if row is not None:
            cells = [getattr(row, metric) for metric in METRICS]
            writer.writerow([stem, name, *("" if c is None else repr(c) for c in cells)])
    return out.getvalue().encode()


def summarize(settings: Mapping[str, Any], records: Sequence[ImageRecord]) -> dict[str, Any]:
    """The summary of all images, each of which counts the same.

    Returns:
        settings, versions, n_images;
        means, means_of_mean, means_of_bicubic: metric → mean (infinite where any value is), finite_mean, worst, and the
            numbers of finite and infinite values, of the samples, the mean images and the bicubic ones;
        ntire21: the challenge's four figures: "lr_psnr_worst" is the mean over images of the worst sample's;
        diversity: means of the score, its parts and its curve, and in how many images it is not defined;
        lr: LR pixels that differ, of how many; samples without any, of how many;
        calibration: `vspsr.metrics.Calibration` of all images together, null where not asked for;
        calibration_figures: coverage, PIT, CRPS, spread–skill ratio and energy scores that follow.
    """
    records = sorted(records, key=lambda r: r.stem)
    calibration = _calibration(records)
    return {
        "n_images": len(records),
        "n_samples": records[0].n_samples,
        "ntire21": {
            "lpips": _mean([_mean([row.lpips for row in r.samples]) for r in records]),
            "lr_psnr_worst": _mean([min(row.lr_psnr for row in r.samples) for r in records]),
            "lr_psnr_mean": _mean([_mean([row.lr_psnr for row in r.samples]) for r in records]),
            "diversity": _mean([r.score for r in records]),
        },
        "means": _means([row for r in records for row in r.samples]),
        "means_of_mean": _means([r.mean for r in records if r.mean is not None]),
        "means_of_bicubic": _means([r.bicubic for r in records]),
        "diversity": _diversity(records),
        "lr": {
            "pixels": sum(r.lr_pixels * r.n_samples for r in records),
            "pixels_differ": sum(row.lr_pixels_differ for r in records for row in r.samples),
            "samples": sum(r.n_samples for r in records),
            "samples_exact": sum(row.lr_pixels_differ == 0 for r in records for row in r.samples),
        },
        "calibration": None if calibration is None else calibration.to_json(),
        "calibration_figures": None if calibration is None else _figures(calibration),
        "versions": settings["versions"],
        "settings": dict(settings),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is defined, infinite where a value is; None where nothing is."""
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def _means(rows: Sequence[SampleRow]) -> dict[str, dict[str, float | int | None]]:
    out: dict[str, dict[str, float | int | None]] = {}
    for metric, higher_is_better in METRICS.items():
        values = [v for row in rows if (v := getattr(row, metric)) is not None]
        if values:
            finite = [v for v in values if math.isfinite(v)]
            out[metric] = {
                "mean": _mean(values),
                "finite_mean": _mean(finite),
                "worst": min(values) if higher_is_better else max(values),
                "finite": len(finite),
                "infinite": len(values) - len(finite),
            }
    return out


def _diversity(records: Sequence[ImageRecord]) -> dict[str, Any] | None:
    curves = [r.curve for r in records if r.curve is not None]
    if not curves:
        return None
    return {
        "score": _mean([r.score for r in records]),
        "undefined": sum(r.score is None for r in records),
        "global_best": _mean([r.global_best for r in records]),
        "local_best": _mean([r.local_best for r in records]),
        "curve": [_mean(values) for values in zip(*curves, strict=True)],
        "pixel_stddev": _mean([r.pixel_stddev for r in records]),
        "pairwise": _mean([r.pairwise for r in records]),
    }


def _calibration(records: Sequence[ImageRecord]) -> Calibration | None:
    """The tallies of all images together."""
    tallies = [Calibration.from_json(r.calibration) for r in records if r.calibration is not None]
    return reduce(lambda a, b: a + b, tallies) if tallies else None


def _figures(total: Calibration) -> dict[str, Any]:
    """What the tallies tell, of the samples and, where there is one, of the closed-form Gaussian."""
    marginals = {"samples": total.samples} | ({"gaussian": total.gaussian} if total.gaussian else {})
    figures: dict[str, Any] = {
        name: {
            "coverage": {f"{level:g}": m.coverage(level) for level in LEVELS},
            "pit": m.pit,
            "crps": m.crps,
            "rmse": m.rmse,
            "spread_skill": m.spread_skill,
        }
        for name, m in marginals.items()
    }
    return figures | {"energy_score": total.energy_score, "patch_energy_score": total.patch_energy_score}
