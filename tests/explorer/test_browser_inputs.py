"""The same by mouse, by keys and by touch: moving the picture, the gallery, and the list of edits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_page import PHONE, Page, reach
from numpy.typing import NDArray

pytestmark = pytest.mark.slow

PLACE = """async () => {
    const { main } = (await import("/static/js/view.js")).view;
    return [main.zoom, ...main.middle];
}"""

PAINTED = """async () => {
    const { store } = await import("/static/js/store.js");
    return store.doc.edits.at(-1).area.strokes[0].points[1];
}"""


class Hand:
    """A page that is used in one way."""

    def __init__(self, opened: Page, kind: str) -> None:
        self.opened, self.page, self.kind = opened, opened.page, kind

    def press(self, selector: str) -> None:
        """A button, a box to tick or a section."""
        target = self.page.locator(selector)
        if self.kind == "keys":
            reach(self.page, selector)
            self.page.keyboard.press("Space" if target.get_attribute("type") == "checkbox" else "Enter")
        elif self.kind == "touch":
            target.tap()
        else:
            target.click()

    def slide(self, selector: str, share: float, keys: list[str]) -> None:
        """A slider to a share of its way, or by keys."""
        target = self.page.locator(selector)
        if self.kind == "keys":
            reach(self.page, selector)
            for key in keys:
                self.page.keyboard.press(key)
            return
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        at = {"x": share * box["width"], "y": box["height"] / 2}
        if self.kind == "touch":
            target.tap(position=at)
        else:
            target.click(position=at)

    def stroke(self, brush: str) -> NDArray[np.int64]:
        """Four pixels to the right from the middle of the picture, which is returned."""
        self.press(f".tools button:text-is('{brush}')")
        path = [(32.5, 24.5), (34.5, 24.5), (36.5, 24.5)]
        if self.kind == "keys":
            for key in ("Space", "ArrowRight", "Space", "ArrowLeft", "Escape"):
                self.page.keyboard.press(key)
        elif self.kind == "touch":
            self.page.evaluate("scrollTo(0, 0)")
            self.opened.touch(*path)
            self.page.locator("#toolbar button:text-is('Move')").tap()
        else:
            self.opened.drag(*path)
            self.page.click(".tools button[aria-pressed=true]")
        return self.shown()

    def shown(self) -> NDArray[np.int64]:
        self.opened.wait()
        self.page.evaluate("scrollTo(0, 0)")
        return self.opened.picture()


@pytest.fixture(params=["mouse", "keys", "touch"])
def hand(request: pytest.FixtureRequest, browser: Any, address: str, tmp_path: Path) -> Iterator[Hand]:
    page = Page(browser, address, tmp_path, **(PHONE if request.param == "touch" else {}))
    yield Hand(page, request.param)
    page.close()


def test_pinned_samples_are_compared_and_blended(hand: Hand) -> None:
    page, shown = hand.page, {}
    for name in ("Sample 1", "Sample 2"):
        hand.press(f"[aria-label='Show {name}']")
        shown[name] = hand.shown()
        hand.press(f"[aria-label='Pin {name}']")
    assert page.locator("[aria-label^='Pin '][aria-pressed=true]").count() == 2
    hand.slide("[aria-label='From one to the other']", 0.5, ["ArrowRight"] * 10)
    between = hand.shown()
    gaps = [np.abs(between - picture).mean() for picture in shown.values()]
    assert max(gaps) < np.abs(shown["Sample 1"] - shown["Sample 2"]).mean()
    assert min(gaps) > 1
    hand.press("[aria-label='Others like Sample 1']")
    page.wait_for_selector("figure:has-text('Like Sample 1') >> nth=3")
    hand.press("[aria-label='Show Like Sample 1'] >> nth=0")
    like = hand.shown()
    assert 1 < np.abs(like - shown["Sample 1"]).mean() < np.abs(like - shown["Sample 2"]).mean()
    hand.press("button:text-is('Pinned side by side')")
    page.wait_for_selector(".pane:nth-child(2)")
    hand.opened.wait()
    captions = page.locator(".pane figcaption").all_inner_texts()
    assert captions == [f"{name}: 0 of 576 LR values wrong" for name in shown]


def test_edits_are_made_switched_off_changed_and_ordered(hand: Hand) -> None:
    page = hand.page
    hand.press("[aria-label='Show Sample 1']")
    sample = hand.shown()
    hand.press("summary:text-is('Edit')")
    around = (slice(20, 30), slice(28, 42))

    def moved(picture: NDArray[np.int64]) -> float:
        return float(np.abs(picture - sample)[around].mean())

    calm = hand.stroke("Less texture")
    assert moved(calm) > 0.5
    erased = hand.stroke("Eraser")
    assert moved(erased) < moved(calm)
    page.fill("[aria-label='Colour of the brush']", "#f05050")
    page.fill("[aria-label='Size of the brush in pixels']", "1")  # LR decides on the colour of larger areas
    coloured = hand.stroke("Colour of an area")
    assert np.abs(coloured - erased)[22:27, 31:38].max() > 4
    row = int(page.evaluate(PAINTED))  # keys paint between two rows
    redder = (coloured - erased)[row - 1 : row + 1, 33:35]
    assert (redder[..., 0] - redder[..., 1]).mean(1).max() > 2
    names = page.locator(".edits .name").all_inner_texts()
    assert names[-1] == "Colour"
    row = f".edits li:nth-child({len(names)})"
    hand.press(f"{row} input[type=checkbox]")
    without = hand.shown()
    assert moved(without) < moved(coloured)
    hand.press(f"{row} input[type=checkbox]")
    assert np.abs(hand.shown() - coloured).max() <= 2
    hand.slide(f"{row} [aria-label^='Allowed error']", 0.98, ["End"])
    assert moved(hand.shown()) < moved(coloured)
    hand.press("[aria-label^='Move up: Colour']")
    assert page.locator(".edits .name").all_inner_texts() == [*names[:-2], "Colour", names[-2]]
    hand.press("#undo")
    hand.press("#undo")
    assert np.abs(hand.shown() - coloured).max() <= 2


def test_without_a_tool_the_picture_is_moved_and_zoomed(hand: Hand) -> None:
    """What is seen moves as the hand does."""
    opened, page = hand.opened, hand.page

    def place() -> list[float]:
        """Zoom, and the HR point in the middle."""
        page.wait_for_timeout(600)  # until it has come to rest
        found: list[float] = page.evaluate(PLACE)
        return found

    zoom, *middle = place()
    before = opened.seen()
    x, y = opened.at(32, 24)
    ways: dict[str, Callable[[], None]] = {
        "mouse": lambda: opened.drag((32, 24), (28, 24), (24, 24)),
        "touch": lambda: opened.touch((32, 24), (28, 24), (24, 24)),
        "keys": lambda: page.keyboard.press("ArrowRight"),
    }
    ways[hand.kind]()
    now, *at = place()
    assert (now, at[1]) == pytest.approx((zoom, middle[1]), abs=0.1)
    assert 5 < at[0] - middle[0] < 30  # a finger gives it a push
    after, pixels = opened.seen(), round((at[0] - middle[0]) * zoom)
    inside = slice(before.shape[1] // 4, before.shape[1] // 2)
    assert np.abs(after[:, inside] - before[:, inside.start + pixels : inside.stop + pixels]).mean() < 2
    if hand.kind == "mouse":
        page.mouse.move(x, y)
        page.mouse.wheel(0, -300)
    elif hand.kind == "keys":
        page.keyboard.press("+")
    else:
        fingers = opened.context.new_cdp_session(page)
        for gap in (20, 25, 30, 35, 40):
            points = [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}]
            kind = "touchStart" if gap == 20 else "touchMove"
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert place()[0] > 1.15 * zoom
    assert np.abs(opened.seen() - after).mean() > 1
