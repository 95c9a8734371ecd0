"""What is kept, and what goes wrong, in a real browser."""

import io
import time

import numpy as np
import pytest
from explorer_page import Page
from PIL import Image

pytestmark = pytest.mark.slow


def test_it_is_said_once_that_nothing_is_saved_any_more(opened: Page) -> None:
    page = opened.page
    answers = iter([413, 413, 204])
    page.route("**/document", lambda route: route.fulfill(status=next(answers), json={"error": "too large"}))
    for shown in (True, False, False):
        with page.expect_response("**/document"):
            page.click("[aria-label='Pin Sample 1']")
        page.wait_for_timeout(100)
        assert (page.locator("#message.shown:has-text('no longer saved')").count() == 1) == shown
        page.evaluate("() => { document.querySelector('#message').className = ''; }")
    assert all("413" in said for said in opened.complaints)
    opened.complaints.clear()


def test_what_is_kept_opens_again(opened: Page) -> None:
    page = opened.page
    page.click("[aria-label='Pin Sample 3']")
    page.click("[aria-label='Show Sample 3']")
    opened.wait()
    opened.open("Keep")
    page.select_option("[aria-label=Format]", "tiff")
    page.select_option("[aria-label=Depth]", "16")
    files = {}
    for what in ("picture", "samples", "stddev", "comparison", "session"):
        with page.expect_download() as download:
            page.click(f"[data-what={what}]")
        files[what] = opened.folder / download.value.suggested_filename
        download.value.save_as(files[what])
    assert files["picture"].name == "a photo_x4.tiff"
    with Image.open(io.BytesIO(files["picture"].read_bytes())) as kept:
        assert kept.size == (64, 48)
    shown = opened.picture()
    page.click("#close")
    page.wait_for_selector("#welcome:not([hidden])")
    page.set_input_files("#file", files["session"])
    opened.wait()
    assert np.abs(opened.picture() - shown).max() <= 1
    assert page.locator("[aria-label='Pin Sample 3']").get_attribute("aria-pressed") == "true"
    page.goto(files["comparison"].as_uri())
    page.wait_for_function("() => document.querySelector('#b').naturalWidth === 64")
    assert page.locator("#right option").all_inner_texts() == ["LR", "Bicubic", "Mean", "Sample 3 (shown)", "Sample 3"]
    box, share = page.locator(".box").bounding_box(), page.locator("#share")
    assert share.bounding_box()["width"] == pytest.approx(box["width"], abs=3)
    page.mouse.move(box["x"] + 8, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 24, steps=5)
    page.mouse.up()
    assert float(share.input_value()) == pytest.approx(80, abs=3)
    opened.requests.clear()


def test_a_running_job_is_cancelled_by_its_button(opened: Page) -> None:
    """The server stops, the page says what is shown, and all of it can be used; the same job can be asked for again."""
    page = opened.page
    page.click("#close")
    opened.open_photo(120, 128)
    session = f"{opened.address.split('/?')[0]}/api/sessions/{page.evaluate('location.hash').lstrip('#')}"
    cancel = page.locator("#jobs button[aria-label='Cancel: computing the standard deviation']")
    for ask in (lambda: page.keyboard.press("4"), lambda: page.click(".look button:has-text('Standard deviation')")):
        ask()
        page.wait_for_function("() => document.querySelector('#jobs progress')?.value > 1")
        page.wait_for_selector("#jobs .seconds:has-text('s')")
        assert page.request.get(session).json()["jobs"] != []
        cancel.click()
        page.wait_for_selector("#jobs .job", state="detached")
        until = time.monotonic() + 60
        while running := [j for j in page.request.get(session).json()["jobs"] if "deviation" in j["what"]]:
            assert time.monotonic() < until, running
        assert opened.badge == "Cancelled: an earlier picture is shown"
    page.keyboard.press("3")
    opened.wait()
    assert opened.badge == "0 of 46,080 LR values wrong"
    page.click("[aria-label='Show Sample 2']")
    opened.wait()
    assert opened.badge == "0 of 46,080 LR values wrong"


def test_errors_are_said_in_words(opened: Page) -> None:
    opened.page.click("#close")
    path = opened.folder / "notes.png"
    path.write_bytes(b"no picture")
    opened.page.set_input_files("#file", path)
    opened.page.wait_for_selector("#message.shown:has-text('notes.png')")
    assert opened.page.locator("#welcome").is_visible()
    assert opened.page.locator("#undo").is_hidden()
    assert all("422" in c for c in opened.complaints)  # the browser's own note about the answer
    opened.complaints.clear()
