"""The summary of an evaluation and its tables, from the records alone.

Records are taken in the order of their stems. So the summary is the same, however the images were distributed over
processes.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from vspsr.files import printable, to_json
from vspsr.metrics import LEVELS, Calibration
from vspsr.metrics.accumulators import aggregate, mean
from vspsr.report.records import METRICS, ImageRecord, SampleRow


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
            writer.writerow([printable(stem), name, *("" if c is None else repr(c) for c in cells)])
    return out.getvalue().encode()


def summarize(settings: Mapping[str, Any], records: Sequence[ImageRecord]) -> dict[str, Any]:
    """The summary of all images, with equal weights.

    Returns:
        settings, versions, n_images, n_samples;
        means, means_of_mean, means_of_bicubic: metric → `vspsr.metrics.aggregate` of the samples, the mean images and
            the bicubic ones;
        ntire21: the challenge's four figures ("lr_psnr_worst" is the mean over images of the worst sample's), and
            "distance_ratio": the distance of the samples divided by that of bicubic;
        diversity: means of the score, its parts and its curve, and in how many images the score is undefined;
        lr: number of LR pixels and of those that are wrong; number of samples and of those without a wrong LR pixel;
        calibration: `vspsr.metrics.Calibration` of all images together, None where not asked for;
        calibration_figures: coverage, PIT, CRPS, spread–skill ratio and energy scores that follow.

    Raises:
        ValueError: records of different evaluations.
    """
    records = sorted(records, key=lambda r: r.stem)
    calibration = total_calibration(records)
    distance = mean(mean(row.distance for row in r.samples) for r in records)
    bicubic = mean(r.bicubic.distance for r in records)
    return {
        "n_images": len(records),
        "n_samples": records[0].n_samples,
        "ntire21": {
            "distance": distance,
            "lr_psnr_worst": mean(min(row.lr_psnr for row in r.samples) for r in records),
            "lr_psnr_mean": mean(mean(row.lr_psnr for row in r.samples) for r in records),
            "diversity": mean(r.score for r in records),
            "distance_ratio": distance / bicubic if distance is not None and bicubic else None,
        },
        "means": _means([row for r in records for row in r.samples]),
        "means_of_mean": _means([r.mean for r in records if r.mean is not None]),
        "means_of_bicubic": _means([r.bicubic for r in records]),
        "diversity": _diversity(records),
        "lr": {
            "lr_pixels": sum(r.lr_pixels * r.n_samples for r in records),
            "lr_pixels_wrong": sum(row.lr_pixels_wrong for r in records for row in r.samples),
            "samples": sum(r.n_samples for r in records),
            "samples_exact": sum(row.lr_pixels_wrong == 0 for r in records for row in r.samples),
        },
        "calibration": to_json(calibration),
        "calibration_figures": None if calibration is None else _figures(calibration),
        "versions": settings["versions"],
        "settings": dict(settings),
    }


def _means(rows: Sequence[SampleRow]) -> dict[str, dict[str, float | int | None]]:
    out = {}
    for metric, about in METRICS.items():
        values = [v for row in rows if (v := getattr(row, metric)) is not None]
        if values:
            out[metric] = aggregate(values, about.higher_is_better)
    return out


def _diversity(records: Sequence[ImageRecord]) -> dict[str, Any] | None:
    curves = [r.curve for r in records if r.curve is not None]
    if not curves:
        return None
    return {
        "score": mean([r.score for r in records]),
        "undefined": sum(r.score is None for r in records),
        "global_best": mean([r.global_best for r in records]),
        "local_best": mean([r.local_best for r in records]),
        "curve": [mean(values) for values in zip(*curves, strict=True)],
        "pixel_stddev": mean([r.pixel_stddev for r in records]),
        "pairwise": mean([r.pairwise for r in records]),
    }


def total_calibration(records: Sequence[ImageRecord]) -> Calibration | None:
    """The tallies of all images together; None where there are none."""
    tallies = [r.calibration for r in records if r.calibration is not None]
    return reduce(add, tallies) if tallies else None


def _figures(total: Calibration) -> dict[str, Any]:
    """The figures of the samples and, if there is one, of the closed-form Gaussian."""
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
