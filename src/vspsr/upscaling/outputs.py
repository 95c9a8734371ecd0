"""The output files of one picture, and the report that says how they were made: what exists is kept, the rest is made.

The report is written before the first output and names every file that will be written, with null until the file is
complete. So a command that was stopped at any moment can be run again: it makes the files that are missing, and files
that are not its own are never replaced.
"""

import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from vspsr.errors import ImageFileError, OutputError
from vspsr.files import check_free, make_folder, one_line, read_json, write_bytes, write_json
from vspsr.images import read_image, write_image
from vspsr.images.picture import Picture

Record = dict[str, int | float]
"""What the report says about a finished file, lr_values_wrong for instance."""

_SAVED_EVERY = 1.0  # seconds: a report of thousands of files takes longer to write than a file


class Outputs:
    """The output files of one picture.

    Args:
        report: path of the report; the files lie beside it.
        settings: all that decides the content of the files, as JSON values.
        wanted: the files by name, each with what its record must say for a finished file to be kept.
        overwrite: make every wanted file again, whatever exists.

    Attributes:
        missing: names of the wanted files that have to be made.

    Raises:
        OutputError: files exist that were made with other settings, or that the report does not name; or the report is
            damaged; or a file that would be replaced is no regular file, or an input (`keep_inputs`).
    """

    def __init__(
        self, report: Path, settings: Mapping[str, Any], wanted: Mapping[str, Record], overwrite: bool
    ) -> None:
        self._path, self._settings = report, json.loads(json.dumps(settings))  # lists for tuples, as in the file
        self._overwrite = overwrite
        previous = {} if overwrite else _read(report, self._settings)
        known: dict[str, Record | None] = previous.get("outputs", {})
        existing = {name for name in known.keys() | wanted if os.path.lexists(report.with_name(name))}
        if not overwrite and (strange := sorted((existing & wanted.keys()) - known.keys())):
            raise OutputError(
                f"{one_line(report.with_name(strange[0]))}: exists, but {one_line(report.name)} does not say that it "
                "was made with these settings: use --overwrite or another folder"
            )

        def finished(name: str) -> bool:
            record = known.get(name)
            return name in existing and record is not None and wanted[name].items() <= record.items()

        self.missing = [name for name in wanted if not finished(name)]
        for name in self.missing:
            if name in existing:
                check_free(report.with_name(name), overwrite=True)
        kept = {name: record for name, record in known.items() if name in existing and name not in self.missing}
        self._records = kept | dict.fromkeys(self.missing)
        self._about = {k: v for k, v in previous.items() if k not in self._settings}
        self._seconds = previous.get("seconds", 0.0)
        self._since = time.monotonic()  # up to here the time is counted in

    @contextmanager
    def being_made(self, about: Mapping[str, Any]) -> Iterator[None]:
        """Write the report, then let the block `write` the missing files, and write the report again.

        Args:
            about: what the report says about the picture.

        Raises:
            OutputError: the report cannot be written, or another program has begun with other settings in the meantime.
        """
        self._about = dict(about)
        if not self._overwrite:
            with suppress(OutputError):  # it is there, from before or from another program that has begun by now
                write_json(self._path, self.report())
            _read(self._path, self._settings)
        self._save()
        try:
            yield
        except BaseException:
            with suppress(OutputError):  # the disk may be full: the files are then made again
                self._save()
            raise
        self._save()

    def write(self, name: str, content: Picture | bytes, record: Record, quality: int | None = None) -> None:
        """Write a file that is missing. OutputError where the folder or disk does not take it."""
        path = self._path.with_name(name)
        if isinstance(content, Picture):
            write_image(path, content, overwrite=True, quality=quality)
        else:
            write_bytes(path, content, overwrite=True)
        self._records[name] = record
        if time.monotonic() - self._since > _SAVED_EVERY:
            self._save()

    def report(self) -> dict[str, Any]:
        """The report: the settings, what is known about the picture, and the files in order."""
        outputs = dict(sorted(self._records.items(), key=lambda item: _natural(item[0])))
        records = [record or {} for record in outputs.values()]
        return {
            **self._settings,
            **self._about,
            "samples": sum(re.search("_s[0-9]+[.][a-z]+$", name) is not None for name in outputs),
            "lr_values_wrong": sum(record.get("lr_values_wrong", 0) for record in records),
            "coefficients_wrong": sum(record.get("coefficients_wrong", 0) for record in records),
            "outputs": outputs,
            "python": platform.python_version(),
            "seconds": round(self._seconds, 3),
        }

    def _save(self) -> None:
        now = time.monotonic()
        self._seconds, self._since = self._seconds + now - self._since, now
        write_json(self._path, self.report(), overwrite=True)


def write_unless_there(path: Path, picture: Picture, overwrite: bool) -> bool:
    """`write_image`, unless a file is there that holds this picture and may be kept; returns whether it is kept."""
    if not overwrite:
        with suppress(ImageFileError):
            found = read_image(path)
            if found.bits == picture.bits and np.array_equal(found.to_array(), picture.to_array()):
                return True
    write_image(path, picture, overwrite=overwrite)
    return False


def _natural(name: str) -> list[str | int]:
    """Sort key by which s99 comes before s100."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", name)]


def _read(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The report of an earlier run with the same settings, {} where there is none.

    Raises:
        OutputError: it was made with other settings, so that new outputs would not belong to the old, or is no report.
    """
    if not os.path.lexists(path):
        return {}
    name, instead = one_line(path), "use --overwrite or another folder"
    try:
        report = read_json(path)
    except OutputError as error:
        raise OutputError(f"{error}: remove it or {instead}") from error
    if not isinstance(report, dict) or "input_sha256" not in report:
        raise OutputError(f"{name}: is not a report of vspsr upscale: remove it or {instead}")
    for key, value in settings.items():
        before = report.get(key)
        if before == value:
            continue
        if key == "input_sha256":
            raise OutputError(f"{name}: outputs of another picture of this name exist: {instead}")
        if key in ("model_config", "model_sha256"):
            raise OutputError(f"{name}: outputs of another model of this name exist: {instead}")
        raise OutputError(f"{name}: outputs made with {key} = {before!r} exist, not {value!r}: {instead}")
    if not _is_valid(report):
        raise OutputError(f"{name}: the report is damaged: remove it or {instead}")
    return report


def _is_valid(report: dict[str, Any]) -> bool:
    """Whether the parts of a report that are used have their types."""
    outputs, seconds = report.get("outputs"), report.get("seconds")

    def numbers(record: Any) -> bool:
        return isinstance(record, dict) and all(isinstance(v, int | float) for v in record.values())

    return (
        isinstance(outputs, dict)
        and all(record is None or numbers(record) for record in outputs.values())
        and all(name and Path(name).name == name for name in outputs)
        and isinstance(report.get("lr_values"), int)
        and isinstance(report.get("coefficients"), int | None)
        and isinstance(seconds, int | float)
        and 0 <= seconds < 1e9
    )


@contextmanager
def folder_for_outputs(folder: Path) -> Iterator[None]:
    """`make_folder`; folders that were made and are empty at the end are removed again.

    OutputError as in `make_folder`.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty
            for path in new:
                path.rmdir()
