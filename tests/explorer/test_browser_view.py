"""Looking at pictures and walking among them, in a real browser: the picture that results."""

from typing import Any

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import photo


def test_number_keys_switch_and_the_badge_counts(opened: Page) -> None:
    assert opened.badge == "0 of 576 LR values wrong"
    mean = opened.picture()
    opened.page.keyboard.press("2")
    opened.wait()
    assert "0 of 576" not in opened.badge
    assert "LR values wrong" in opened.badge
    opened.page.keyboard.press("1")
    opened.wait()
    assert np.abs(opened.picture()[2::4, 2::4] - photo()).max() <= 2  # LR pixels are squares
    opened.page.keyboard.press("4")
    opened.wait()
    assert opened.page.locator("#legend").is_visible()
    opened.page.keyboard.press("3")
    opened.wait()
    assert np.abs(opened.picture() - mean).max() <= 1
    assert np.abs(mean - opened.kept()).mean() < 1.5  # what is seen is what is kept


@pytest.mark.slow
def test_the_curtain_keeps_its_place_and_moves_by_mouse_and_keys(opened: Page) -> None:
    page = opened.page
    mean = opened.picture()
    page.select_option(".behind select", label="LR")
    page.click("text=Curtain")
    opened.wait()
    half = opened.picture()
    blocks = np.repeat(np.repeat(photo().astype(int), 4, 0), 4, 1)
    assert np.abs(half[:, :30] - mean[:, :30]).max() <= 2
    assert np.abs(half[:, 34:] - blocks[:, 34:]).mean() < np.abs(half[:, 34:] - mean[:, 34:]).mean()
    box = page.locator(".curtain").bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(*opened.at(16, 20), steps=4)
    page.mouse.up()
    moved = opened.picture()
    assert np.abs(moved[:, :14] - mean[:, :14]).max() <= 2
    assert np.abs(moved[:, 18:30] - half[:, 18:30]).max() > 3
    curtain = page.locator(".curtain")
    before = int(curtain.get_attribute("aria-valuenow"))
    curtain.press("ArrowRight")
    assert int(curtain.get_attribute("aria-valuenow")) in (before + 1, before + 2, before + 3)
    after = curtain.get_attribute("aria-valuenow")
    page.mouse.move(*opened.at(32, 24))
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(500)
    assert curtain.get_attribute("aria-valuenow") == after


@pytest.mark.slow
def test_the_lens_shows_the_other_picture_under_the_pointer(opened: Page) -> None:
    mean = opened.picture()
    opened.page.select_option(".behind select", label="LR")
    opened.page.click("text=Lens")
    opened.wait()
    opened.page.mouse.move(*opened.at(20, 20))
    opened.page.mouse.move(*opened.at(21, 20))
    seen = opened.picture()
    assert np.abs(seen[18:23, 19:24] - mean[18:23, 19:24]).max() > 3
    assert np.abs(seen[40:, 50:] - mean[40:, 50:]).max() <= 2


@pytest.mark.slow
def test_values_under_the_pointer(opened: Page) -> None:
    mean = opened.kept()
    opened.page.keyboard.press("4")
    opened.wait()
    opened.page.keyboard.press("3")
    opened.wait()
    opened.page.mouse.move(*opened.at(30.5, 20.5))
    opened.page.mouse.move(*opened.at(31.5, 20.5))
    opened.page.wait_for_function("() => document.querySelector('#readout').textContent.startsWith('x 31, y 20')")
    text = opened.page.inner_text("#readout")
    assert f"R {mean[20, 31, 0]}" in text
    assert "σ" in text
    assert "90 %" in text


@pytest.mark.slow
def test_samples_are_pinned_varied_and_interpolated(opened: Page) -> None:
    page = opened.page
    page.click("[aria-label='Show Sample 2']")
    opened.wait()
    sample = opened.picture()
    page.click("[aria-label='Pin Sample 1']")
    page.click("[aria-label='Pin Sample 2']")
    page.click("text=More")
    assert page.locator(".gallery figure").count() == 8
    page.keyboard.press("5")
    opened.wait()
    other = opened.picture()
    page.keyboard.press("6")
    opened.wait()
    assert np.abs(opened.picture() - sample).max() <= 1
    page.locator("[aria-label='Others like Sample 2']").click()
    page.locator("[aria-label='Show Like Sample 2']").first.click()
    opened.wait()
    near = np.abs(opened.picture() - sample).mean()
    assert 0 < near < 0.7 * np.abs(other - sample).mean()
    page.locator("[aria-label='From one to the other']").fill("0.5")
    page.wait_for_timeout(300)
    opened.wait()
    middle = opened.picture()
    distances = [np.abs(middle - end).mean() for end in (sample, other)]
    assert max(distances) < np.abs(other - sample).mean()
    assert "0 of 576" in opened.badge
    page.click("text=Pinned side by side")
    opened.wait()
    assert page.locator(".pane").count() == 2


def test_nothing_moves_when_thumbnails_arrive(opened: Page) -> None:
    held: list[Any] = []
    opened.page.route("**/thumbnail", lambda route: held.append(route))  # a built-in is refused
    opened.page.reload()
    opened.wait()
    opened.page.wait_for_function("() => document.querySelectorAll('.gallery figure').length > 1")
    opened.page.wait_for_timeout(500)
    summary = opened.page.locator("summary:text-is('Region')")
    before, count = summary.bounding_box(), len(held)
    assert count > 0
    for request in held:
        request.continue_()
    opened.page.wait_for_function(
        "() => [...document.querySelectorAll('.gallery img')].some((i) => i.naturalWidth > 0)"
    )
    assert summary.bounding_box() == before


TEXTURES = """async () => {
    const { store } = await import("/static/js/store.js");
    const area = { strokes: [{ points: [20, 20], radius: 4, erase: false }] };
    const edit = { id: "one", on: true, kind: "texture", area };
    for (let i = 1; i <= 12; i += 1) store.commit({ edits: [{ ...edit, factor: i / 10 }] });
}"""


def test_no_thumbnail_is_made_with_edits_that_have_changed(opened: Page) -> None:
    """However fast edits change, one thumbnail is asked for at a time: the server's queue does not fill."""
    page = opened.page
    page.wait_for_function("() => !document.querySelector('.gallery .pending')")
    held: list[Any] = []
    factors: list[float] = []

    def layers(route: Any) -> None:
        body = route.request.post_data_json
        if body["background"] and body["member"]["kind"] == "sample":
            factors.append(body["edits"][0]["factor"])
            held.append(route)
        else:
            route.continue_()

    page.route("**/layers", layers)
    page.evaluate(TEXTURES)
    page.wait_for_timeout(500)
    assert len(held) == 1
    while page.locator(".gallery .pending").count():
        assert len(held) <= 1
        if held:
            held.pop().continue_()
        page.wait_for_timeout(50)
    assert factors[1:] == [1.2] * 4


def test_a_region_moves_at_once_and_then_exactly(opened: Page) -> None:
    page = opened.page
    before = opened.picture()
    opened.open("Region")
    page.click("text=Box a region")
    opened.drag((16, 12), (30, 24), (36, 32))
    slider = page.locator(".sliders input").first
    slider.wait_for()
    assert page.locator(".plot canvas").count() == 1
    slider.evaluate("i => { i.value = 3.5; i.dispatchEvent(new Event('input')); }")
    blended = opened.picture()
    inside = (slice(14, 30), slice(18, 34))
    assert np.abs(blended - before)[inside].mean() > 1
    slider.evaluate("i => i.dispatchEvent(new Event('change'))")
    opened.wait()
    page.wait_for_selector(".blend", state="hidden")
    exact = opened.picture()
    assert np.abs(exact - blended)[inside].mean() < 0.5 * np.abs(blended - before)[inside].mean()
    assert "0 of 576" in opened.badge
    page.click("#undo")
    opened.wait()
    page.wait_for_selector(".blend", state="hidden")
    assert np.abs(opened.picture() - before)[inside].max() <= 2
    assert slider.input_value() == "0"
    page.click("text=Randomise")
    opened.wait()
    assert np.abs(opened.picture() - before)[inside].mean() > 1
    page.click("text=Reset")
    opened.wait()
    page.wait_for_selector(".blend", state="hidden")
    assert np.abs(opened.picture() - before)[inside].max() <= 2


@pytest.mark.slow
def test_blending_keeps_up_with_the_screen(opened: Page) -> None:
    """A slider of 16×16 LR pixels is dragged: what a blend with all that moves around them costs, in the page's script.

    `pytest -n0 -s -m slow tests/explorer/test_browser_view.py -k blending` prints the figures.
    """
    page = opened.page
    page.click("#close")
    opened.open_photo(72, 72)
    opened.open("Region")
    page.click("text=Middle of the view")
    sliders = page.locator(".sliders input")
    sliders.first.wait_for()
    page.evaluate(
        """async () => {
            const { Blender } = await import("/static/js/blend.js");
            const own = Blender.prototype.drawNow;
            window.costs = [];
            Blender.prototype.drawNow = function () {
                const began = performance.now();
                own.call(this);
                window.costs.push(performance.now() - began);
                window.size = [this.blend.width, this.blend.height, this.amounts.filter((a) => a).length];
            };
            window.frames = [];
            const frame = (time) => { window.frames.push(time); requestAnimationFrame(frame); };
            requestAnimationFrame(frame);
        }"""
    )
    for i in range(1, sliders.count()):  # all components take part
        sliders.nth(i).evaluate("(input) => { input.value = 1; input.dispatchEvent(new Event('input')); }")
    sliders.first.scroll_into_view_if_needed()
    box = sliders.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.evaluate("() => { costs.length = frames.length = 0; }")
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] / 2, steps=60)
    costs, frames, size = page.evaluate("() => [costs, frames, size]")
    page.mouse.up()
    cost, period = np.median(costs), np.median(np.diff(frames))
    what = f"{len(costs)} blends of {size[0]}×{size[1]} HR pixels, {size[2]} components"
    print(f"\n{what}: median {cost:.1f} ms, largest {max(costs):.1f} ms; a frame every {period:.1f} ms")
    assert min(size[:2]) >= 64
    assert size[2] == sliders.count()
    assert len(costs) > 10
    assert cost < 16


@pytest.mark.slow
def test_a_picture_that_the_server_keeps_no_more_is_asked_for_again(opened: Page) -> None:
    page, mean = opened.page, opened.picture()
    page.route("**/layers/*/tiles/**", lambda route: route.fulfill(status=404, json={"error": "not kept"}), times=1)
    with page.expect_response(lambda answer: answer.status == 404):
        page.evaluate("async () => (await import('/static/js/view.js')).show({ kind: 'sample', seed: 40 })")
    opened.wait()
    assert opened.badge == "0 of 576 LR values wrong"
    assert np.abs(opened.picture() - mean).mean() > 2
    assert any("404" in said for said in opened.complaints)
    opened.complaints.clear()
