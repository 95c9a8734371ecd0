"""The report in a real browser: Chromium through Playwright, where both are installed."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_folders import record, small_report, write_folder

from vspsr.report import write_report


class Opened:
    """A page, with all that it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def close(self, path: Path) -> None:
        """Nothing but the page itself was asked for, and nothing went wrong."""
        self.context.close()
        assert [r for r in self.requests if not r.startswith("data:")] == [path.as_uri()]
        assert self.complaints == []

    def open_row(self, name: str) -> Any:
        """Click on the row of an image and give its viewer, once it has started."""
        self.page.locator("button.open", has_text=name).click()
        viewer = self.page.locator(f"tbody[data-name='{name}'] .viewer")
        viewer.locator("output:has-text('x ')").wait_for()
        return viewer


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(small_report(tmp_path_factory.mktemp("browser") / "report"))


@pytest.fixture
def opened(browser: Any, path: Path) -> Iterator[Opened]:
    page = Opened(browser, path)
    yield page
    page.close(path)


def block_colours(viewer: Any, index: int, blocks: int) -> np.ndarray:
    """Colours in the middle of each of blocks × blocks squares of a close-up."""
    script = """(canvas, n) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height), step = canvas.width / n, out = [];
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        for (let y = 0; y < n; y++) for (let x = 0; x < n; x++)
            out.push(...context.getImageData((x + 0.5) * step, (y + 0.5) * step, 1, 1).data.slice(0, 3));
        return out;
    }"""
    values = viewer.locator(".crops canvas").nth(index).evaluate(script, blocks)
    return np.array(values).reshape(blocks, blocks, 3)


def test_rows_open_and_close_by_mouse_and_keyboard(opened: Opened) -> None:
    page = opened.page
    button = page.locator("button.open", has_text="zebra")
    detail = page.locator("tbody[data-name=zebra] tr.detail")
    assert button.get_attribute("aria-expanded") == "false"
    assert not detail.is_visible()
    assert page.locator("tr.detail img").count() == 0  # pictures wait until they are wanted
    page.locator("tbody[data-name=zebra] tr.row td").first.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert detail.is_visible()
    assert detail.locator(".thumbs img").count() == 10
    assert "sample 2" in detail.locator("table.samples").inner_text()
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    assert not detail.is_visible()
    button.press("Space")
    assert detail.is_visible()
    assert detail.locator(".thumbs img").count() == 10  # not a second time


def test_it_begins_where_the_error_is_largest(opened: Opened) -> None:
    viewer = opened.open_row("a&b <i>")
    assert viewer.locator("output").inner_text().startswith("x 0–")
    assert ", y 0–" in viewer.locator("output").inner_text()


def test_a_click_magnifies_the_same_region_of_all_pictures_pixel_by_pixel(opened: Opened, path: Path) -> None:
    viewer = opened.open_row("a&b <i>")  # 64×48 pixels, LR 16×12
    viewer.locator("input[type=range]").fill("16")
    picture = viewer.locator(".thumbs .picture").nth(5)
    box = picture.bounding_box()
    assert box is not None
    picture.click(position={"x": box["width"] * 40 / 64, "y": box["height"] * 24 / 48})
    assert viewer.locator("output").inner_text() == "x 32–48, y 16–32"
    lr = np.asarray(Image.open(path.parent / "images" / "a&b <i>" / "lr.webp").convert("RGB")).astype(int)
    expected = lr[4:8, 8:12]
    assert np.abs(block_colours(viewer, 0, 4) - expected).max() <= 1  # ground truth: LR pixels as blocks of 4
    assert np.abs(block_colours(viewer, 1, 4) - expected).max() <= 1  # LR: enlarged to the same size
    assert np.abs(block_colours(viewer, 4, 4) - (255 - expected)).max() <= 1  # sample 0
    marks = viewer.locator(".region").evaluate_all("all => all.map(m => m.style.left + m.style.top + m.style.width)")
    assert len(marks) == 11
    assert set(marks) == {"50%33.3333%25%"}


def test_dragging_chooses_the_region(opened: Opened) -> None:
    viewer = opened.open_row("a&b <i>")
    stage = viewer.locator(".stage .picture")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    scale = box["width"] / 64
    mouse = opened.page.mouse
    mouse.move(box["x"] + 44 * scale, box["y"] + 30 * scale)
    mouse.down()
    mouse.move(box["x"] + 30 * scale, box["y"] + 20 * scale)
    mouse.move(box["x"] + 24 * scale, box["y"] + 12 * scale)
    mouse.up()
    assert viewer.locator("output").inner_text() == "x 24–44, y 10–30"


def test_the_region_moves_and_grows_by_keys_and_stays_inside(opened: Opened) -> None:
    viewer = opened.open_row("a&b <i>")
    viewer.locator("input[type=range]").fill("16")
    picture = viewer.locator(".thumbs .picture").first
    for _ in range(20):
        picture.press("ArrowRight")
        picture.press("ArrowDown")
    assert viewer.locator("output").inner_text() == "x 48–64, y 32–48"
    picture.press("ArrowLeft")
    picture.press("Shift+ArrowUp")
    assert viewer.locator("output").inner_text() == "x 44–60, y 31–47"
    picture.press("-")
    assert viewer.locator("output").inner_text() == "x 46–59, y 33–46"
    assert viewer.locator(".stage figcaption").inner_text() == "ground truth"


def test_columns_sort_and_infinity_is_larger_than_all(opened: Opened) -> None:
    page = opened.page

    def order() -> list[str]:
        return page.locator("table.images tbody").evaluate_all("all => all.map(b => b.dataset.name)")

    assert order() == ["a&b <i>", "zebra"]
    head = page.locator("table.images th", has_text="Worst LR-PSNR")
    head.locator("button").click()
    assert order() == ["zebra", "a&b <i>"]  # 52.25 dB before ∞
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("th[aria-sort]").count() == 1
    head.locator("button").press("Enter")
    assert order() == ["a&b <i>", "zebra"]
    assert head.get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"is_mobile": True, "has_touch": True}])
def test_dark_and_on_a_phone(browser: Any, path: Path, options: dict[str, Any]) -> None:
    opened = Opened(browser, path, viewport={"width": 360, "height": 740}, **options)
    viewer = opened.open_row("zebra")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = opened.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(18, 20, 23)" if "color_scheme" in options else "rgb(255, 255, 255)")
    if "has_touch" in options:
        viewer.locator(".stage .picture").tap()
        assert viewer.locator("output").inner_text().startswith("x 0–40")  # 40×56 pixels, all of its width
    opened.close(path)


def test_the_policy_keeps_the_page_from_the_network(browser: Any, path: Path) -> None:
    """A picture, a style sheet and a script that something might put in are not fetched from a server that listens."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        opened = Opened(browser, path)
        refused = opened.page.evaluate(
            """async (base) => {
                const refused = [];
                document.addEventListener("securitypolicyviolation", (e) => refused.push(e.effectiveDirective));
                new Image().src = base + "/picture.png";
                document.head.append(Object.assign(document.createElement("script"), { src: base + "/script.js" }));
                document.head.append(
                    Object.assign(document.createElement("link"), { rel: "stylesheet", href: base + "/style.css" }));
                await fetch(base + "/data").catch(() => 0);
                await new Promise((done) => setTimeout(done, 300));
                return refused;
            }""",
            f"http://127.0.0.1:{server.server_port}",
        )
        assert sorted(refused) == ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
        assert asked == []
        opened.context.close()
    finally:
        server.shutdown()
        server.server_close()


def test_rows_without_pictures_open_to_their_figures(browser: Any, tmp_path: Path) -> None:
    path = write_report(write_folder(tmp_path / "report", [record("plain")], pictured=0))
    opened = Opened(browser, path)
    opened.page.locator("button.open").click()
    assert "bicubic" in opened.page.locator("table.samples").inner_text()
    assert opened.page.locator(".viewer").count() == 0
    opened.close(path)
