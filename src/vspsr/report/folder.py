"""The folder that an evaluation leaves: what was asked, one record for each image, the summary, pictures.

REPORT/settings.json          what was evaluated, how, with which versions
REPORT/images/{stem}.json     a record for each image
REPORT/images/{stem}/*.webp   pictures of some images: gt, lr, s00 …, mean, stddev, error, local_best
REPORT/summary.json           means, worst, diversity, calibration
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vspsr.errors import VSpSRError
from vspsr.report.records import ImageRecord, from_json, read_json

__all__ = ["ReportError", "ReportFolder", "read_report"]


_SETTINGS = ("scale", "backend")
_SUMMARY = ("means", "means_of_mean", "means_of_bicubic", "ntire21", "diversity", "lr", "calibration")


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
    settings: dict[str, Any]
    summary: dict[str, Any]
    records: list[ImageRecord]

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
        return str(self.settings.get("hr") or "")

    def pictures(self, record: ImageRecord) -> dict[str, Path]:
        """Name → file of the pictures of an image; empty where none were written."""
        folder = self.path / "images" / record.stem
        return {p.stem: p for p in sorted(folder.glob("*.webp"))} if folder.is_dir() else {}


def read_report(folder: Path) -> ReportFolder:
    """Read a finished report folder.

    Raises:
        ReportError: no such folder, a file is missing or damaged, or no image has been evaluated.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder: give one that `vspsr evaluate` has written")
    settings, summary = _read(folder / "settings.json"), from_json(_read(folder / "summary.json"))
    for name, content, keys in (("settings", settings, _SETTINGS), ("summary", summary, _SUMMARY)):
        for key in keys:
            if key not in content:
                raise ReportError(f"{folder / name}.json: {key!r} is missing: not of an evaluation of this version")
    records = [_record(path) for path in (folder / "images").glob("*.json")]
    if not records:
        raise ReportError(f"{folder}: holds no evaluated image: run `vspsr evaluate` to the end")
    return ReportFolder(folder, settings, summary, sorted(records, key=lambda r: r.stem))


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ReportError(f"{path}: missing: the folder is no report, or its evaluation did not finish")
    content = read_json(path)
    if content is None:
        raise ReportError(f"{path}: damaged: evaluate anew")
    return content


def _record(path: Path) -> ImageRecord:
    try:
        return ImageRecord.from_json(_read(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"{path}: not the record of an evaluated image ({error}): evaluate anew") from error
