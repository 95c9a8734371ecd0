"""The page at a phone's width, by touch alone."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_page import PHONE, Page
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


@pytest.mark.slow
def test_touch_on_a_dark_phone(browser: Any, address: str, tmp_path: Path) -> None:
    options = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    opened = Page(browser, address, tmp_path, reduced_motion="reduce", **options)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 23)"
    zooms = """async () => {
        const { view } = await import("/static/js/view.js");
        const { viewport } = view.main.viewer;
        view.key({ key: "+" });
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        const zooms = [viewport.getZoom(true), viewport.getZoom()];
        view.key({ key: "0" });
        return zooms;
    }"""
    now, soon = page.evaluate(zooms)
    assert now == pytest.approx(soon)  # no motion
    before = opened.picture()
    page.locator("summary:text-is('Edit')").tap()
    page.locator(".tools button:text-is('Scribble')").tap()
    page.evaluate("scrollTo(0, 0)")
    page.touchscreen.tap(*opened.at(30.5, 20.5))
    opened.wait()
    assert page.locator(".edits li").count() == 1
    assert np.abs(opened.picture() - before)[16:26, 26:36].max() > 3
    opened.close()


def _place(page: Any, x: float, y: float) -> tuple[float, float, float]:
    """Zoom, and the HR point under a point of the window."""
    found = page.evaluate(
        """async ([x, y]) => {
            const { view } = await import("/static/js/view.js");
            const box = view.main.element.getBoundingClientRect();
            return [view.main.zoom, ...view.main.toImage(x - box.left, y - box.top)];
        }""",
        [x, y],
    )
    return found[0], found[1], found[2]


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["Scribble", "Box a region", "Repeat this there"])
def test_a_second_finger_zooms_and_moves_instead_of_drawing(
    browser: Any, address: str, tmp_path: Path, tool: str
) -> None:
    options = {"viewport": {"width": 400, "height": 800}, "is_mobile": True, "has_touch": True}
    opened = Page(browser, address, tmp_path, **options)
    page, touch = opened.page, opened.context.new_cdp_session(opened.page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    for section in ("Edit", "Region"):
        page.locator(f"summary:text-is('{section}')").tap()
    page.locator(f"button:text-is('{tool}')").tap()
    page.evaluate("scrollTo(0, 0)")
    x, y = opened.at(32, 24)
    before = _place(page, x, y)
    send("touchStart", (x - 60, y))
    send("touchMove", (x - 20, y))  # a stroke has begun
    send("touchStart", (x - 20, y), (x + 20, y))
    for i in range(1, 11):  # apart to twice the distance, and both down by 30
        send("touchMove", (x - 20 - 2 * i, y + 3 * i), (x + 20 + 2 * i, y + 3 * i))
    # Browsers hand moves of a finger to the page with the next frame.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    zoom, *point = _place(page, x, y + 30)
    assert zoom == pytest.approx(2 * before[0], rel=0.05)
    assert point == pytest.approx(before[1:], abs=1)
    send("touchMove", (x - 40, y + 30))  # one finger is lifted; the one that stays paints nothing
    send("touchMove", (x, y + 60))
    send("touchEnd")
    page.wait_for_timeout(300)
    assert page.locator(".edits li").count() == 0
    assert page.locator(".sliders input").count() == 0
    assert page.locator(f"button[aria-pressed=true]:text-is('{tool}')").count() == 1
    if tool == "Scribble":
        page.touchscreen.tap(x, y)
        opened.wait()
        assert page.locator(".edits li").count() == 1
    opened.close()


CONTROLS = """() => [...document.querySelectorAll("button, .button, input, select, summary, [role=slider], a[href]")]
    .filter((e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.matches(".skip"))
    .map((e) => {
        const { width, height } = e.getBoundingClientRect();
        const main = e.matches("button, .button, summary, select") && !e.closest(".edits, .gallery");
        return [main, width, height, e.outerHTML.slice(0, 90)];
    })"""


def _check_targets(page: Any, least: int) -> None:
    """Of more than so many controls; none is cut off at the side."""
    found = page.evaluate(CONTROLS)
    assert len(found) > least
    assert [f for f in found if min(f[1], f[2]) < 24] == []
    assert [f for f in found if f[0] and min(f[1], f[2]) < 44] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]


def test_a_finger_hits_every_control(phone: Page) -> None:
    """At a phone's width: 24×24 CSS pixels (WCAG 2.2, 2.5.8), 44 for what is used most."""
    page = phone.page
    for name in ("Region", "Edit", "Ask", "Keep"):
        page.locator(f"summary:text-is('{name}')").tap()
    for number in (1, 2):
        page.locator(f"[aria-label='Pin Sample {number}']").tap()
    page.evaluate(
        """async () => {
            const { newId, store } = await import("/static/js/store.js");
            const area = { strokes: [{ points: [20, 20], radius: 1, erase: false }] };
            const value = [0.5, 0.5, 0.5];
            store.commit({ edits: [
                { id: newId(), on: true, kind: "scribble", value, stddev: 0.03, area },
                { id: newId(), on: true, kind: "texture", factor: 1.5, area } ] });
        }"""
    )
    page.locator("text=Middle of the view").tap()
    page.locator(".sliders input").first.wait_for()
    page.locator("#toolbar button:text-is('Curtain')").tap()
    phone.wait()
    _check_targets(page, 60)
    # What a slider of an edit changes, and what a button of a candidate opens, can be read.
    assert page.locator(".edits li").first.locator("label").all_inner_texts() == ["Error"]
    assert page.locator(".edits li").last.locator("label").all_inner_texts() == ["Strength"]
    assert page.locator(".candidate .button").all_inner_texts() == ["Choose a file…"] * 2
    cut = "(e) => e.scrollWidth > e.clientWidth"
    assert not any(label.evaluate(cut) for label in page.locator(".candidate, .candidate .button, .edits label").all())
    with page.expect_file_chooser():
        page.locator(".candidate .button").first.tap()
    page.locator("#close").tap()
    page.wait_for_selector("#welcome:not([hidden])")
    _check_targets(page, 1)
