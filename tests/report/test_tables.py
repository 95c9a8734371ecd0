"""The tables of the paper and of the challenge: published rows as published, ours in their place."""

import io
import json
import re
from pathlib import Path

import pytest
from report_folders import record, row, small_report, write_folder
from rich.console import Console

from vspsr.files import to_json
from vspsr.report.published import published_rows, published_table
from vspsr.report.records import ReportError
from vspsr.report.tables import as_markdown, as_rich, paper_table, report_table

# Ablation as in the paper: LPIPS, LR-PSNR, diversity.
ABLATION = {
    1: (0.223, 47.87, 0),
    2: (0.239, 47.68, 9.161),
    3: (0.309, 48.25, 9.136),
    4: (0.320, 47.60, 1.847),
    5: (0.308, 47.92, 11.612),
    6: (0.237, 47.92, 13.251),
    7: (0.280, 47.47, 17.895),
    8: (0.254, 47.05, 13.325),
    9: (0.220, 47.75, 11.350),
}
# The other tables, in the order of their rows; None: not published.
OTHERS = {
    2: {
        "bicubic": (0.409, 38.70, 0), "EDSR": (0.257, 54.11, 0), "RCAN": (0.254, 54.24, 0), "SRGAN": (0.158, 35.49, 0),
        "ESRGAN": (0.115, 42.61, 0), "VSpSR": (0.277, 47.15, 16.120),
        "RRDB †": (0.2537, 53.71, 0), "SRGAN †": (0.1263, 40.87, 0), "ESRGAN †": (0.1154, 42.61, 0),
        "SPSR †": (0.1100, 42.57, 0), "SRFlow τ=0.9 †": (0.1201, 49.96, 25.0), "FxSR-PD t=0.8 †": (0.1028, 50.54, 0),
        "SROOE †": (0.0957, 50.80, 0),
    },
    3: {
        "bicubic": (0.584, 37.16, 0), "RCAN": (0.404, 48.65, 0), "VSpSR": (0.508, 46.64, 13.708),
        "RRDB †": (0.4245, 46.05, 0), "ESRGAN †": (0.2841, 25.21, 0), "SRFlow †": (0.2719, 50.26, None),
        "FxSR-PD t=0.8 †": (0.2403, 42.66, 0),
    },
    4: {
        "svnit_ntnu": (0.355, 27.52, 1.871), "SYSU-FVL": (0.244, 49.33, 8.735), "nanbeihuishi": (0.161, 50.46, 12.447),
        "SSS": (0.110, 44.70, 13.285), "VSpSR": (0.273, 47.20, 16.450), "FutureReference": (0.165, 37.51, 19.636),
        "SR_DL": (0.234, 39.80, 20.508), "CIPLAB": (0.121, 50.70, 23.091), "BeWater": (0.137, 49.59, 23.948),
        "Deepest": (0.117, 50.54, 26.041), "njtech&seu": (0.149, 46.74, 26.924),
        "SRFlow (baseline)": (None, 49.91, 25.36), "ESRGAN (baseline)": (None, 39.01, 0),
    },
    5: {
        "svnit_ntnu": (0.481, 25.55, 4.516), "SYSU-FVL": (0.415, 47.27, 8.778), "SSS": (0.237, 37.43, 13.548),
        "VSpSR": (0.496, 46.78, 14.287), "SR_DL": (0.311, 42.28, 14.817), "FutureReference": (0.291, 36.51, 17.985),
        "CIPLAB": (0.266, 50.86, 23.320), "BeWater": (0.297, 49.63, 23.700), "Deepest": (0.259, 48.64, 26.941),
        "njtech&seu": (0.366, 29.65, 28.193),
        "SRFlow (baseline)": (None, 50.0, 10.62), "ESRGAN (baseline)": (None, 31.28, 0),
    },
}  # fmt: skip


def figures(number: int) -> dict[str, tuple[float | None, ...]]:
    keys = ("lpips-alex", "lr_psnr", "diversity")
    return {r.name: tuple(r.values[k] for k in keys) for r in published_rows(number)}


def test_published_rows_are_those_published() -> None:
    assert figures(1) == {str(k): v for k, v in ABLATION.items()}
    for number, rows in OTHERS.items():
        assert figures(number) == rows
        assert list(figures(number)) == list(rows)
    of_sr = {r.name: r.values for r in published_rows(2)}["SROOE †"]
    assert (of_sr["psnr"], of_sr["ssim"], of_sr["dists"]) == (27.69, 0.7932, 0.0491)
    assert of_sr["ratio"] == pytest.approx(0.0957 / 0.409)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_published_row_is_marked_and_has_a_source(number: int) -> None:
    for found in published_rows(number):
        assert found.published
        assert found.source
        assert found.url.startswith("https://")
        assert len(found.settings) == len(published_table(number).get("settings", []))
    text = as_markdown(paper_table(number))
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert all("published: [" in line for line in lines)


@pytest.mark.parametrize("number", [0, 6])
def test_there_are_five_tables(number: int) -> None:
    with pytest.raises(ValueError, match=f"got {number}"):
        paper_table(number)


def test_what_is_not_known_is_said() -> None:
    assert any("does not name the channel" in note for note in paper_table(2).notes)
    assert any("λ_adv and β are our reading" in note for note in paper_table(1).notes)


def test_our_rows_stand_in_the_column_of_their_metric(tmp_path: Path) -> None:
    folders = [small_report(tmp_path / "a", 0), small_report(tmp_path / "b", 0, backend="lpips-alex", name="other")]
    table = paper_table(4, folders)
    assert table.columns == ["lpips-alex", "stlpips-alex", "lr_psnr", "diversity", "ratio"]
    ours, other = table.rows[-2:]
    assert (ours.name, other.name, ours.published) == ("vspsr-x4", "other", False)
    assert ours.values["stlpips-alex"] == pytest.approx(0.116)
    assert "lpips-alex" not in ours.values
    assert other.values["lpips-alex"] == pytest.approx(0.116)
    assert other.values["ratio"] == pytest.approx(0.116 / 0.4)
    assert ours.values["lr_psnr"] == float("inf")  # the mean of infinite values is no finite one
    assert ours.values["diversity"] == 30
    assert ours.images == "Set2 (2)"
    assert any("another metric than LPIPS" in note for note in table.notes)


def test_columns_without_any_value_are_left_out() -> None:
    assert paper_table(1).columns == ["lpips-alex", "lr_psnr", "diversity"]
    assert paper_table(2).columns == ["lpips-alex", "lr_psnr", "diversity", "ratio", "psnr", "ssim", "dists"]
    assert paper_table(3).columns == ["lpips-alex", "lr_psnr", "diversity", "ratio", "psnr"]


@pytest.mark.parametrize("settings", [{"name": "ablation-3"}, {"name": "x", "model": "runs/ablation/3"}])
def test_ablations_follow_their_published_row(tmp_path: Path, settings: dict[str, str]) -> None:
    again = tmp_path / "ablation_3"
    table = paper_table(1, [small_report(tmp_path / "ours", 0, **settings), small_report(again, 0, name="again")])
    names = [r.name for r in table.rows]
    assert names[2:6] == ["3", settings["name"], "again", "4"]
    assert paper_table(1, [small_report(tmp_path / "plain", 0)]).rows[-1].name == "vspsr-x4"


def test_another_scale_is_refused(tmp_path: Path) -> None:
    folder = small_report(tmp_path / "x8", 0, scale=8)
    with pytest.raises(ValueError, match=re.escape("x8: evaluated at x8; table 2 is of x4")):
        paper_table(2, [folder])
    assert paper_table(3, [folder]).rows[-1].name == "vspsr-x4"
    with pytest.raises(ReportError, match="no such folder"):
        paper_table(3, [tmp_path / "none"])


def test_reports_alone_have_a_table(tmp_path: Path) -> None:
    folders = [small_report(tmp_path / name, 0, name=name) for name in ("b", "a")]
    table = report_table(folders)
    assert [r.name for r in table.rows] == ["b", "a"]
    assert table.columns == ["stlpips-alex", "lr_psnr", "diversity", "ratio", "psnr", "ssim"]
    assert table.notes == []
    assert as_markdown(table).startswith("**Reports at x4**\n")
    console = Console(file=io.StringIO(), width=100)
    console.print(as_rich(table))
    assert "published" not in (text := console.file.getvalue())
    assert re.search(r"b on Set2 \(2\) .* 30\.00 ", text)


def test_reports_that_do_not_compare_say_so(tmp_path: Path) -> None:
    plain = small_report(tmp_path / "a", 0)
    assert "`border`" in report_table([plain, small_report(tmp_path / "b", 0, border=4)]).notes[0]
    other = report_table([plain, small_report(tmp_path / "lpips", 0, backend="lpips-alex")])
    assert other.columns[:2] == ["stlpips-alex", "lpips-alex"]
    with pytest.raises(ValueError, match=r"x8: evaluated at x8, .*a at x4"):
        report_table([plain, small_report(tmp_path / "x8", 0, scale=8)])
    with pytest.raises(ValueError, match="`reports` is empty"):
        report_table([])


def test_one_sample_has_no_diversity(tmp_path: Path) -> None:
    single = record("one", n=1, samples=[row(0, 0.2, 40.125)])
    table = paper_table(2, [write_folder(tmp_path / "one", [single], 0)])
    assert table.rows[-1].values["diversity"] is None
    assert table.rows[-1].values["lr_psnr"] == 40.125


def test_for_programs_infinity_is_a_string(tmp_path: Path) -> None:
    content = json.loads(json.dumps(to_json(paper_table(4, [small_report(tmp_path / "a", 0)])), allow_nan=False))
    assert content["rows"][-1]["values"]["lr_psnr"] == "inf"
    assert content["rows"][0]["published"] is True


def test_markdown_escapes_bars_and_marks_ours(tmp_path: Path) -> None:
    text = as_markdown(paper_table(2, [small_report(tmp_path / "a", 0, name="a|b")]))
    assert "| **a\\|b** |" in text
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert len(counts) == 1
