"""Figures by step in one CSV file that a resumed run goes on with."""

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from vspsr.data.csv_tables import read_csv
from vspsr.errors import VSpSRError
from vspsr.files import kind_of, one_line, write_bytes


class MetricsTable:
    """A row per step that has figures; new figures add columns.

    Args:
        path: the file. Rows of steps after ``step`` are dropped: the resumed run writes them anew.
        step: the step to go on from.

    Raises:
        VSpSRError: the file cannot be read, or holds something else than numbers by step.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path, self.rows = path, list[dict[str, str]]()
        if kind_of(path) is None:
            return
        try:
            rows = read_csv(path, ("step",), VSpSRError)
            self.rows = [row for row in rows if int(row["step"]) <= step]
            for text in (text for row in rows for text in row.values()):
                float(text or 0)
        except (VSpSRError, ValueError, TypeError) as error:  # TypeError: more values than names
            why = one_line(error).removeprefix(f"{one_line(path)}: ")
            raise VSpSRError(f"{one_line(path)}: no figures of a run ({why}): move it away to go on") from error

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Add figures to the row of a step, and write the file."""
        if not self.rows or int(self.rows[-1]["step"]) != step:
            self.rows.append({"step": str(step)})
        self.rows[-1].update({key: f"{value:.6g}" for key, value in figures.items()})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self.path, text.getvalue().encode(), overwrite=True)
