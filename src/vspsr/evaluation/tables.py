"""The tables of the paper (1–3) and of the challenge (4, 5): published rows marked as such, ours beside them.

Published figures stand in published.toml, each with its source. A perceptual distance is only comparable with the
published LPIPS (AlexNet) where the backend is the same: those of other backends have a column of their own, and the
ratio to bicubic on the same images stands beside all.
"""

import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from vspsr.evaluation.report.folder import ReportFolder, aggregate, read_report
from vspsr.evaluation.report.numbers import number

__all__ = ["PaperTable", "Row", "as_json", "as_markdown", "as_rich", "paper_table", "published_rows"]

PUBLISHED_BACKEND = "lpips-alex"
_LABELS = {"lr_psnr": "LR-PSNR (dB)", "diversity": "diversity", "ratio": "÷ bicubic"}
_DIGITS = {"lr_psnr": 2, "diversity": 2, "ratio": 2}


@dataclass(frozen=True)
class Row:
    """One row: ``values`` by column, None where not known."""

    name: str
    published: bool
    values: dict[str, float | None]
    settings: list[str] = field(default_factory=list)
    images: str = ""
    source: str = ""
    url: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table: ``columns`` are keys of the rows' values, in order; ``settings`` heads those of the rows' settings."""

    number: int
    title: str
    settings: list[str]
    columns: list[str]
    rows: list[Row]
    notes: list[str]


@cache
def _published() -> dict[str, Any]:
    return tomllib.loads((resources.files("vspsr.evaluation") / "published.toml").read_text(encoding="utf-8"))


def published_rows(number: int) -> list[Row]:
    """The published rows of a table.

    Raises:
        ValueError: ``number`` is not 1 … 5.
    """
    data = _published()
    table = _table(number)
    rows = []
    for row in table["rows"]:
        source = data["sources"][row.get("source", table["source"])]
        values = {PUBLISHED_BACKEND: row.get("lpips"), **{key: row.get(key) for key in _LABELS}}
        rows.append(
            Row(row["name"], True, values, row.get("settings", []), table["set"], source["text"], source["url"])
        )
    return rows


def paper_table(number: int, reports: Sequence[Path] = ()) -> PaperTable:
    """A table of the paper or the challenge with the rows of report folders beside the published ones.

    Args:
        number: 1 (ablation), 2 and 3 (comparison at x4 and x8), 4 and 5 (challenge at x4 and x8).
        reports: folders of `vspsr evaluate`, at the scale of the table. In table 1 those of ablation recipes (whose
            name or folder ends in ablation/1 … ablation/9) follow their published row.

    Raises:
        ValueError: another number, or a report of another scale.
        ReportError: a folder that is no finished report.
    """
    table = _table(number)
    rows = published_rows(number)
    backends = [PUBLISHED_BACKEND]
    notes = list(table["notes"])
    for folder in map(read_report, reports):
        if folder.scale != table["scale"]:
            raise ValueError(f"{folder.path}: evaluated at x{folder.scale}; table {number} is of x{table['scale']}")
        if folder.backend not in backends:
            backends.append(folder.backend)
        rows.insert(_place(number, folder, rows), _own_row(folder, len(table.get("settings", []))))
    if len(backends) > 1:
        others = ", ".join(backends[1:])
        notes.append(f"{others}: another metric than LPIPS (AlexNet); compare it with rows of the same column only.")
    if reports:
        notes.append("Rows not marked as published were computed here; compare only those of the same images.")
    return PaperTable(number, table["title"], table.get("settings", []), [*backends, *_LABELS], rows, notes)


def _table(number: int) -> dict[str, Any]:
    tables: dict[str, dict[str, Any]] = _published()["tables"]
    if str(number) not in tables:
        raise ValueError(f"`table` must be one of {', '.join(tables)}, got {number}")
    return tables[str(number)]


def _own_row(report: ReportFolder, n_settings: int) -> Row:
    """What a report says, in the columns of the tables."""
    lpips = aggregate([r["lpips"] for r in report.rows("samples")], higher_is_better=False).mean
    bicubic = aggregate([r["lpips"] for r in report.rows("bicubic")], higher_is_better=False).mean
    lr_psnr = [r["lr_psnr"] for r in report.rows("samples")]
    known = [v for v in lr_psnr if v is not None]
    diversity = (report.summary.get("diversity") or {}).get("score")
    values = {
        report.backend: lpips,
        # As the challenge averages: one infinite value makes the mean infinite.
        "lr_psnr": math.fsum(known) / len(known) if known else None,
        "diversity": diversity,
        "ratio": lpips / bicubic if lpips is not None and bicubic else None,
    }
    images = f"{report.images} ({len(report.records)})" if report.images else f"{len(report.records)} images"
    return Row(report.name, False, values, [""] * n_settings, images, str(report.path))


def _place(number: int, report: ReportFolder, rows: list[Row]) -> int:
    """Where the row of a report goes: in table 1 below the row of its recipe, otherwise at the end."""
    found = None
    if number == 1:
        for text in (report.name, str(report.settings.get("model", "")), report.path.name):
            found = found or re.search(r"ablation[/_-]?([1-9])\b", text)
    if found is None:
        return len(rows)
    at = next(i for i, r in enumerate(rows) if r.published and r.name == found[1]) + 1
    while at < len(rows) and not rows[at].published:
        at += 1
    return at


def _label(column: str) -> str:
    return _LABELS.get(column, "LPIPS" if column == PUBLISHED_BACKEND else column)


def _cells(table: PaperTable, row: Row) -> list[str]:
    settings = row.settings or [""] * len(table.settings)
    return [*settings, *(number(row.values.get(c), _DIGITS.get(c, 3)) for c in table.columns)]


def as_rich(table: PaperTable) -> Table:
    """For the terminal: ours in bold, published rows marked and dim."""
    out = Table(title=f"Table {table.number}. {table.title}", title_justify="left", caption_justify="left")
    for head in ("", "", *table.settings):
        out.add_column(head, overflow="fold")
    for column in table.columns:
        out.add_column(_label(column), justify="right", no_wrap=True)
    out.add_column("images")
    for row in table.rows:
        mark = Text("published" if row.published else "here")
        cells = [Text(row.name), mark, *map(Text, _cells(table, row)), Text(row.images)]
        out.add_row(*cells, style="dim" if row.published else "bold")
    out.caption = Text("\n".join(table.notes))
    return out


def as_markdown(table: PaperTable) -> str:
    """For documents: a GitHub table, with the sources of what is published."""
    heads = ["", *table.settings, *map(_label, table.columns), "images", "source"]
    lines = [f"**Table {table.number}. {table.title}**", "", _line(heads)]
    first = 1 + len(table.settings)
    lines.append(_line(["---"] * first + ["---:"] * len(table.columns) + ["---", "---"]))
    for row in table.rows:
        source = f"published: [{row.source}]({row.url})" if row.published else "computed here"
        name = row.name if row.published else f"**{row.name}**"
        lines.append(_line([name, *_cells(table, row), row.images, source]))
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def as_json(table: PaperTable) -> dict[str, Any]:
    """For programs: infinity as the string "inf"."""
    content = asdict(table)
    for row in content["rows"]:
        row["values"] = {k: "inf" if v is not None and math.isinf(v) else v for k, v in row["values"].items()}
    return content
