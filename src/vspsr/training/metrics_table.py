"""Figures by step in one CSV file that a resumed run goes on with."""

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from vspsr.files import write_bytes


class MetricsTable:
    """A row per step that has figures; new figures add columns.

    Args:
        path: the file. Rows of steps after ``step`` are dropped: the resumed run writes them anew.
        step: the step to go on from.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path, self.rows = path, list[dict[str, str]]()
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, text.getvalue().encode(), overwrite=True)
