"""Pictures side by side in a real browser."""

from collections.abc import Callable

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import pixels

pytestmark = pytest.mark.slow

PLACES = """async () => {
    const { view } = await import("/static/js/view.js");
    return view.panes.map((pane) => [...pane.middle, pane.zoom]);
}"""


def test_side_by_side_panes_zoom_together(opened: Page) -> None:
    page = opened.page
    for name in ("LR", "Mean", "Bicubic"):
        page.check(f"input[aria-label='Side by side: {name}']")
        opened.wait()
        page.wait_for_timeout(300)  # OpenSeadragon warns of tiles that come when their pane is gone
    assert page.locator(".pane").count() == 3
    assert page.locator(".pane figcaption").all_inner_texts()[1] == "Mean: 0 of 576 LR values wrong"
    box = page.locator(".view").nth(1).bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2)
    for _ in range(3):
        page.mouse.wheel(0, -200)
        page.wait_for_timeout(200)
    page.wait_for_timeout(700)
    shots = [pixels(page.locator(".view").nth(i).screenshot())[30:] for i in range(3)]
    assert np.abs(shots[1] - shots[2]).mean() < 8  # mean and bicubic, the same part
    assert shots[1].std(0).mean() > 1
    places = page.evaluate(PLACES)
    assert places == [pytest.approx(places[0])] * 3
    for name in ("LR", "Mean"):
        page.uncheck(f"input[aria-label='Side by side: {name}']")
    opened.wait()
    assert page.locator(".pane").count() == 1


def test_a_pane_stays_when_others_come_and_go(opened: Page) -> None:
    """Zoom and position stay the same."""
    page = opened.page
    page.locator(".view").evaluate("view => { view.dataset.mark = 'first'; }")
    for key in ("+", "+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    before, [[x, y, _]] = opened.seen(), page.evaluate(PLACES)
    ticks = [page.locator(f"input[aria-label='Side by side: {name}']") for name in ("Mean", "Bicubic", "LR")]
    for tick in (*ticks, *ticks, *ticks[:2]):
        tick.click()
        opened.wait()
        page.wait_for_timeout(300)  # OpenSeadragon warns of tiles that come when their pane is gone
    assert page.locator(".pane").count() == 2
    opened.seen()
    assert page.locator(".view").first.get_attribute("data-mark") == "first"
    places = page.evaluate(PLACES)
    assert places == [pytest.approx(places[0])] * 2
    assert places[0][:2] == pytest.approx([x, y], abs=0.5)
    for tick in ticks[:2]:
        tick.click()
    opened.wait()
    assert np.abs(opened.seen() - before).mean() < 2


def test_side_by_side_ends_with_what_is_chosen_instead(opened: Page) -> None:
    """Single, or any picture, that of before included; until then tools work on what the first pane shows."""
    page = opened.page
    ends: dict[str, Callable[[], None]] = {
        "s": lambda: page.keyboard.press("s"),
        "Single": lambda: page.click("#toolbar button:text-is('Single')"),
        "a key": lambda: page.keyboard.press("2"),
        "the key of what was shown": lambda: page.keyboard.press("2"),
        "an entry": lambda: page.click(".look button:has-text('Mean')"),
        "a sample": lambda: page.click("[aria-label='Show Sample 1']"),
    }
    for name, end in ends.items():
        for entry in ("LR", "Mean"):
            page.check(f"input[aria-label='Side by side: {entry}']")
        page.wait_for_selector(".pane:nth-child(2)")
        opened.wait()
        assert page.locator("#toolbar button[aria-pressed=true]").all_inner_texts() == ["Move"], name
        end()
        page.wait_for_selector(".pane:nth-child(2)", state="detached")
        opened.wait()
        assert page.locator(".look input:checked").count() == 0, name
        assert page.locator("#toolbar button[aria-pressed=true]").all_inner_texts() == ["Move", "Single"], name
    sample = opened.kept()
    for entry in ("Mean", "Bicubic"):
        page.check(f"input[aria-label='Side by side: {entry}']")
    page.wait_for_selector(".pane:nth-child(2)")
    opened.wait()
    mean = opened.kept()
    assert np.abs(mean - sample).max() > 5
    opened.open("Region")
    page.click("text=Middle of the view")
    slider = page.locator(".sliders input").first
    slider.wait_for()
    slider.fill("1")
    page.wait_for_selector(".pane:nth-child(2)", state="detached")
    opened.wait()
    for amount in ("3", "0"):  # the blend lies over the new pane
        slider.evaluate("(input, amount) => { input.value = amount; input.dispatchEvent(new Event('input')); }", amount)
        page.wait_for_selector(".pane .blend:visible")
        slider.dispatch_event("change")
        opened.wait()
    assert np.abs(opened.kept() - mean).max() == 0


def test_as_many_as_six(opened: Page) -> None:
    """A seventh cannot be ticked until there is room."""
    page = opened.page
    for i in (1, 2, 3):
        page.click(f"[aria-label='Pin Sample {i}']")
    names = ["LR", "Bicubic", "Mean", "Sample 1", "Sample 2", "Sample 3"]
    for name in names:
        page.check(f"input[aria-label='Side by side: {name}']")
        opened.wait()
        page.wait_for_timeout(300)  # OpenSeadragon warns of tiles that come when their pane is gone
    captions = page.locator(".pane figcaption").all_inner_texts()
    assert [caption.split(":")[0] for caption in captions] == names
    places = page.evaluate(PLACES)
    assert places == [pytest.approx(places[0])] * 6
    seventh = page.locator("input[aria-label='Side by side: Standard deviation σ']")
    assert seventh.is_disabled()
    page.uncheck("input[aria-label='Side by side: LR']")
    opened.wait()
    assert page.locator(".pane").count() == 5
    assert seventh.is_enabled()
