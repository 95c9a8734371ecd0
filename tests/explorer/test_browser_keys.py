"""Edit, ask and keep by keyboard alone: every control is reached with Tab."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_page import Page, reach
from explorer_tools import pixels


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def by_keys(page: Any, selector: str, *keys: str) -> None:
    """Reach a control, and press keys there."""
    reach(page, selector)
    press(page, *keys)


@pytest.mark.parametrize("tool", ["Copy a patch", "Repeat this there"])
def test_a_patch_is_put_elsewhere_by_keys(opened: Page, tool: str) -> None:
    """Space begins and ends the box; with arrows and Space again, what is in it goes elsewhere."""
    page, before = opened.page, opened.picture()
    by_keys(page, "summary:text-is('Edit')", "Enter")
    by_keys(page, "[aria-label^='How exactly']", "Home")
    by_keys(page, f".tools button:text-is('{tool}')", "Enter")
    press(page, "Space", "ArrowRight", "ArrowDown", "Space")
    page.wait_for_selector("#hint:has-text('Press where it goes')")
    press(page, *["ArrowLeft"] * 4, "ArrowDown", "Space")
    opened.wait()
    assert page.locator(".edits .name").count() == 1
    patch, after = before[24:28, 32:36], opened.picture()
    to = (slice(26, 30), slice(14, 18))
    assert np.abs(after[to] - patch).mean() < 0.8 * np.abs(before[to] - patch).mean()
    assert page.locator(f"button:text-is('{tool}')").evaluate("(b) => b === document.activeElement")  # as before
    press(page, "Control+z")
    opened.wait()
    assert np.abs(opened.picture() - before).max() <= 2


@pytest.mark.parametrize("tool", ["Scribble", "Box a region"])
def test_a_tool_takes_the_keys_until_escape(opened: Page, tool: str) -> None:
    page = opened.page
    for section in ("Region", "Edit"):
        by_keys(page, f"summary:text-is('{section}')", "Enter")
    by_keys(page, f"button:text-is('{tool}')", "Enter", "Space", "ArrowRight", "ArrowDown", "Space")
    if tool == "Scribble":
        opened.wait()
        assert page.locator(".edits li").count() == 1
        press(page, "Escape")
    else:
        page.locator(".sliders input").first.wait_for()
    press(page, "Enter")  # the tool's button has the focus again
    assert page.locator(f"button:text-is('{tool}')").get_attribute("aria-pressed") == "true"


@pytest.mark.slow
def test_asked_and_kept_by_keys(opened: Page) -> None:
    page = opened.page
    by_keys(page, "[aria-label='Show Sample 2']", "Enter")
    opened.wait()
    by_keys(page, "summary:text-is('Region')", "Enter")
    by_keys(page, "button:text-is('Middle of the view')", "Enter")
    page.locator(".sliders input").first.wait_for()
    by_keys(page, "summary:text-is('Ask')", "Enter")
    for name, key in (("A", "Home"), ("B", "End")):
        by_keys(page, f"select[aria-label='Candidate {name}']", key, *(["ArrowDown"] if name == "A" else []))
    assert page.locator(".candidate span").all_inner_texts() == ["Mean", "Sample 2"]
    by_keys(page, "button:text-is('Which is supported?')", "Enter")
    page.wait_for_selector(".answer:has-text('A is supported over B')")
    by_keys(page, "summary:text-is('Keep')", "Enter")
    by_keys(page, "[aria-label=Format]", "ArrowDown")
    reach(page, "[data-what=picture]")
    with page.expect_download() as download:
        press(page, "Enter")
    assert download.value.suggested_filename == "a photo_x4.tiff"
    kept = pixels(Path(download.value.path()).read_bytes())
    page.keyboard.press("Escape")
    assert np.abs(opened.picture() - kept).mean() < 1.5


@pytest.mark.slow
def test_everything_by_keyboard_alone(opened: Page) -> None:
    page = opened.page
    before = opened.picture()
    page.locator("summary:text-is('Edit')").press("Enter")
    page.locator(".tools button:text-is('Scribble')").press("Enter")
    for key in ("Space", "ArrowRight", "Space", "Escape"):
        page.keyboard.press(key)
    opened.wait()
    assert page.locator(".edits li").count() == 1
    assert np.abs(opened.picture() - before)[20:28, 28:40].max() > 3
    page.keyboard.press("r")
    page.keyboard.press("Space")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.locator("summary:text-is('Region')").press("Enter")
    slider = page.locator(".sliders input").first
    slider.wait_for()
    slider.press("End")
    opened.wait()
    assert "0 of 576" in opened.badge
    unlabelled = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=slider]")].filter((e) =>
            !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert unlabelled == []
