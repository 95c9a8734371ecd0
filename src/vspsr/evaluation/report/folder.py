"""The folder that an evaluation leaves: what was asked, one record for each image, the summary, pictures.

    REPORT/settings.json          what was evaluated, how, with which versions
    REPORT/images/{stem}.json     a record for each image
    REPORT/images/{stem}/*.webp   pictures of some images: gt, lr, s00 …, mean, stddev, error, local_best
    REPORT/summary.json           means, worst, diversity, calibration

JSON has no infinity: it stands there as the string "inf", and is a number again here.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vspsr.errors import VSpSRError

__all__ = ["Aggregate", "ReportError", "ReportFolder", "aggregate", "read_report"]

Record = dict[str, Any]


class ReportError(VSpSRError):
    """A report folder is missing, unfinished or damaged."""


@dataclass(frozen=True)
class ReportFolder:
    """A report folder that has been read.

    Attributes:
        path: the folder.
        settings: settings.json.
        summary: summary.json.
        records: one for each image, in the order of their stems.
    """

    path: Path
    settings: Record
    summary: Record
    records: list[Record]

    @property
    def name(self) -> str:
        """What was evaluated: the model, baseline or folder of results."""
        return str(self.settings.get("name") or self.path.name)

    @property
    def scale(self) -> int:
        """s"""
        return int(self.settings["scale"])

    @property
    def backend(self) -> str:
        """Name of the perceptual distance."""
        return str(self.settings["backend"])

    @property
    def images(self) -> str:
        """Name of the set of images: that of their folder."""
        return Path(str(self.settings.get("hr") or "")).name

    def pictures(self, stem: str) -> dict[str, Path]:
        """Name → file of the pictures of an image; empty where none were written."""
        folder = self.path / "images" / stem
        return {p.stem: p for p in sorted(folder.glob("*.webp"))} if folder.is_dir() else {}

    def rows(self, kind: str) -> Iterator[Record]:
        """All metric rows of a kind: "samples", "mean" or "bicubic"."""
        for record in self.records:
            if kind == "samples":
                yield from record["samples"]
            elif record.get(kind) is not None:
                yield record[kind]


@dataclass(frozen=True)
class Aggregate:
    """Many values of one metric: mean of the finite ones, the worst of all, how many are finite and infinite."""

    mean: float | None
    worst: float | None
    finite: int
    infinite: int


def aggregate(values: Sequence[float | None], higher_is_better: bool) -> Aggregate:
    """What stands in a table for many values; None is skipped, and infinity counted, never averaged away."""
    known = [v for v in values if v is not None]
    finite = [v for v in known if math.isfinite(v)]
    mean = math.fsum(finite) / len(finite) if finite else (math.inf if known else None)
    worst = (min(known) if higher_is_better else max(known)) if known else None
    return Aggregate(mean, worst, len(finite), len(known) - len(finite))


def read_report(folder: Path) -> ReportFolder:
    """Read a finished report folder.

    Raises:
        ReportError: no such folder, a file is missing or damaged, or no image has been evaluated.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder; give one that `vspsr evaluate` has written")
    settings, summary = _read(folder / "settings.json"), _read(folder / "summary.json")
    for key in ("scale", "backend"):
        if key not in settings:
            raise ReportError(f"{folder / 'settings.json'}: {key!r} is missing: not the settings of an evaluation")
    records = [_read(p) for p in sorted((folder / "images").glob("*.json"))]
    if not records:
        raise ReportError(f"{folder}: holds no evaluated image; run `vspsr evaluate` to the end")
    return ReportFolder(folder, settings, summary, records)


def _read(path: Path) -> Record:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReportError(f"{path}: missing: the folder is no report, or the evaluation did not finish") from error
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ReportError(f"{path}: must hold an object, not a {type(content).__name__}")
    return {k: _with_infinity(v) for k, v in content.items()}


def _with_infinity(value: Any) -> Any:
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, Mapping):
        return {k: _with_infinity(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_infinity(v) for v in value]
    return value
