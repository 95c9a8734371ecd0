"""A JPEG in a real browser: opened, edited, moved and kept; and regions that are too large."""

import io

import numpy as np
import torch
from explorer_page import Page
from explorer_tools import photo
from jpeg_files import coefficients_differ, saved, saved_as
from PIL import Image

from vspsr import Degradation
from vspsr.images.jpeg_file import read_coefficients


def test_a_jpeg_is_opened_edited_moved_and_kept(opened: Page) -> None:
    page = opened.page
    rgb = torch.from_numpy(photo()).permute(2, 0, 1)
    content = saved(rgb, quality=75, subsampling="4:2:0")
    page.click("#close")
    opened.open_file("a photo.jpg", content)
    assert opened.badge == "0 of 384 JPEG coefficients wrong"
    assert page.inner_text("#note") == "JPEG 4:2:0: what its coefficients leave open stays open"
    before = opened.picture()
    painted = opened.scribble("#a08090", (20, 20.5), (23, 21.5))
    assert opened.badge == "0 of 384 JPEG coefficients wrong"
    wanted = np.array([160, 128, 144])
    assert np.abs(painted[20, 21] - wanted).sum() < 0.7 * np.abs(before[20, 21] - wanted).sum()
    opened.open("Region")
    assert page.is_visible("text=Of a JPEG, the sliders blend before its intervals are applied")
    page.click("text=Box a region")
    opened.drag((42, 26), (57, 41))
    page.fill(".slider input >> nth=0", "3")
    opened.wait()
    assert opened.badge == "0 of 384 JPEG coefficients wrong"
    moved = opened.picture()
    assert np.abs(moved - painted)[26:41, 42:57].max() > 5
    kept = opened.kept()
    page.wait_for_selector("#message:has-text('0 JPEG coefficients wrong')")
    assert np.abs(kept - moved).mean() < 1.5
    lr = Degradation(4).down_uint8(torch.from_numpy(kept.astype(np.uint8)).permute(2, 0, 1))
    assert coefficients_differ(read_coefficients(saved_as(lr, content)), read_coefficients(content)) == 0


def test_pixels_that_are_not_exact_say_so(opened: Page) -> None:
    page, file = opened.page, io.BytesIO()
    assert page.inner_text("#note") == ""
    Image.fromarray(photo()).save(file, "webp", quality=75)
    page.click("#close")
    opened.open_file("a photo.webp", file.getvalue())
    assert "taken as exact, which they are not" in page.inner_text("#note")
    page.click("#close")
    opened.open_photo()
    assert page.inner_text("#note") == ""


def test_a_region_that_is_cut_says_so(opened: Page) -> None:
    page = opened.page
    page.click("#close")
    opened.open_photo(20, 60)
    opened.open("Region")
    page.click("text=Box a region")
    box = page.locator(".view").first.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=3)
    page.mouse.up()
    page.wait_for_selector("#message:has-text('A region has at most 192×192 pixels')")
    page.wait_for_selector(".slider")
