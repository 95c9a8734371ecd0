"""The documentation: its Python is executed, its links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch
from baseline_checkpoints import edsr_pytorch, esrgan
from report_folders import small_report

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block of Python. One that needs a download is marked by a comment above it, which gives the reason.
BLOCK = re.compile(r"(?:<!-- not executed by the tests: (?P<reason>.+?) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
FENCE = re.compile(r"^[> ]*(?:```|~~~) *py", re.MULTILINE | re.IGNORECASE)


def python(page: Path) -> tuple[list[str], list[str]]:
    """The blocks of Python on a page that are executed, and the reasons why others are not."""
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    return [b["code"] for b in blocks if not b["reason"]], [b["reason"] for b in blocks if b["reason"]]


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text("utf-8"))], ids=lambda p: p.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page one after the other, in a folder with the files that they read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks, skipped = python(page)
    code = "\n".join(blocks)
    if "REPORT" in code:
        small_report(tmp_path / "REPORT")
    for name, release in (("my_edsr_x4.pt", edsr_pytorch(4, 8, 1)), ("my_esrgan_x4.pth", esrgan("basicsr"))):
        if name in code:
            torch.save(release.state, tmp_path / name)
    exec(compile(code, page.name, "exec"), {})
    assert all("download" in reason for reason in skipped)


def test_no_python_is_overlooked() -> None:
    """However its fence is spelled or indented."""
    for page in PAGES:
        executed, skipped = python(page)
        assert len(executed) + len(skipped) == len(FENCE.findall(page.read_text(encoding="utf-8"))), page.name
    assert python(ROOT / "README.md")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_module_on_the_map_exists() -> None:
    """docs/mathematics.md names files that exist."""
    text = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / "src" / "vspsr" / name).exists() or (ROOT / name).exists(), name
