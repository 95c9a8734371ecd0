"""The folder that an evaluation leaves: settings, one record for each image, pictures (`vspsr.evaluation.runner`).

The summary follows from the records; summary.json is for other programs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vspsr.files import one_line
from vspsr.report.records import ImageRecord, ReportError, read_as, read_record
from vspsr.report.summary import summarize


@dataclass(frozen=True)
class _Settings:
    """The settings that are used here."""

    scale: int
    backend: str
    images: list[str]
    versions: dict[str, str]

    def __post_init__(self) -> None:
        if not self.images or any(Path(stem).name != stem for stem in self.images):
            raise ValueError("`images` must be names, at least one")
        if self.scale < 2:
            raise ValueError(f"`scale` must be at least 2, got {self.scale}")


@dataclass(frozen=True)
class ReportFolder:
    """A report folder that has been read.

    Attributes:
        path: the folder.
        settings: settings.json.
        summary: as `vspsr.report.summary.summarize` gives it.
        records: one for each image, in the order of their stems.
        scale: s.
        backend: name of the perceptual distance.
        name: what was evaluated: the model, baseline or folder of results.
        images: name of the set of images: that of their folder.
    """

    path: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    records: list[ImageRecord]
    scale: int
    backend: str
    name: str
    images: str

    def pictures(self, record: ImageRecord) -> dict[str, Path]:
        """Name → file of the pictures of an image; empty where none were written."""
        folder = self.path / "images" / record.stem
        return {p.stem: p for p in sorted(folder.glob("*.webp"))} if folder.is_dir() else {}


def read_report(folder: Path) -> ReportFolder:
    """Read a finished report folder.

    Raises:
        ReportError: no such folder, not all images have been evaluated, or a file is damaged or of another version.
    """
    if not folder.is_dir():
        raise ReportError(f"{one_line(folder)}: no such folder: give one that `vspsr evaluate` has written")
    settings: dict[str, Any] = read_as(dict[str, Any], folder / "settings.json")
    used: _Settings = read_as(_Settings, folder / "settings.json")
    name, images = str(settings.get("name") or folder.name), str(settings.get("hr") or "")
    records = []
    for stem in sorted(used.images):
        path = folder / "images" / f"{stem}.json"
        if not path.exists():
            raise ReportError(f"{one_line(path)}: missing: run `vspsr evaluate` to the end")
        records.append(read_record(path))
    try:
        summary = summarize(settings, records)
    except (ValueError, ArithmeticError) as error:
        raise ReportError(f"{one_line(folder)}: its records do not fit together ({error}): evaluate anew") from error
    return ReportFolder(folder, settings, summary, records, used.scale, used.backend, name, images)


def read_reports(folders: Sequence[Path]) -> list[ReportFolder]:
    """`read_report` of several; ValueError if there are none, or of more than one scale."""
    reports = [read_report(folder) for folder in folders]
    if not reports:
        raise ValueError("`reports` is empty: give folders that `vspsr evaluate` has written")
    first = reports[0]
    for report in reports:
        if report.scale != first.scale:
            raise ValueError(f"{report.path}: evaluated at x{report.scale}, {first.path} at x{first.scale}")
    return reports
