"""Values are of the picture that is seen there, whatever was done before: pointer, keys, tools, curtain, panes."""

import random
import re

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import pixels

KEYS = ("l", "c", "s", "v", "r", "1", "2", "3", "+", "-", "0", "ArrowRight", "Shift+ArrowDown", "Escape", "End")


def point_at(opened: Page, x: float, y: float) -> None:
    """Of HR points beyond the picture: beside it in the pane, or beside the pane."""
    opened.page.mouse.move(*opened.at(x, y))


def agrees(opened: Page, after: object) -> str:
    """The readout, whose values are those that the first pane shows at its pixel."""
    page = opened.page
    opened.wait()
    page.wait_for_timeout(400)  # until it has come to rest, and the values have arrived
    said = page.inner_text("#readout")
    found = re.match(r"(?:(.*), )?x (\d+), y (\d+): R (\d+).*; G (\d+).*; B (\d+)", said)
    if found is None:
        assert said.startswith("Point at the picture"), (after, said)
        return said
    x, y, *colour = (int(text) for text in found.groups()[1:])
    place = """async ([x, y]) => {
        const { view } = await import("/static/js/view.js");
        // What is drawn over the picture is not seen.
        for (const over of document.querySelectorAll(".overlay, .curtain, .sides")) over.style.opacity = 0;
        return [...view.main.toPane(x + 0.5, y + 0.5), view.mode, view.main.lensBox !== null];
    }"""
    column, row, mode, lens = page.evaluate(place, [x, y])
    assert lens == (mode == "lens"), (after, said)
    assert (found[1] is not None) == (mode != "none"), (after, said)
    shot = pixels(page.locator(".view").first.screenshot())
    if 0 <= row < shot.shape[0] and 0 <= column < shot.shape[1]:
        assert np.abs(shot[int(row), int(column)] - colour).max() <= 2, (
            f"{after} {said} {shot[int(row), int(column)]} {row} {column} {shot.shape}"
        )
    return said


@pytest.mark.parametrize("beside", [(70, 60), (-1, 20), (32, -8)])
def test_the_lens_stays_where_the_values_are_of(opened: Page, beside: tuple[float, float]) -> None:
    """With the keys' cross, and when the pointer leaves the picture or the pane."""
    page = opened.page
    page.keyboard.press("1")
    opened.wait()
    point_at(opened, 10.5, 10.5)
    page.keyboard.press("l")
    assert agrees(opened, "l").startswith("Bicubic, x 32, y 24: ")
    point_at(opened, 20.5, 30.5)
    assert agrees(opened, "moved").startswith("Bicubic, x 20, y 30: ")
    point_at(opened, *beside)
    assert agrees(opened, "left").startswith("Bicubic, x ")
    page.keyboard.press("ArrowRight")
    assert agrees(opened, "key").startswith("Bicubic, x ")
    page.mouse.move(5, 5)
    assert agrees(opened, "out").startswith("Bicubic, x ")


def test_the_curtain_after_the_lens_shows_its_own_side(opened: Page) -> None:
    """At once, without a movement of the mouse."""
    page = opened.page
    page.keyboard.press("1")
    page.keyboard.press("v")
    agrees(opened, "v")
    point_at(opened, 12.5, 27.5)
    for key, name in (("l", "Bicubic"), ("c", "LR"), ("Home", "Bicubic"), ("End", "LR"), ("l", "Bicubic")):
        page.keyboard.press(key)
        assert agrees(opened, key).startswith(f"{name}, x ")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 9))])
def test_values_agree_with_the_picture_after_any_steps(opened: Page, seed: int) -> None:
    random_, done = random.Random(seed), []

    def tick(*names: str) -> None:
        for name in names:
            opened.page.locator(f"input[aria-label='Side by side: {name}']").click()

    for _ in range(20 if seed == 0 else 40):
        kind = random_.random()
        if kind < 0.3:
            step: object = (random_.randrange(-10, 74) + 0.5, random_.randrange(-10, 58) + 0.5)
            point_at(opened, *step)  # type: ignore[misc]
        elif kind < 0.9:
            step = random_.choice(KEYS)
            opened.page.keyboard.press(step)
        else:
            step = "side by side"
            tick("LR", "Bicubic")
            opened.wait()
            second = opened.page.locator(".view").nth(1).bounding_box()
            if second is not None:
                opened.page.mouse.move(second["x"] + 0.6 * second["width"], second["y"] + 0.5 * second["height"])
                opened.page.wait_for_timeout(300)
            opened.page.keyboard.press("s")
        done.append(step)
        agrees(opened, done)
