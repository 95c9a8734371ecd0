"""Drawing with matplotlib, without a window: figures for files, and SVG that lives inside a web page.

An SVG for a page takes its colours from the page's style sheet, so that it follows light and dark: it is drawn in
marker colours, which are replaced by `currentColor` and by the variables --series-1 … of the page.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from vspsr.errors import OutputError, VSpSRError
from vspsr.files import read_bytes, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID = "#010203", "#010204"
"""Marker colours of an inline SVG: text and axes; grid lines."""
SERIES = ("#010205", "#010206", "#010207")
"""Marker colours of an inline SVG: the first, second and third series."""

_ON_PAGE = {INK: "currentColor", GRID: "var(--line)"} | {c: f"var(--series-{i})" for i, c in enumerate(SERIES, 1)}
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""Suffixes that `save_figure` writes, without the dot → metadata that would make equal figures differ."""
_SETTINGS_IN = {"png": "Description", "pdf": "Subject", "svg": "Description"}
_SETTINGS = "vspsr-settings:{};"  # with JSON in characters of URLs, which all these formats hold as they are


@contextmanager
def style(**changes: Any) -> Iterator[None]:
    """Matplotlib's settings for the figures of this package; text in an SVG stays text, of the reader's font.

    Raises:
        VSpSRError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise VSpSRError("figures need matplotlib: pip install 'vspsr[eval]'") from error
    settings: dict[Any, Any] = {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "grid.color": "#d8d8d8",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "svg.fonttype": "none",
        "svg.hashsalt": "vspsr",
        "pdf.fonttype": 42,
    }
    with mpl.rc_context(settings | changes):
        yield


def inline_svg(figure: "Figure", name: str, description: str) -> str:
    """A figure as an SVG element for a web page.

    Args:
        figure: drawn in `INK`, `GRID` and `SERIES`.
        name: letters and hyphens; what the identifiers inside begin with, so that several fit on one page.
        description: what the figure shows, in words, for those who cannot see it.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: (?:\w+ )*([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for marker, colour in _ON_PAGE.items():
        text = text.replace(marker, colour)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0]
    head = f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}"'
    namespaces = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'
    return re.sub(r"<svg[^>]*>", f"{head} {namespaces}>", text, count=1).strip()


def save_figure(
    figure: "Figure", path: Path, overwrite: bool = False, settings: Mapping[str, Any] | None = None
) -> None:
    """Write a figure as its suffix says, completely or not at all.

    Args:
        settings: how it was made, as JSON values: kept in the file for `figure_settings`.

    Raises:
        OutputError: an unknown suffix, or as in `vspsr.files.replacing`.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise OutputError(f"{path}: unknown suffix {path.suffix!r}; write .{', .'.join(_METADATA)}")
    kept = {} if settings is None else {_SETTINGS_IN[kind]: _SETTINGS.format(quote(json.dumps(settings), safe=""))}
    # matplotlib reads its settings for SVG and PDF when it writes.
    with style(), replacing(path, overwrite) as file:
        figure.savefig(file, format=kind, dpi=200, bbox_inches="tight", metadata={**_METADATA[kind], **kept})


def figure_settings(path: Path) -> Any:
    """The settings that `save_figure` has kept in a file; None where there are none.

    OutputError where the file cannot be read.
    """
    found = re.search(_SETTINGS.format(r"([\w.~%-]+)").encode(), read_bytes(path))
    try:
        return json.loads(unquote(found[1].decode())) if found else None
    except ValueError:
        return None
