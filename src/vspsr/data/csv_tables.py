"""Tables in CSV files."""

import csv
import io
from collections.abc import Collection
from pathlib import Path

from vspsr.errors import OutputError, VSpSRError
from vspsr.files import one_line, read_text


def read_csv(path: Path, columns: Collection[str], error: type[VSpSRError] = OutputError) -> list[dict[str, str]]:
    """The rows of a CSV file by the names in its first line.

    Raises:
        VSpSRError: of the class ``error``: as `read_text`, no CSV, or a row without a value in one of ``columns``.
    """
    table, name = csv.DictReader(io.StringIO(read_text(path, error=error))), one_line(path)
    try:
        rows = list(table)
    except csv.Error as problem:
        raise error(f"{name}: line {table.line_num}: {one_line(problem)}") from problem
    for column in columns:
        if column not in (table.fieldnames or ()):
            raise error(f"{name}: the column `{column}` is missing")
        if any(row[column] is None for row in rows):
            raise error(f"{name}: a row has no value in the column `{column}`")
    return rows
