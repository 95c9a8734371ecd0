"""Tables of reports, and those of the paper (1–3) and the challenge (4, 5) with published rows, marked as such.

Published figures are in published.toml, each with its source. A perceptual distance compares with the published LPIPS
(AlexNet) only if the backend is the same. So distances of other backends have a column of their own, and where it is
known the ratio to bicubic on the same images is given.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from vspsr.files import printable
from vspsr.report.folder import ReportFolder, read_report, read_reports
from vspsr.report.published import COLUMNS, PUBLISHED_BACKEND, Row, published_rows, published_table
from vspsr.report.words import number

_LABELS = {"lr_psnr": "LR-PSNR", "ratio": "÷ bicubic", "psnr": "PSNR", "ssim": "SSIM", "dists": "DISTS"}
_DIGITS = {"lr_psnr": 2, "lr_psnr_worst": 2, "diversity": 2, "ratio": 2, "psnr": 2}


@dataclass(frozen=True)
class ResultsTable:
    """A table: ``columns`` are keys of the rows' values, in order; ``settings`` heads those of the rows' settings.

    ``number`` is that of a published table, None for a table of reports alone.
    """

    number: int | None
    title: str
    settings: list[str]
    columns: list[str]
    rows: list[Row]
    notes: list[str]


def paper_table(number: int, reports: Sequence[Path] = ()) -> ResultsTable:
    """A table of the paper or the challenge with the rows of report folders beside the published ones.

    Args:
        number: 1 (ablation), 2 and 3 (comparison at x4 and x8), 4 and 5 (challenge at x4 and x8).
        reports: folders of `vspsr evaluate`, at the scale of the table. In table 1 those of ablation recipes (whose
            name or folder ends in ablation/1 … ablation/9) follow their published row.

    Raises:
        ValueError: another number, or a report of another scale.
        ReportError: a folder that is no finished report.
    """
    table = published_table(number)
    rows, backends = published_rows(number), [PUBLISHED_BACKEND]
    for folder in map(read_report, reports):
        if folder.scale != table["scale"]:
            raise ValueError(f"{folder.path}: evaluated at x{folder.scale}; table {number} is of x{table['scale']}")
        if folder.backend not in backends:
            backends.append(folder.backend)
        rows.insert(_place(number, folder, rows), own_row(folder))
    notes = list(table["notes"])
    if len(backends) > 1:
        others = ", ".join(backends[1:])
        notes.append(f"{others}: another metric than LPIPS (AlexNet); compare it with rows of the same column only.")
    if reports:
        notes.append("Rows not marked as published were computed here; compare only those of the same images.")
    known = {c for r in rows if r.published for c, v in r.values.items() if v is not None} | {*backends, "ratio"}
    columns = [c for c in _columns(backends, rows) if c in known]
    return ResultsTable(number, table["title"], table.get("settings", []), columns, rows, notes)


def report_table(reports: Sequence[Path]) -> ResultsTable:
    """A row for each report folder, in their order.

    Args:
        reports: folders of `vspsr evaluate`, all of one scale.

    Raises:
        ValueError: no report, or reports of several scales.
        ReportError: a folder that is no finished report.
    """
    folders = read_reports(reports)
    rows = [own_row(folder) for folder in folders]
    same = ("images", "protocol", "border", "channel")
    notes = [
        f"Reports differ in `{key}`: compare only rows where it is the same."
        for key in same
        if any(folder.settings.get(key) != folders[0].settings.get(key) for folder in folders)
    ]
    columns = _columns(list(dict.fromkeys(folder.backend for folder in folders)), rows)
    return ResultsTable(None, f"Reports at x{folders[0].scale}", [], columns, rows, notes)


def _columns(backends: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Distances and the other columns, without those that have no value."""
    return [c for c in (*backends, *COLUMNS) if any(row.values.get(c) is not None for row in rows)]


def own_row(report: ReportFolder) -> Row:
    """What a report says, in the columns of the tables."""
    figures, means = report.summary["ntire21"], report.summary["means"]
    values = {
        report.backend: figures["distance"],
        "lr_psnr": figures["lr_psnr_mean"],
        "lr_psnr_worst": figures["lr_psnr_worst"],
        "diversity": figures["diversity"],
        "ratio": figures["distance_ratio"],
        "psnr": means["psnr_rgb"]["mean"],
        "ssim": means.get("ssim", {}).get("mean"),
    }
    images = f"{report.images} ({len(report.records)})" if report.images else f"{len(report.records)} images"
    return Row(printable(report.name), False, values, [], printable(images), printable(report.path))


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


def _title(table: ResultsTable) -> str:
    return table.title if table.number is None else f"Table {table.number}. {table.title}"


def _label(column: str) -> str:
    return _LABELS.get(column, "LPIPS" if column == PUBLISHED_BACKEND else column)


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """The values of a row in these columns, as text."""
    return [number(row.values.get(c), _DIGITS.get(c, 3)) for c in columns]


def as_rich(table: ResultsTable) -> Table:
    """For a terminal: published rows marked by a star, ours in bold."""
    out = Table(title=_title(table), title_justify="left", caption_justify="left", box=SIMPLE)
    out.add_column("")
    if table.settings:
        out.add_column("settings")
    for column in table.columns:
        head = _label(column).replace(" ", "\n").replace("lpips-", "lpips-\n")  # numbers are narrower
        out.add_column(head, justify="right")
    for row in table.rows:
        name = f"{row.name} *" if row.published else f"{row.name} on {row.images}"
        settings = [" · ".join(row.settings)] if table.settings else []
        texts = map(Text, [name, *settings, *cells(row, table.columns)])
        out.add_row(*texts, style="" if row.published else "bold")
    sets = ", ".join(dict.fromkeys(row.images for row in table.rows if row.published))
    published = [f"* published: {sets}"] if sets else []
    heads = [f"settings: {' · '.join(table.settings)}"] if table.settings else []
    out.caption = Text("\n".join([*published, *heads, *table.notes]))
    return out


def as_markdown(table: ResultsTable) -> str:
    """For documents: a GitHub table, with the sources of what is published."""
    heads = ["", *table.settings, *map(_label, table.columns), "images", "source"]
    lines = [f"**{_title(table)}**", "", _line(heads)]
    first = 1 + len(table.settings)
    lines.append(_line(["---"] * first + ["---:"] * len(table.columns) + ["---", "---"]))
    for row in table.rows:
        source = f"published: [{row.source}]({row.url})" if row.published else "computed here"
        name = row.name if row.published else f"**{row.name}**"
        settings = row.settings or [""] * len(table.settings)
        lines.append(_line([name, *settings, *cells(row, table.columns), row.images, source]))
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
