"""Tables that commands print: every word and number is there, whole, in a terminal of any width and in a pipe."""

import io
import json
import re
from pathlib import Path

import pytest
from command_line import Run, fails_clearly
from report_folders import small_report
from rich.console import Console
from rich.table import Table

from vspsr.baselines import published_weights
from vspsr.cli import tables
from vspsr.cli.evaluate import _show
from vspsr.cli.models import FOR
from vspsr.report.folder import read_report
from vspsr.report.tables import as_rich, paper_table

PRINTED = ["1", "2", "3", "4", "5", "reports", "baselines", "models", "evaluate"]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[Table]:
    """The tables that are printed, as they were made."""
    found: list[Table] = []
    real = tables.print_table

    def note(table: Table) -> None:
        found.append(table)
        real(table)

    for module in ("evaluate", "models"):
        monkeypatch.setattr(f"vspsr.cli.{module}.print_table", note)
    return found


@pytest.mark.parametrize("which", PRINTED)
@pytest.mark.parametrize("width", [None, 20, 40, 80, 300])
def test_nothing_of_a_table_is_cut(
    which: str, width: int | None, run: Run, printed: list[Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Width None: no terminal, whatever the variable COLUMNS says."""
    monkeypatch.setenv("COLUMNS", "30")
    stream = io.StringIO()
    options = {"markup": False, "emoji": False, "highlight": False, "no_color": True}
    console = Console(file=stream, force_terminal=width is not None, width=width, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(tables, "out", console)
    scale = 8 if which in "35" else 4
    reports = [
        small_report(tmp_path / "a", 0, name="vspsr-x4-explore", scale=scale),
        small_report(tmp_path / "b", 0, name="esrgan", scale=scale, backend="lpips-alex"),
    ]
    if which == "evaluate":
        _show(read_report(reports[0]).summary, reports[0])
    else:
        command = {"reports": ["evaluate", *reports]} | {n: ["evaluate", "--table", n, *reports] for n in "12345"}
        assert run(*command.get(which, [which])).returncode == 0
    text = re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())
    (table,) = printed
    assert "…" not in text
    lines = [re.split("[\\s│┃]+", line) for line in text.splitlines()]
    for column in table.columns:
        for cell in (column.header, *column.cells):
            for word in str(cell).split():
                assert any(word in line for line in lines), word
            if width is None:
                assert all(line in text for line in str(cell).splitlines()), cell
    if width in (80, 300):
        assert max(map(len, text.splitlines())) <= width


def test_the_rows_are_those_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 6):
        tables.print_table(as_rich(paper_table(number)))
    text = capsys.readouterr().out
    assert re.search(r"1 \*\s+256 · bilinear · 0\.01 · no · no · 0\.5\s+0\.223\s+47\.87\s+0\.00", text)
    assert "* published: DIV2K validation" in text
    tables.print_table(as_rich(paper_table(4, [small_report(tmp_path / "a", 0)])))
    assert re.search(r"vspsr-x4 on Set2 \(2\)\s+—\s+0\.116\s+∞\s+30\.00\s+0\.29", capsys.readouterr().out)


def test_reports_are_printed_or_made(tmp_path: Path, run: Run) -> None:
    reports = [small_report(tmp_path / name, 0, name=name) for name in "ab"]
    rows = json.loads(run("evaluate", *reports, "--json").stdout)["rows"]
    assert [(row["name"], row["values"]["diversity"]) for row in rows] == [("a", 30), ("b", 30)]
    for options in (["--hr", tmp_path], ["-o", tmp_path / "out"], ["--table", 2, "--hr", tmp_path]):
        fails_clearly(run("evaluate", *reports, *options), "a table of reports goes without them")
    fails_clearly(run("evaluate", tmp_path / "none"), "none: no such folder")


def test_names_are_one_line_in_a_pipe(run: Run) -> None:
    lines = run("baselines").stdout.splitlines()
    for name, weights in published_weights().items():
        assert any(name in line and weights.licence in line for line in lines), name
    lines = run("models").stdout.splitlines()
    for name, what in FOR.items():
        assert any(name in line and what in line for line in lines), name
