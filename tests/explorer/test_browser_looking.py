"""Looking closely without a mouse: values, lens and curtain by keys and by touch, and controls that a finger hits."""

import re

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import photo


def values_at(opened: Page) -> tuple[int, int, list[int]]:
    """What the readout says, once it says σ and intervals: x, y and the colour."""
    opened.page.wait_for_selector("#readout:has-text('σ'):has-text('90 %')")
    found = re.match(r"x (\d+), y (\d+): R (\d+), .*G (\d+), .*B (\d+), ", opened.page.inner_text("#readout"))
    assert found is not None
    x, y, *colour = map(int, found.groups())
    return x, y, colour


def with_lr(opened: Page, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Lens or curtain, by its key, with LR in it: what is seen outside and inside of it."""
    mean, select = opened.picture(), opened.page.locator(".behind select")
    select.select_option(label="LR")
    opened.wait()
    select.evaluate("select => select.blur()")
    opened.page.keyboard.press(key)
    opened.wait()
    return mean, lr_blocks()


def lr_blocks() -> np.ndarray:
    """What the LR picture looks like at the size of the HR picture."""
    return np.repeat(np.repeat(photo().astype(int), 4, 0), 4, 1)


def test_values_by_keys(opened: Page) -> None:
    """The cross begins in the middle of the view; arrow keys move it, and the values are those of the picture there."""
    page, mean = opened.page, opened.kept()
    plain = opened.picture()
    page.keyboard.press("v")
    page.wait_for_selector("#readout:has-text('x 32, y 24')")
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_selector("#readout:has-text('x 24, y 23')")
    assert values_at(opened) == (24, 23, mean[23, 24].tolist())
    assert page.get_attribute("#readout", "aria-live") == "polite"
    drawn = np.abs(opened.picture() - plain).max(2)
    assert drawn[23, 24] > 20  # the cross
    assert drawn[:15].max() <= 2
    # The values follow what is shown, and the view follows the cross.
    page.keyboard.press("1")
    page.wait_for_function(
        "(text) => document.querySelector('#readout').textContent.startsWith(text)",
        arg=f"x 24, y 23: R {photo()[5, 6, 0]}, ",
    )
    page.keyboard.press("3")
    for _ in range(8):
        page.keyboard.press("+")
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("#readout:has-text('x 60, y 23')")
    assert values_at(opened)[2] == mean[23, 60].tolist()
    left, right = page.evaluate(
        """async () => {
            const { view } = await import("/static/js/view.js");
            const { clientWidth, clientHeight } = view.main.element;
            return [view.main.toImage(0, 0)[0], view.main.toImage(clientWidth, clientHeight)[0]];
        }"""
    )
    assert left < 60 < right
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")  # moves the picture again
    assert page.locator("button[aria-pressed=true]:text-is('Move')").count() == 1
    assert page.inner_text("#readout").startswith("x 60")


def test_values_follow_what_the_first_pane_shows(opened: Page) -> None:
    """The cross stays when pictures are shown side by side."""
    page, mean = opened.page, opened.kept()

    def reads(red: int) -> None:
        text = f"x 32, y 24: R {red}, "
        page.wait_for_function("(text) => document.querySelector('#readout').textContent.startsWith(text)", arg=text)

    page.keyboard.press("v")
    reads(mean[24, 32, 0])
    ticks = [page.locator(f"input[aria-label='Side by side: {name}']") for name in ("LR", "Mean")]
    for tick in ticks:
        tick.check()
    reads(photo()[6, 8, 0])
    for tick in ticks:
        tick.uncheck()
    reads(mean[24, 32, 0])


@pytest.mark.slow
def test_values_by_touch(phone: Page) -> None:
    mean = phone.kept()
    phone.page.evaluate("scrollTo(0, 0)")
    plain = phone.picture()
    for x, y in ((20, 12), (41, 30)):
        phone.page.touchscreen.tap(*phone.at(x + 0.5, y + 0.5))
        phone.page.wait_for_selector(f"#readout:has-text('x {x}, y {y}')")
        assert values_at(phone) == (x, y, mean[y, x].tolist())
        drawn = np.abs(phone.picture() - plain).max(2)
        assert drawn[y, x] > 20
        assert drawn[(y + 20) % 48, (x + 30) % 64] <= 2
        phone.page.wait_for_timeout(400)  # no double tap
    # With a cross at hand, a finger that is dragged moves it, and not the picture.
    phone.page.locator("#toolbar button:text-is('Values')").tap()
    phone.page.wait_for_selector("#readout:has-text('x 32, y 24')")
    phone.touch((20, 30), (30, 30), (35.5, 20.5))
    phone.page.wait_for_selector("#readout:has-text('x 35, y 20')")
    assert np.abs(phone.picture() - plain)[40:].max() <= 2


@pytest.mark.slow
def test_the_lens_by_keys(opened: Page) -> None:
    page, (mean, lr) = opened.page, with_lr(opened, "l")
    sizes = []
    for keys, (y, x) in (([], (24, 32)), (["ArrowRight"] * 6 + ["ArrowDown"] * 4, (40, 56))):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_selector(f"#readout:has-text('x {x}, y {y}')")
        seen = opened.picture()
        inside = np.abs(seen - lr).max(2) <= 2
        assert inside[y - 3 : y + 4, x - 3 : x - 1].all()  # beside the cross
        outside = np.abs(seen - mean).max(2) <= 2
        assert outside[:10].all()
        # Its edge is drawn, a lens of 180 pixels of the screen being around the cross.
        column = round(opened.at(x + 0.5, y)[0] - 90 - opened.at(0, 0)[0] + opened._place()[0])
        bright = opened.seen().min(2)
        edge = bright[:, column - 2 : column + 3].max(1) - bright[:, [column - 8, column + 8]].max(1)
        assert (edge > 25).sum() > 150
        sizes.append((~outside).sum())
    assert min(sizes) > 50
    page.keyboard.press("l")
    opened.wait()
    assert np.abs(opened.picture() - mean).max() <= 2
    assert page.locator("button[aria-pressed=true]:text-is('Move')").count() == 1


@pytest.mark.slow
def test_the_lens_by_touch(phone: Page) -> None:
    page, mean, lr = phone.page, phone.picture(), lr_blocks()
    page.select_option(".behind select", label="LR")
    page.locator("#toolbar button:text-is('Lens')").tap()
    phone.wait()
    for points in ([(6.5, 24.5)], [(20, 24), (40, 24), (58.5, 24.5)]):
        phone.touch(*points)
        x = int(points[-1][0])
        page.wait_for_selector(f"#readout:has-text('x {x}, y 24')")
        seen = phone.picture()
        assert (np.abs(seen - lr).max(2) <= 2)[20:22, x - 4 : x + 5].all()
        far = slice(50, 64) if x < 32 else slice(0, 14)
        assert np.abs(seen - mean)[:, far].max() <= 2
    page.locator("#toolbar button:text-is('Lens')").tap()
    phone.wait()
    assert np.abs(phone.picture() - mean).max() <= 2


@pytest.mark.slow
def test_the_curtain_by_keys(opened: Page) -> None:
    """Its edge has the focus, and gives it up with the curtain."""
    page, (mean, lr) = opened.page, with_lr(opened, "c")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "slider"
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    curtain = page.locator(".curtain")
    assert curtain.get_attribute("aria-valuenow") == "40"
    assert curtain.get_attribute("aria-valuetext") == "40 % from the left"
    seen = opened.picture()
    edge = _edge_in_hr(opened, 0.4)
    assert np.abs(seen - mean)[:, : edge - 2].max() <= 2
    assert np.abs(seen - lr)[:, edge + 3 :].max() <= 2
    page.keyboard.press("Home")
    assert np.abs(opened.picture() - lr)[:, 2:].max() <= 2
    page.keyboard.press("c")
    opened.wait()
    assert curtain.is_hidden()
    assert np.abs(opened.picture() - mean).max() <= 2


@pytest.mark.slow
def test_the_curtain_by_touch(phone: Page) -> None:
    page, mean, lr = phone.page, phone.picture(), lr_blocks()
    page.select_option(".behind select", label="LR")
    page.locator("#toolbar button:text-is('Curtain')").tap()
    phone.wait()
    phone.touch((32, 10), (28, 12), (20, 14))
    seen, below = phone.picture(), slice(10, None)  # of the names of the sides
    assert np.abs(seen - mean)[below, :16].max() <= 2
    assert np.abs(seen - lr)[below, 24:].max() <= 2
    assert int(page.get_attribute(".curtain", "aria-valuenow")) < 45


@pytest.mark.slow
def test_values_are_those_of_the_picture_that_is_seen_there(opened: Page) -> None:
    """On either side of the curtain and in the lens, with its name."""
    page, mean, lr = opened.page, opened.kept(), lr_blocks()

    def reads(text: str) -> None:
        page.wait_for_function("(text) => document.querySelector('#readout').textContent.startsWith(text)", arg=text)

    with_lr(opened, "c")
    page.mouse.move(*opened.at(10.5, 20.5))
    reads(f"Mean, x 10, y 20: R {mean[20, 10, 0]}, ")
    page.mouse.move(*opened.at(50.5, 20.5))
    reads(f"LR, x 50, y 20: R {lr[20, 50, 0]}, ")
    page.locator(".curtain").press("End")  # it goes over what is looked at
    reads(f"Mean, x 50, y 20: R {mean[20, 50, 0]}, ")
    page.keyboard.press("l")
    page.mouse.move(*opened.at(30.5, 20.5))
    reads(f"LR, x 30, y 20: R {lr[20, 30, 0]}, ")
    page.keyboard.press("s")
    page.mouse.move(*opened.at(31.5, 20.5))
    reads(f"x 31, y 20: R {mean[20, 31, 0]}, ")


def test_curtain_and_lens_say_what_both_pictures_miss(opened: Page) -> None:
    """Whatever is in view is measured, and the sides of the curtain are named."""
    page, alone = opened.page, {}
    for key, name in (("2", "Bicubic"), ("3", "Mean")):
        page.keyboard.press(key)
        opened.wait()
        alone[name] = opened.badge
    assert alone["Mean"].startswith("0 of 576 ")
    assert not alone["Bicubic"].startswith("0 of 576 ")
    both = f"Mean: {alone['Mean']}; Bicubic: {alone['Bicubic']}"
    for key in ("l", "c"):
        page.keyboard.press(key)
        opened.wait()
        assert opened.badge == both
        assert page.locator("#badge.wrong:not(.exact)").count() == 1
    left, right = page.locator(".sides span").all()
    assert (left.inner_text(), right.inner_text()) == ("Mean", "Bicubic")
    assert left.bounding_box()["x"] < page.locator(".curtain").bounding_box()["x"] < right.bounding_box()["x"]
    page.keyboard.press("Home")  # nothing of the mean is left
    assert left.bounding_box()["width"] < 20
    page.locator(".behind select").select_option(label="LR")
    opened.wait()
    assert opened.badge == f"Mean: {alone['Mean']}; LR"
    assert page.locator("#badge.exact").count() == 1
    page.keyboard.press("s")
    opened.wait()
    assert opened.badge == alone["Mean"]
    assert page.locator(".sides").is_hidden()


def _edge_in_hr(opened: Page, share: float) -> int:
    """The HR column under a share of the pane's width."""
    box = opened.page.locator(".view").first.bounding_box()
    (left, _), (right, _) = opened.at(0, 0), opened.at(64, 0)
    return round(64 * (box["x"] + share * box["width"] - left) / (right - left))
