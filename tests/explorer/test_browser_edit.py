"""Editing and asking in a real browser by mouse; see also `test_browser_inputs`, which uses keys and touch as well."""

import re

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import png


def test_a_scribble_is_an_edit_that_can_be_undone_switched_off_and_changed(opened: Page) -> None:
    page = opened.page
    before = opened.picture()
    after = opened.scribble("#a08090", (20, 20.5), (23, 21.5))
    wanted = np.array([160, 128, 144])
    assert np.abs(after[20, 21] - wanted).sum() < 0.6 * np.abs(before[20, 21] - wanted).sum()
    assert "0 of 576" in opened.badge
    page.wait_for_selector(".sigma:has-text('σ')")
    page.keyboard.press("Control+z")
    opened.wait()
    assert np.abs(opened.picture() - before).max() <= 2
    page.keyboard.press("Control+Shift+z")
    opened.wait()
    assert np.abs(opened.picture() - after).max() <= 2
    page.uncheck(".edits input[type=checkbox]")
    opened.wait()
    assert np.abs(opened.picture() - before).max() <= 2
    page.check(".edits input[type=checkbox]")
    opened.wait()
    page.fill(".edits input[type=color]", "#707070")
    opened.wait()
    assert np.abs(opened.picture()[20, 21] - 112).sum() < np.abs(after[20, 21] - 112).sum()
    page.wait_for_timeout(400)
    page.reload()
    opened.wait()
    assert page.locator(".edits li").count() == 1
    page.click("#undo")
    opened.wait()
    assert np.abs(opened.picture() - after).max() <= 2


@pytest.mark.slow
def test_texture_brushes_and_the_eraser(opened: Page) -> None:
    page = opened.page
    mean = opened.picture()
    page.click("[aria-label='Show Sample 1']")
    opened.wait()
    sample = opened.picture()
    opened.open("Edit")
    page.fill("[aria-label='Size of the brush in pixels']", "12")
    opened.paint("Less texture", (14, 24), (20, 24))
    assert page.inner_text(".sigma") == "no condition"
    calm = opened.picture()
    inside = (slice(18, 30), slice(8, 26))
    assert np.abs(calm - mean)[inside].mean() < 0.75 * np.abs(sample - mean)[inside].mean()
    opened.paint("Eraser", (14, 24), (20, 24))
    assert np.abs(opened.picture() - sample)[inside].mean() < np.abs(calm - sample)[inside].mean()
    page.click("[aria-label='Remove: Less texture 1']")
    opened.paint("More texture", (14, 24), (20, 24))
    assert np.abs(opened.picture() - mean)[inside].mean() > 1.15 * np.abs(sample - mean)[inside].mean()


@pytest.mark.slow
def test_colour_brightness_copy_and_repeat(opened: Page) -> None:
    page = opened.page
    before = opened.picture()
    opened.open("Edit")
    page.fill("[aria-label='Size of the brush in pixels']", "1")
    opened.paint("Brighter", (40.5, 30.5), (40.7, 30.5))
    assert opened.picture()[30, 40].sum() > before[30, 40].sum() + 5
    opened.paint("Darker", (50.5, 20.5), (50.7, 20.5))
    assert opened.picture()[20, 50].sum() < before[20, 50].sum() - 2
    page.fill("[aria-label='Colour of the brush']", "#ff8080")
    opened.paint("Colour of an area", (10.5, 10.5), (10.7, 10.5))
    shown = opened.picture()
    assert shown[10, 10, 0] - shown[10, 10, 1] > before[10, 10, 0] - before[10, 10, 1]
    page.click("text=Repeat this there")
    opened.drag((20.2, 20.2), (23.8, 23.8))
    plain = opened.seen()
    page.mouse.move(*opened.at(45, 14))  # a box shows where it would go
    rows, columns = (np.abs(opened.seen() - plain).max(2) > 15).nonzero()
    left, top, scale, _ = opened._place()
    assert (columns.min(), columns.max()) == pytest.approx((left + 43 * scale, left + 47 * scale), abs=4)
    assert (rows.min(), rows.max()) == pytest.approx((top + 12 * scale, top + 16 * scale), abs=4)
    opened.drag((44, 14), (45, 14))
    opened.wait()
    repeated = opened.picture()
    gap = [np.abs(p[20:24, 20:24] - p[12:16, 43:47]).mean() for p in (shown, repeated)]
    assert gap[1] < gap[0]
    page.click("[aria-label='Show Sample 2']")
    opened.wait()
    page.click("text=Copy a patch")
    opened.drag((28.2, 36.2), (32.8, 40.8))
    page.wait_for_function("() => document.querySelector('#hint').textContent.startsWith('Press where')")
    page.mouse.click(*opened.at(30.5, 38.5))
    opened.wait()
    names = page.locator(".edits .name").all_inner_texts()
    assert names == ["Brighter", "Darker", "Colour", "Repeat", "Copied patch"]
    page.click("[aria-label='Move up: Copied patch 5']")
    assert page.locator(".edits .name").all_inner_texts()[3] == "Copied patch"
    assert "0 of 576" in opened.badge


@pytest.mark.slow
def test_the_standard_deviation_given_edits(opened: Page) -> None:
    """Less is open where something was painted; the values under the pointer say of which σ they are."""
    page = opened.page
    page.keyboard.press("4")
    opened.wait()
    end = page.inner_text("#legend")
    before = opened.picture()
    opened.open("Edit")
    assert page.locator("text=σ with these edits").is_hidden()
    page.fill("[aria-label='Size of the brush in pixels']", "2")
    opened.paint("Scribble", (20, 20.5), (23, 21.5))
    page.mouse.move(*opened.at(20.5, 20.5))
    page.mouse.move(*opened.at(21.5, 20.5))
    page.wait_for_selector("#readout:has-text('(σ without the edits)')")
    page.click("text=σ with these edits")
    opened.wait()
    page.wait_for_selector("#legend:has-text('given the edits')")
    given = opened.picture()
    # Viridis: the darker, the less is open.
    assert given[20:22, 20:24].sum(2).mean() < 0.75 * before[20:22, 20:24].sum(2).mean()
    page.keyboard.press("3")
    opened.wait()
    page.mouse.move(*opened.at(22.5, 20.5))
    page.mouse.move(*opened.at(21.5, 20.5))
    page.wait_for_function(  # the place is that of before: its text changes
        "() => ((text) => text.startsWith('x 21, y 20') && !text.includes('without the edits'))"
        "(document.querySelector('#readout').textContent)"
    )
    page.uncheck(".edits input[type=checkbox]")
    page.keyboard.press("4")
    opened.wait()
    assert page.inner_text("#legend") == end
    assert np.abs(opened.picture() - before)[2:, 2:].max() <= 2  # the pane may be a little smaller now


def test_an_edit_that_contradicts_leads_to_the_place(opened: Page) -> None:
    """Its button outlines the pixel that is missed most, wherever the view is, as long as it has the focus."""
    page = opened.page
    opened.scribble("#ff0000", (12.5, 30.5), (16.5, 34.5))
    button = page.locator(".edits button.contradicts")
    found = re.search(r"contradicts at x (\d+), y (\d+)", button.inner_text())
    assert found is not None
    x, y = map(int, found.groups())
    plain = opened.picture()
    button.click()
    drawn = np.abs(opened.picture() - plain).max(2) > 20
    rows, columns = drawn.nonzero()
    assert drawn.sum() > 3
    assert (rows.min() + rows.max()) / 2 == pytest.approx(y, abs=1)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(x, abs=1)
    button.press("Tab")
    assert np.abs(opened.picture() - plain).max() <= 2
    page.keyboard.press("0")
    for key in "++++++++":
        page.keyboard.press(key)
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Tab")
    page.wait_for_function(
        """async ([x, y]) => {
            const { view } = await import("/static/js/view.js");
            const { clientWidth, clientHeight } = view.main.element;
            const [left, top] = view.main.toPane(x, y);
            return left > 0 && top > 0 && left < clientWidth && top < clientHeight;
        }""",
        arg=[x, y],
    )


@pytest.mark.slow
def test_own_files_are_measured_and_asked_about(opened: Page) -> None:
    page = opened.page
    mean = opened.kept()
    spoiled = mean.copy()
    spoiled[8:12, 8:12] = 0
    path = opened.folder / "edited elsewhere.png"
    path.write_bytes(png(spoiled.astype(np.uint8)))
    page.set_input_files(".look ~ p input[type=file]", path)
    page.wait_for_selector("#badge.wrong")
    opened.wait()
    assert "0 of 576" not in opened.badge
    assert opened.picture()[9:11, 9:11].max() < 60
    opened.open("Region")
    page.keyboard.press("3")
    opened.wait()
    page.click("text=Box a region")
    opened.drag((20.5, 16.5), (31, 27))
    page.locator(".sliders input").first.wait_for()
    opened.open("Ask")
    for name, patch in (("A", mean[16:28, 20:32]), ("B", 255 - mean[16:28, 20:32])):
        file = opened.folder / f"{name}.png"
        file.write_bytes(png(patch.astype(np.uint8)))
        page.set_input_files(f"[aria-label='File of candidate {name}']", file)
        page.wait_for_selector(f".candidate:has-text('{name}.png')")
    page.click("text=Which is supported?")
    page.wait_for_selector(".answer:has-text('A is supported over B')")


@pytest.mark.slow
def test_candidates_belong_to_their_picture(opened: Page) -> None:
    page = opened.page
    opened.open("Ask")
    take = "[aria-label='File of candidate A']"
    box = page.locator(".candidate").first
    box.evaluate("box => box.dispatchEvent(new DragEvent('drop', { dataTransfer: new DataTransfer() }))")
    page.set_input_files(take, [])  # as when the dialog is cancelled
    page.locator(take).dispatch_event("change")
    page.locator(".look ~ p input[type=file]").dispatch_event("change")
    page.wait_for_timeout(100)
    assert page.locator("#message.shown").count() == 0
    for name in "AB":
        page.set_input_files(f"[aria-label='File of candidate {name}']", opened.folder / "a photo.png")
        page.wait_for_selector(f".candidate:has-text('{name}'):has-text('a photo.png')")
    page.click("#close")
    opened.open_photo()
    assert page.locator(".candidate span").all_inner_texts() == ["drop a file, or:"] * 2
    page.evaluate("() => { document.querySelector('#message').className = ''; }")
    opened.open("Region")
    page.click("text=Middle of the view")
    page.locator(".sliders input").first.wait_for()
    page.click("text=Which is supported?")
    page.wait_for_selector("#message.shown:has-text('Give two candidates first')")


STROKES = """async ([brush, count, x]) => {
    const { brushes } = await import("/static/js/brushes.js");
    const { store } = await import("/static/js/store.js");
    const { tools } = await import("/static/js/tools.js");
    tools.use(null);
    brushes.use(brush);
    for (let i = 0; i < count; i += 1) {
        tools.active.down(x, 20);
        for (let j = 1; j < 60; j += 1) tools.active.move(x, 20 + 3 * (j % 2));
        tools.active.up(x, 20);
        // Switched off, so that the picture is not made anew after every stroke.
        store.amend({ edits: store.doc.edits.map((edit) => (edit.on ? { ...edit, on: false } : edit)) });
    }
    tools.use(null);
    const counts = store.doc.edits.map((edit) => edit.area.strokes.length);
    return [counts, document.querySelector("#message").textContent];
}"""


def test_many_strokes_are_accepted_and_saved(opened: Page) -> None:
    """A use of a brush goes on in another edit once the server accepts no more strokes in one."""
    page = opened.page
    with page.expect_response("**/document") as saved:
        assert page.evaluate(STROKES, ["less", 201, 20]) == [[200, 1], ""]
    assert saved.value.status == 204
    assert len(saved.value.request.post_data) < 500_000  # each stroke once: 201 of about 500 characters
    page.reload()
    opened.wait()
    assert page.locator(".edits li").count() == 2
    page.click("#undo")
    opened.open("Edit")
    page.check(".edits input[type=checkbox]")
    opened.wait()
    assert "0 of 576" in opened.badge
    counts, message = page.evaluate(STROKES, ["eraser", 1, 20])
    assert counts == [200]
    assert "has 200 strokes" in message
