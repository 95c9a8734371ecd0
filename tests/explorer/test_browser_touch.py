"""The page at a phone's width, by touch alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import pixels

KEYS = re.compile(r"\b(arrow|keys?|space|esc|press v)\b", re.IGNORECASE)


def test_little_is_taken_from_the_picture_and_undo_stays_in_sight(phone: Page) -> None:
    page, before = phone.page, phone.picture()
    assert page.locator("header").bounding_box()["height"] < 90
    page.locator("summary:text-is('Edit')").tap()
    page.locator(".tools button:text-is('Scribble')").tap()
    assert not KEYS.search(page.inner_text("#status"))
    page.locator("#toolbar .behind").scroll_into_view_if_needed()
    phone.touch((30.5, 20.5))
    phone.wait()
    assert np.abs(phone.picture() - before)[16:26, 26:36].max() > 3
    page.locator(".edits .remove").scroll_into_view_if_needed()
    width, height = (page.viewport_size or {}).values()
    for name in ("undo", "redo", "undo"):
        box = page.locator(f"#{name}").bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
        assert 0 <= box["y"] < box["y"] + box["height"] <= height
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        phone.wait()
        assert page.locator(".edits li").count() == (name == "redo")
    page.evaluate("scrollTo(0, 0)")
    page.locator("#toolbar button:text-is('Move')").tap()  # the brush is drawn no more
    assert np.abs(phone.picture() - before).max() <= 2
    page.locator("#toolbar button:text-is('Values')").tap()
    assert not KEYS.search(page.inner_text("#status"))


def seen(phone: Page) -> np.ndarray:
    """The picture, at the top of the page."""
    phone.page.evaluate("scrollTo(0, 0)")
    return phone.picture()


@pytest.mark.slow
def test_a_region_and_its_sliders_by_touch(phone: Page) -> None:
    page, before = phone.page, phone.picture()
    page.locator("summary:text-is('Region')").tap()
    page.locator("button:text-is('Box a region')").tap()
    phone.touch((16, 12), (30, 24), (36, 32))
    slider = page.locator(".sliders input").first
    slider.wait_for()
    slider.evaluate("(input) => input.scrollIntoView()")  # below the picture, which stays
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    phone.wait()
    assert float(slider.input_value()) > 2
    assert "0 of 576" in phone.badge
    moved = seen(phone)
    assert np.abs(moved - before)[14:30, 18:34].mean() > 1
    assert np.abs(moved - before)[38:, 48:].max() <= 2
    page.locator("button:text-is('Reset')").tap()
    phone.wait()
    page.wait_for_selector(".blend", state="hidden")
    page.locator("button:text-is('Done')").tap()
    assert np.abs(seen(phone) - before).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["Copy a patch", "Repeat this there"])
def test_a_patch_is_put_elsewhere_by_touch(phone: Page, tool: str) -> None:
    page, before = phone.page, phone.picture()
    page.locator("summary:text-is('Edit')").tap()
    page.locator(f"button:text-is('{tool}')").tap()
    phone.touch((32.2, 24.2), (34, 26), (35.8, 27.8))
    page.wait_for_selector("#hint:has-text('Press where it goes')")
    phone.touch((30, 30), (20, 29), (16, 28))  # it follows the finger, and stays where that is lifted
    phone.wait()
    assert page.locator(".edits li").count() == 1
    patch, after = before[24:28, 32:36], seen(phone)
    to = (slice(26, 30), slice(14, 18))
    assert np.abs(after[to] - patch).mean() < 0.8 * np.abs(before[to] - patch).mean()


@pytest.mark.slow
def test_asked_and_kept_by_touch(phone: Page) -> None:
    page = phone.page
    page.locator("[aria-label='Show Sample 2']").tap()
    phone.wait()
    page.locator("summary:text-is('Region')").tap()
    page.locator("button:text-is('Middle of the view')").tap()
    page.locator(".sliders input").first.wait_for()
    page.locator("summary:text-is('Ask')").tap()
    for name, candidate in (("A", "Mean"), ("B", "Sample 2")):  # with the list that the system shows
        page.locator(f"select[aria-label='Candidate {name}']").select_option(label=candidate)
    page.locator("button:text-is('Which is supported?')").tap()
    page.wait_for_selector(".answer:has-text('A is supported over B')")
    page.locator("summary:text-is('Keep')").tap()
    with page.expect_download() as download:
        page.locator("[data-what=picture]").tap()
    kept = pixels(Path(download.value.path()).read_bytes())
    page.locator("button:text-is('Done')").tap()
    assert np.abs(seen(phone) - kept).mean() < 1.5
