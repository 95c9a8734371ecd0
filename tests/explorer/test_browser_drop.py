"""Real files dropped onto the page: a photo to open, an own picture beside the others, candidates to ask about."""

import base64
import threading
from typing import Any

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import photo, png

from vspsr.explorer import app
from vspsr.explorer.session import Sessions

pytestmark = pytest.mark.slow

DROP = """([selector, name, content]) => {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type: "image/png" }));
    const target = document.querySelector(selector);
    const options = { dataTransfer: files, bubbles: true, cancelable: true };
    const over = new DragEvent("dragover", options), drop = new DragEvent("drop", options);
    target.dispatchEvent(over);
    target.dispatchEvent(drop);
    return [over.defaultPrevented, drop.defaultPrevented];
}"""


def drop(opened: Page, selector: str, name: str, content: bytes) -> None:
    """A file dropped onto an element, as a browser does it; the browser itself must not open it."""
    encoded = base64.b64encode(content).decode()
    assert opened.page.evaluate(DROP, [selector, name, encoded]) == [True, True]


def test_a_photo_is_opened(opened: Page) -> None:
    page = opened.page
    page.click("#close")
    page.wait_for_selector("#welcome:not([hidden])")
    drop(opened, ".drop", "dropped.png", png(photo(seed=3)))
    page.wait_for_selector("#title:has-text('dropped.png')")
    opened.wait()
    assert opened.badge == "0 of 576 LR values wrong"
    page.keyboard.press("1")
    opened.wait()
    assert np.abs(opened.picture()[2::4, 2::4] - photo(seed=3)).max() <= 2


def test_reading_a_file_is_cancelled_by_its_button(opened: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server, which may be reading it, does not open it then."""
    page, own, released, added = opened.page, app.read_upload, threading.Event(), []

    def held(*arguments: Any) -> Any:
        released.wait(60)
        try:
            return own(*arguments)
        finally:
            added.append("read")

    with monkeypatch.context() as patched:
        patched.setattr(app, "read_upload", held)
        patched.setattr(Sessions, "add", lambda *_: added.append("opened") or [])
        page.click("#close")
        page.wait_for_selector("#welcome:not([hidden])")
        drop(opened, ".drop", "large.png", png(photo(seed=3)))
        page.click("#jobs button[aria-label='Cancel: reading large.png']")
        page.wait_for_selector("#welcome:not([hidden])")
        page.wait_for_timeout(500)  # until the browser has closed the connection
        released.set()
        page.wait_for_timeout(500)
        assert added == ["read"]
    opened.open_photo()
    assert opened.badge == "0 of 576 LR values wrong"


def test_the_example_is_opened(opened: Page) -> None:
    page = opened.page
    page.click("#close")
    page.click("#example")
    page.wait_for_selector("#title:has-text('example.png')")
    opened.wait()
    assert opened.badge.startswith("0 of ")


def test_an_own_picture_is_shown_and_measured(opened: Page) -> None:
    page = opened.page
    own = opened.kept()
    own[8:16, 8:24] = (10, 200, 30)
    drop(opened, "#panes", "mine.png", png(own.astype(np.uint8)))
    page.wait_for_selector("#badge.wrong")
    opened.wait()
    assert np.abs(opened.picture() - own).max() <= 2
    assert page.locator(".look button[aria-pressed=true]").inner_text().endswith("mine.png")
    # It is a pane of its own.
    for name in ("Mean", "mine.png"):
        page.check(f"input[aria-label='Side by side: {name}']")
    opened.wait()
    captions = page.locator(".pane figcaption").all_inner_texts()
    assert captions[0] == "Mean: 0 of 576 LR values wrong"
    assert captions[1].startswith("mine.png: ")
    assert "0 of 576" not in captions[1]
    assert opened.page.url.startswith(opened.address.split("/?")[0])


def test_candidates_are_asked_about(opened: Page) -> None:
    page, mean = opened.page, opened.kept()
    opened.open("Region")
    page.click("text=Box a region")
    opened.drag((20.5, 16.5), (31, 27))
    page.locator(".sliders input").first.wait_for()
    opened.open("Ask")
    shown = opened.badge
    right = mean[16:28, 20:32]
    for number, (name, patch) in enumerate((("wrong.png", 255 - right), ("right.png", right))):
        box = f".candidate:nth-child({number + 1})"
        drop(opened, box, name, png(patch.astype(np.uint8)))
        page.wait_for_selector(f"{box}:has-text('{name}')")
    assert opened.badge == shown  # they were not taken for own pictures
    page.click("text=Which is supported?")
    page.wait_for_selector(".answer:has-text('B is supported over A')")
