"""The page at a phone's width, by touch alone."""

import re

import numpy as np
from explorer_page import Page

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
