"""Drafts of a part: they are what the exact picture of the whole has there, up to rounding."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from explorer_page import Page
from explorer_requests import MEAN, MOVED, PART, SAMPLE, TEXTURE, drafted, scribble
from explorer_tools import Client, http_client, photo
from PIL import Image

from vspsr.explorer import work


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with http_client() as http:
        yield Client(http, photo(48, 64))


@pytest.mark.parametrize(
    ("member", "edits"),
    [
        (MEAN, []),
        (SAMPLE, []),
        ({"kind": "between", "a": SAMPLE, "b": MOVED, "t": 0.3}, []),
        (MOVED, []),
        (SAMPLE, [TEXTURE]),
        (MEAN, [scribble(100, 60)]),
        (SAMPLE, [TEXTURE, scribble(100, 60)]),
        (MOVED, [scribble(176, 100)]),  # at the edge of the part
        (SAMPLE, [scribble(4, 188)]),  # far away
    ],
)
def test_a_draft_is_the_whole_pictures_part(client: Client, member: dict[str, Any], edits: Any) -> None:
    whole = client.layer(member, edits)[1]
    part = drafted(client, member, edits, PART)
    difference = np.abs(part - whole[32:104, 80:180])
    # Exactness moves the whole by about a rounding error; a few values lie out of range.
    assert difference.mean() < 0.5
    assert (difference > 3).mean() < 0.01
    if edits:
        plain = client.layer(member)[1]
        near = edits[-1]["kind"] == "texture" or edits[-1]["area"]["strokes"][0]["points"][0] > 90
        assert (np.abs(whole - plain)[32:104, 80:180].max() > 6) == near


def test_parts_are_bounded_and_lie_within_the_picture(client: Client) -> None:
    for part, status in (({"height": 321}, 422), ({"left": -1}, 422), ({"width": 0}, 422)):
        body = {"member": MEAN, "part": PART | part}
        assert client.http.post(f"{client.base}/drafts", json=body).status_code == status
    report = client.follow(
        client.http.post(f"{client.base}/drafts", json={"member": MEAN, "part": PART | {"left": 50}}).json()
    )
    assert report["state"] == "failed"
    assert "`width`" in report["error"]


@pytest.mark.slow
def test_what_is_visible_is_shown_before_the_whole(opened: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample that takes long: its draft, at every place that is shown, then the exact picture."""
    page, own, released = opened.page, work.layer, []

    def slow(session: Any, member: Any, *rest: Any) -> Any:
        while member.kind == "sample" and member.seed == 9 and not released:
            time.sleep(0.02)
        return own(session, member, *rest)

    monkeypatch.setattr(work, "layer", slow)
    mean = opened.picture()
    with page.expect_response("**/drafts"):
        page.evaluate("""async () => (await import("/static/js/view.js")).show({ kind: "sample", seed: 9 })""")
    page.wait_for_selector(".draft")
    page.wait_for_selector("#badge.pending:has-text('Draft, not measured')")
    draft = opened.picture()
    assert np.abs(draft - mean).mean() > 2
    with page.expect_response("**/drafts") as asked:
        page.keyboard.press("+")
        page.keyboard.press("ArrowRight")
    assert asked.value.request.post_data_json["part"]["width"] < 16
    page.keyboard.press("0")
    page.wait_for_timeout(1500)
    released.append(True)
    opened.wait()
    assert opened.badge == "0 of 576 LR values wrong"
    assert page.locator(".draft").count() == 0
    exact = opened.picture()
    assert np.abs(exact - draft)[2:-2, 2:-2].mean() < 1.5
    monkeypatch.undo()


@pytest.mark.slow
def test_the_lr_picture_is_shown_while_the_network_runs(opened: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page, own, released = opened.page, work.open_picture, []

    def slow(*arguments: Any) -> Any:
        while not released:
            torch.ones(1).sqrt()  # may be cancelled here
            time.sleep(0.02)
        return own(*arguments)

    monkeypatch.setattr(work, "open_picture", slow)
    lr = np.asarray(Image.fromarray(photo()).resize((64, 48), Image.Resampling.BILINEAR)).astype(int)
    page.click("#close")
    for cancelled in (True, False):
        page.set_input_files("#file", opened.folder / "a photo.png")
        page.wait_for_selector("#badge.pending:has-text('LR, enlarged')")
        assert np.abs(opened.picture() - lr)[:34].mean() < 2  # below are the jobs
        page.keyboard.press("2")
        opened.wait()
        assert "LR values wrong" in opened.badge
        assert "0 of 576" not in opened.badge
        page.keyboard.press("3")
        page.wait_for_selector("#jobs button[aria-label='Cancel: opening the picture']")
        if cancelled:
            page.click("#jobs button[aria-label='Cancel: opening the picture']")
            page.wait_for_selector("#welcome:not([hidden])")
            page.wait_for_selector("#jobs .job", state="detached")
    page.reload()  # the session goes on
    page.wait_for_selector("#badge.pending:has-text('LR, enlarged')")
    released.append(True)
    opened.wait()
    assert opened.badge == "0 of 576 LR values wrong"
    assert np.abs(opened.picture() - opened.kept()).mean() < 1.5


@pytest.mark.slow
def test_a_picture_is_closed_while_work_for_it_is_under_way(opened: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for the jobs of a picture that is gone, and its badge does not come back."""
    page, released = opened.page, threading.Event()
    own = work.layer

    def slow(session: Any, member: Any, *rest: Any) -> Any:
        released.wait(10)
        return own(session, member, *rest)

    monkeypatch.setattr(work, "layer", slow)
    page.keyboard.press("2")
    page.wait_for_selector("#badge.pending")
    page.click("#close")
    page.wait_for_selector("#welcome:not([hidden])")
    page.wait_for_timeout(1000)  # longer than between two questions
    released.set()
    page.wait_for_timeout(300)
    assert page.inner_text("#badge") == ""
    assert opened.complaints == []
