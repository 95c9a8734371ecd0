"""The explorer's page in a browser, with an open picture of 64×48 HR pixels."""

from pathlib import Path
from typing import Any

import numpy as np
from explorer_tools import photo, pixels, png
from numpy.typing import NDArray

SIZE = (64, 48)
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


class Page:
    """An open picture, and all that the page asked for and complained of."""

    def __init__(self, browser: Any, address: str, tmp_path: Path, **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1100, "height": 800}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)  # machines that test are crowded
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address, self.folder = address, tmp_path
        self.page.goto(address)
        self.open_photo()

    def open_photo(self, *size: int) -> None:
        """Open a picture (height, width) on the welcome page."""
        self.open_file("a photo.png", png(photo(*size)))

    def open_file(self, name: str, content: bytes) -> None:
        """Open a file on the welcome page."""
        path = self.folder / name
        path.write_bytes(content)
        self.page.wait_for_selector("#welcome:not([hidden])")  # before, nobody listens
        self.page.set_input_files("#file", path)
        self.wait()

    def wait(self) -> None:
        """Until the picture that is to be shown is shown."""
        self.page.wait_for_timeout(60)
        self.page.wait_for_selector("#badge:not(.pending):not(:empty)")

    @property
    def badge(self) -> str:
        """How many LR values are wrong, in the page's words."""
        return str(self.page.inner_text("#badge"))

    def open(self, section: str) -> None:
        """A section of the panel."""
        self.page.locator(f"summary:text-is('{section}')").click()

    def _place(self) -> tuple[float, float, float, dict[str, float]]:
        """Where the picture lies in the first pane: left, top, scale, and the pane."""
        box = self.page.locator(".view").first.bounding_box()
        scale = min(box["width"] / SIZE[0], box["height"] / SIZE[1])
        return (box["width"] - SIZE[0] * scale) / 2, (box["height"] - SIZE[1] * scale) / 2, scale, box

    def picture(self) -> NDArray[np.int64]:
        """The picture in the first pane as (48, 64, 3), from the middles of its pixels on the screen."""
        self.page.wait_for_timeout(200)
        left, top, scale, _ = self._place()
        shot = pixels(self.page.locator(".view").first.screenshot())
        x = (left + (np.arange(SIZE[0]) + 0.5) * scale).astype(int)
        y = (top + (np.arange(SIZE[1]) + 0.5) * scale).astype(int)
        return shot[y][:, x]

    def seen(self) -> NDArray[np.int64]:
        """What the first pane shows, whatever the zoom: (H, W, 3)."""
        self.page.wait_for_timeout(500)  # until it has come to rest
        return pixels(self.page.locator(".view").first.screenshot())

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where an HR point lies in the window, the whole picture being shown."""
        left, top, scale, box = self._place()
        return box["x"] + left + x * scale, box["y"] + top + y * scale

    def drag(self, *points: tuple[float, float]) -> None:
        """The mouse pressed along HR points."""
        mouse = self.page.mouse
        mouse.move(*self.at(*points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.at(*point), steps=3)
        mouse.up()

    def touch(self, *points: tuple[float, float]) -> None:
        """One finger put down at an HR point, moved along others and lifted."""
        fingers = self.context.new_cdp_session(self.page)

        def send(kind: str, *at: tuple[float, float]) -> None:
            touches = [{"x": x, "y": y} for x, y in at]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        send("touchStart", self.at(*points[0]))
        for point in points[1:]:
            send("touchMove", self.at(*point))
        send("touchEnd")
        fingers.detach()
        if len(points) > 1:  # Chromium may make no click of a tap that follows at once
            self.page.wait_for_timeout(1000)

    def paint(self, brush: str, *points: tuple[float, float]) -> None:
        """One stroke of a brush."""
        self.page.click(f".tools button:text-is('{brush}')")
        self.drag(*points)
        self.page.click(".tools button[aria-pressed=true]")
        self.wait()

    def scribble(self, colour: str, *points: tuple[float, float]) -> NDArray[np.int64]:
        """One stroke of a pixel's width, as the first edit: the picture that results."""
        self.open("Edit")
        self.page.fill("[aria-label='Size of the brush in pixels']", "1")
        self.page.fill("[aria-label='Colour of the brush']", colour)
        self.paint("Scribble", *points)
        return self.picture()

    def kept(self) -> NDArray[np.int64]:
        """The picture as it is kept: what the server holds."""
        button = self.page.locator("[data-what=picture]")
        if not button.is_visible():
            self.open("Keep")
        with self.page.expect_download() as download:
            button.click()
        return pixels(Path(download.value.path()).read_bytes())

    def close(self) -> None:
        """Nothing went wrong, and nothing was asked of others."""
        self.context.close()
        assert self.complaints == [], self.complaints
        origin = self.address.split("/?")[0]
        assert [r for r in self.requests if not r.startswith((origin, "blob:", "data:"))] == []


def reach(page: Any, selector: str) -> None:
    """Press Tab until what is wanted has the focus."""
    wanted = page.locator(selector).element_handle()
    for _ in range(150):
        if wanted.evaluate("(e) => e === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached with Tab")
