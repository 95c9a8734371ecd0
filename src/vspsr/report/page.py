"""index.html of a report folder: tables, plots and pictures in one file that fetches nothing.

The page is written piece by piece, and each picture is read just before it is written, so that a report of a hundred
images needs little memory.
"""

import base64
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from vspsr.errors import counted, size_text
from vspsr.files import printable, read_bytes, replacing
from vspsr.report.calibration import calibration_parts
from vspsr.report.folder import ReportFolder, read_report
from vspsr.report.plots import diversity_plot
from vspsr.report.published import PUBLISHED_BACKEND, Row, published_rows
from vspsr.report.records import METRICS, ImageRecord, SampleRow
from vspsr.report.summary import total_calibration
from vspsr.report.tables import cells, own_row
from vspsr.report.words import PICTURE_WORDS, mean_number, number, provenance
from vspsr.version import __version__

_TABLES = {4: (2, 4), 8: (3, 5)}  # scale → tables of published rows


def write_report(folder: Path | ReportFolder) -> Path:
    """Write index.html into a report folder; one that exists is replaced.

    Args:
        folder: a finished report folder, see `vspsr.report.folder`, or what `read_report` made of one. Images
            without pictures get their figures only.

    Returns:
        The page's file.

    Raises:
        ReportError: the folder is no report, is unfinished or damaged.
        VSpSRError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    report = folder if isinstance(folder, ReportFolder) else read_report(folder)
    context = _context(report)
    environment = Environment(loader=FunctionLoader(_resource), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"number": number, "mean_number": mean_number}
    environment.finalize = _printable
    path = report.path / "index.html"
    with replacing(path, overwrite=True) as file:
        for piece in environment.get_template("page.html").generate(context):
            file.write(piece.encode())
    return path


def _printable(value: Any) -> Any:
    """Names as printable text; markup of ours stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _resource(name: str) -> str:
    return (resources.files("vspsr.report") / name).read_text(encoding="utf-8")


def _context(report: ReportFolder) -> dict[str, Any]:
    """The variables of the template."""
    summary, settings = report.summary, report.settings
    columns = [("samples", "means"), ("mean image", "means_of_mean"), ("bicubic", "means_of_bicubic")]
    columns = [(label, key) for label, key in columns if summary.get(key)]
    metrics = [m for m in METRICS if any(m in summary[key] for _, key in columns)]
    plots, calibration = calibration_parts(total_calibration(report.records))
    curve = (summary.get("diversity") or {}).get("curve") or []
    if any(s is not None for s in curve):
        caption = "The score with the number of samples to choose from at every pixel."
        svg = Markup(diversity_plot(curve))
        plots.insert(0, {"title": "Diversity over samples", "svg": svg, "caption": caption})
    challenge, sources = _challenge(report)
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    images = [_Image(report, record, metrics) for record in report.records]
    return {
        "version": __version__,
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
        "css": Markup(_resource("page.css")),
        "title": f"{report.name} on {report.images}" if report.images else report.name,
        "facts": [
            "Super-resolution evaluation",
            f"×{report.scale}",
            counted(len(report.records), "image"),
            f"{counted(report.records[0].n_samples, 'sample')} each",
            f"protocol {printable(settings.get('protocol', 'unknown'))}",
        ],
        "tiles": _tiles(report),
        "backend": report.backend,
        "backend_version": settings.get("backend_version", "version unknown"),
        "scale": report.scale,
        "columns": [label for label, _ in columns],
        "metrics": [
            {
                **METRICS[m]._asdict(),
                **({"label": report.backend} if m == "distance" else {}),
                "stats": [summary[key].get(m) for _, key in columns],
            }
            for m in metrics
        ],
        "challenge": challenge,
        "sources": sources,
        "published_differs": report.backend != PUBLISHED_BACKEND,
        "plots": plots,
        "calibration": calibration,
        "factors": _factors(report),
        "images": images,
        "pictured": sum(bool(image.labels) for image in images),
        "provenance": provenance(report),
    }


def _factors(report: ReportFolder) -> str:
    """The factors on σ of a model: those of its samples and of its closed form."""
    figures = report.summary["calibration_figures"] or {}
    factors = {"samples": ("Samples", "temperature"), "gaussian": ("Closed form", "calibration")}
    values = [(title, name, report.settings.get(name)) for key, (title, name) in factors.items() if key in figures]
    return " ".join(f"{title}: σ × {name} {v:g}." for title, name, v in values if isinstance(v, int | float))


def _tiles(report: ReportFolder) -> list[dict[str, str]]:
    """The most important figures."""
    summary = report.summary
    challenge, bicubic = summary["ntire21"], _value(summary, "means_of_bicubic", "distance")
    ratio = challenge["distance_ratio"]
    note = f"{number(ratio, 2)} × bicubic ({number(bicubic, 3)})" if ratio else ""
    tiles = [{"label": report.backend, "value": number(challenge["distance"], 3), "unit": "", "note": note}]
    if (diversity := challenge["diversity"]) is not None:
        note = f"score Sₙ with {report.records[0].n_samples} samples"
        tiles.append({"label": "Diversity", "value": number(diversity, 1), "unit": "%", "note": note})
    lr = summary["lr"]
    note = f"{number(lr['lr_pixels_wrong'], 0)} of {number(lr['lr_pixels'], 0)} LR pixels are wrong"
    exact, unit = number(lr["samples_exact"], 0), f"of {number(lr['samples'], 0)} samples"
    tiles.append({"label": "Reproduce the LR image", "value": exact, "unit": unit, "note": note})
    psnr, kind = _value(summary, "means_of_mean", "psnr_y"), "of the mean image"
    if psnr is None:
        psnr, kind = _value(summary, "means", "psnr_y"), "of the samples"
    other = _value(summary, "means_of_bicubic", "psnr_y")
    if psnr is not None:
        gain = f", {'+' if psnr >= other else ''}{number(psnr - other, 2)} dB against bicubic" if other else ""
        tiles.append({"label": "PSNR, Y", "value": number(psnr, 2), "unit": "dB", "note": kind + gain})
    if (calibration := summary["calibration_figures"]) is not None:
        inside = 100 * calibration["samples"]["coverage"]["0.9"]
        note = "of truths inside the samples' 90 % interval"
        tiles.append({"label": "Coverage", "value": number(inside, 1), "unit": "%", "note": note})
    return tiles


def _value(summary: dict[str, Any], kind: str, metric: str) -> float | None:
    found = (summary.get(kind) or {}).get(metric) or {}
    return found.get("mean")


def _challenge(report: ReportFolder) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The challenge's figures: this report's, bicubic's, and published ones of the same scale with their sources."""
    columns = [report.backend] + ["lpips-alex"] * (report.backend != PUBLISHED_BACKEND)
    columns += ["ratio", "lr_psnr", "lr_psnr_worst", "diversity"]
    distance, lr_psnr = (_value(report.summary, "means_of_bicubic", metric) for metric in ("distance", "lr_psnr"))
    values = {report.backend: distance, "lr_psnr": lr_psnr, "lr_psnr_worst": lr_psnr, "diversity": 0.0}
    values["ratio"] = 1.0 if distance else None
    rows = [("own", own_row(report)), ("computed", Row("bicubic", False, values, images=report.images))]
    rows += [("published", row) for table in _TABLES.get(report.scale, ()) for row in published_rows(table)]
    names: dict[tuple[str, str], list[str]] = {}
    for kind, row in rows:
        if kind == "published":
            names.setdefault((row.source, row.url), []).append(row.name)
    shown = [{"name": r.name, "cells": cells(r, columns), "images": r.images, "kind": kind} for kind, r in rows]
    return shown, [{"name": ", ".join(n), "text": text, "url": url} for (text, url), n in names.items()]


@dataclass(frozen=True)
class _Image:
    """One image as the template shows it; pictures are read on demand."""

    report: ReportFolder
    record: ImageRecord
    metrics: list[str]

    @property
    def labels(self) -> list[dict[str, str]]:
        """Names and texts of the available pictures, in the order in which they are shown."""
        there = self.report.pictures(self.record)
        samples = sorted(name for name in there if name[0] == "s" and name[1:].isdigit())
        shown = []
        for name in ("gt", "lr", "bicubic", "mean", *samples, "stddev", "error", "local_best"):
            if name not in there:
                continue
            label, alt, unit = PICTURE_WORDS.get(name) or (f"sample {int(name[1:])}", f"Sample {int(name[1:])}", "")
            end = self.record.pictures.get(name)
            note = f"yellow ≥ {end:g}{unit}" if end is not None else ""
            shown.append({"name": name, "label": label, "alt": f"{alt} of {self.record.stem}", "note": note})
        return shown

    @property
    def pictures(self) -> Iterator[dict[str, str]]:
        there = self.report.pictures(self.record)
        for picture in self.labels:
            content = base64.b64encode(read_bytes(there[picture["name"]])).decode()
            yield {**picture, "uri": f"data:image/webp;base64,{content}"}

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Its row in the table of images, without the name, and the heads of the columns."""
        r = self.record
        distance = math.fsum(s.distance for s in r.samples) / len(r.samples)
        best = r.mean if r.mean is not None else r.samples[0]
        ratio = distance / r.bicubic.distance if r.bicubic.distance else None
        wrong = sum(s.lr_pixels_wrong for s in r.samples)
        columns: list[tuple[str, bool | None, float | None, str]] = [
            ("Size", None, r.width * r.height, size_text((r.height, r.width))),
            (self.report.backend, False, distance, number(distance, 3)),
            ("÷ bicubic", False, ratio, number(ratio, 2)),
            ("PSNR Y, mean image", True, best.psnr_y, number(best.psnr_y, 2)),
            ("Worst LR-PSNR", True, worst := min(s.lr_psnr for s in r.samples), number(worst, 2)),
            ("LR pixels wrong", False, wrong, str(wrong)),
            ("Diversity", True, r.score, number(r.score, 1)),
            ("σ of samples", None, r.pixel_stddev, number(r.pixel_stddev, 2)),
        ]
        keys = ("label", "higher_is_better", "value", "text")
        return [dict(zip(keys, (*head, _for_sorting(value), text), strict=True)) for *head, value, text in columns]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Sample by sample, then the mean image and bicubic."""
        r = self.record
        rows: list[tuple[str, SampleRow | None]] = [(f"sample {s.index}", s) for s in r.samples]
        rows += [("mean image", r.mean), ("bicubic", r.bicubic)]
        return [
            {"label": label, "cells": [number(getattr(s, m), METRICS[m].digits) for m in self.metrics]}
            for label, s in rows
            if s is not None
        ]


def _for_sorting(value: float | None) -> str:
    """A number as JavaScript reads it; empty if unknown."""
    return "" if value is None or math.isnan(value) else str(value).replace("inf", "Infinity")
