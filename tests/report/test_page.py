"""index.html of a report folder: complete, right, self-contained; and as a browser shows it."""

import base64
import hashlib
import json
import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from report_folders import STEMS, pictures, record, small_report, write_folder

from vspsr.errors import VSpSRError
from vspsr.files import write_json
from vspsr.report import write_report
from vspsr.report.calibration import coverage_curve, spread_and_skill
from vspsr.report.folder import read_report
from vspsr.report.records import ReportError
from vspsr.report.words import number


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(small_report(tmp_path_factory.mktemp("page") / "report")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Elements:
    return Elements(html)


def test_it_holds_every_figure_of_the_summary(page: Elements) -> None:
    # samples: 0.100, 0.110, 0.120 plus 0.007 and 0.005; bicubic 0.4
    for text in ("0.1160", "0.1270", "of 1 finite; ∞ in 5 of 6", "52.25", "0.29 × bicubic (0.400)", "vspsr-x4 on Set2"):
        assert text in page.text
    for text in ("stlpips-pytorch 0.0.2", "weights BLAKE2b 00ff", "2.15.0", "a&b <i>", "zebra", "×4", "3 samples each"):
        assert text in page.text
    assert "5 of 6 samples" in page.text
    assert "Samples: σ × temperature 0.8. Closed form: σ × calibration 1.25." in page.text
    assert "3 of 996 LR pixels are wrong" in page.text


def test_names_are_escaped(html: str, tmp_path: Path) -> None:
    assert "a&amp;b &lt;i&gt;" in html
    assert "<i>" not in html
    bad = os.fsdecode(b"caf\xe9\x1b[31m")
    folder = write_folder(tmp_path / "report", [record(bad)], settings={"name": bad, "hr": bad, "backend_version": bad})
    text = write_report(folder).read_text(encoding="utf-8")
    assert text.count(r"caf\xe9\x1b[31m") > 10
    assert "\x1b" not in text


def test_everything_is_inside(html: str, page: Elements) -> None:
    for tag, attributes in page.found:
        for name, value in attributes.items():
            if name in ("src", "href", "srcset", "xlink:href", "action", "data", "poster"):
                assert value is not None
                assert value.startswith(("data:image/webp;base64,", "data:,", "#")), (tag, name, value[:60])
    style = "".join(re.findall(r"<style>(.*?)</style>|style=\"(.*?)\"", html, re.DOTALL)[0])
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", html)


def test_the_policy_allows_this_script_and_no_network(html: str, page: Elements) -> None:
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "connect-src" not in policy  # falls back to 'none'


def test_pictures_are_the_files_byte_for_byte(html: str, tmp_path: Path) -> None:
    pictures(tmp_path / "again", 48, 64, 3)
    for name in ("gt", "lr", "s00", "mean", "stddev", "error", "local_best"):
        content = base64.b64encode((tmp_path / "again" / f"{name}.webp").read_bytes()).decode()
        assert f"data:image/webp;base64,{content}" in html, name


def test_those_who_cannot_see_it_are_told(page: Elements) -> None:
    images = page.all("img")
    assert len(images) == 2 * 10
    assert all(i["alt"] for i in images)
    assert "Sample 2 of a&b <i>" in {i["alt"] for i in images}
    assert all(s["role"] == "img" and s["aria-label"] for s in page.all("svg"))
    assert len(page.all("svg")) == 4
    assert all(c["aria-label"] for c in page.all("canvas"))
    assert [a.get("lang") for a in page.all("html")] == ["en"]


def test_identifiers_are_unique(page: Elements) -> None:
    found = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(found) == len(set(found))


def test_text_of_the_plots_is_text_in_the_pages_font(html: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert all("<text" in plot and "font-family" not in plot and "<metadata" not in plot for plot in plots)
    assert not re.search(r"#0102\d\d", html)  # every marker colour became one of the page's


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = small_report(tmp_path / "report")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_a_hundred_images_of_which_two_have_pictures(tmp_path: Path) -> None:
    records = [record(f"{i:04d}") for i in range(100)]
    path = write_report(write_folder(tmp_path / "report", records, pictured=2))
    elements = Elements(path.read_text(encoding="utf-8"))
    assert sum(b.get("class") == "open" for b in elements.all("button")) == 100
    assert len(elements.all("img")) == 2 * 10
    assert path.stat().st_size < 1_500_000


def test_one_sample_of_an_unknown_scale_without_calibration(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "report", [record("only", n=1)], settings={"scale": 3, "backend": "lpips-alex"})
    text = Elements(write_report(folder).read_text(encoding="utf-8")).text
    assert "1 image · 1 sample each" in text
    assert "Diversity and calibration" not in text
    assert "Deepest" not in text


def test_samples_without_a_closed_form(tmp_path: Path) -> None:
    only = replace(record("a").calibration, gaussian=None)
    html = write_report(write_folder(tmp_path / "report", [record("a", calibration=only)], 0)).read_text("utf-8")
    assert "closed form" not in html
    assert html.count("<svg ") == 4


def test_published_figures_stand_in_a_column_of_their_own_metric(tmp_path: Path) -> None:
    other = Elements(write_report(small_report(tmp_path / "a")).read_text(encoding="utf-8")).text
    same = Elements(write_report(small_report(tmp_path / "b", backend="lpips-alex")).read_text(encoding="utf-8")).text
    assert "Deepest published — 0.117 — 50.54 — 26.04" in other
    assert "Deepest published 0.117 — 50.54 — 26.04" in same
    assert "VSpSR published 0.277 0.68 47.15 — 16.12 DIV2K validation" in same  # of the paper, beside the challenge's
    x8 = write_report(small_report(tmp_path / "c", backend="lpips-alex", scale=8)).read_text(encoding="utf-8")
    assert "Deepest published 0.259" in Elements(x8).text


def settings(folder: Path, **changes: Any) -> None:
    """Change the settings of a report."""
    path = folder / "settings.json"
    write_json(path, {**json.loads(path.read_text()), **changes}, overwrite=True)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: (f / "settings.json").unlink(), "settings.json"),
        (lambda f: (f / "settings.json").write_text("{"), "settings.json: is not JSON"),
        (
            lambda f: (f / "settings.json").write_text('{"scale": 4}'),
            "settings.json: not of this version of vspsr (`backend`",
        ),
        (lambda f: settings(f, images=["../x"]), "settings.json: not of this version of vspsr (`images`"),
        (lambda f: settings(f, images=[]), "settings.json: not of this version of vspsr (`images`"),
        (
            lambda f: settings(f, scale="four"),
            "settings.json: not of this version of vspsr (`scale`: Input should be a valid integer",
        ),
        (lambda f: (f / "images" / "zebra.json").write_text('{"stem": "zebra"}'), "zebra.json: not of this version"),
        (lambda f: (f / "images" / "zebra.json").unlink(), "zebra.json: missing: run `vspsr evaluate` to the end"),
        (
            lambda f: write_json(f / "images" / "zebra.json", record("zebra", n=2), overwrite=True),
            "report: its records do not fit",
        ),
    ],
)
def test_damaged_folders_are_refused_in_one_line(tmp_path: Path, spoil, told: str) -> None:  # type: ignore[no-untyped-def]
    folder = small_report(tmp_path / "report", pictured=0)
    (folder / "index.html").write_text("before")
    spoil(folder)
    with pytest.raises(ReportError, match=re.escape(told)) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert (folder / "index.html").read_text() == "before"
    assert not list(folder.glob(".vspsr-*"))


def test_no_folder_and_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReportError, match="no such folder"):
        read_report(tmp_path / "none")
    folder = small_report(tmp_path / "report", pictured=0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(VSpSRError, match=r"vspsr\[eval\]"):
        write_report(folder)


def test_numbers() -> None:
    assert number(float("inf"), 2) == "∞"
    assert number(None, 2) == number(float("nan"), 2) == "—"
    assert number(-1.25, 1) == "−1.2"
    assert number(12345.678, 1) == "12\u202f345.7"
    assert number(1234, 0) == "1234"


def test_curves_of_a_space_whose_calibration_is_known() -> None:
    """A Gaussian of half the true spread: coverage and skill against the normal distribution of scipy."""
    scipy_stats = pytest.importorskip("scipy.stats")
    torch = pytest.importorskip("torch")
    from vspsr.metrics import calibrate

    torch.manual_seed(0)
    mean = torch.full((3, 96, 96), 0.5)
    truth = (mean + 0.1 * torch.randn(3, 96, 96)).clamp(0, 1)
    samples = (mean + 0.05 * torch.randn(2, 3, 96, 96)).clamp(0, 1)
    tallies = calibrate(samples, truth, mean, torch.full_like(mean, 0.05), step=0)
    gaussian = tallies.gaussian
    assert gaussian is not None
    for level, observed in zip(*coverage_curve(gaussian), strict=True):
        expected = 2 * scipy_stats.norm.cdf(scipy_stats.norm.ppf((1 + level) / 2) / 2) - 1
        assert observed == pytest.approx(expected, abs=0.02), level
    spread, error = spread_and_skill(gaussian)
    assert spread == [pytest.approx(0.05 * 255, rel=1e-3)]
    assert error == [pytest.approx(0.1 * 255, rel=0.02)]


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_in_light_and_dark() -> None:
    css = (resources.files("vspsr.report") / "page.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", scheme))
        for ground in ("paper", "card", "tint"):
            for ink in ("ink", "muted", "accent", "series-1", "series-2", "series-3"):
                light, dark = sorted((_luminance(colours[ground]), _luminance(colours[ink])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_the_fixture_is_what_the_evaluation_writes(tmp_path: Path) -> None:
    """Every file that a real report has, in the form in which it has it."""
    folder = small_report(tmp_path / "report")
    report = read_report(folder)
    assert [r.stem for r in report.records] == sorted(STEMS[:2])
    assert json.loads((folder / "summary.json").read_text())["means"]["lr_psnr"]["mean"] == "inf"
    assert set(report.pictures(report.records[0])) >= {
        "gt",
        "lr",
        "s00",
        "s02",
        "mean",
        "stddev",
        "error",
        "local_best",
    }
