"""A large picture in the browser: drafts without the exact picture, which is cancelled when it is no longer wanted."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import running_server

from vspsr.explorer import work
from vspsr.explorer.limits import Limits

pytestmark = pytest.mark.slow


@pytest.fixture
def large(browser: Any, tmp_path: Path) -> Iterator[Page]:
    with running_server(limits=Limits(whole_lr_pixels=0)) as address:
        page = Page(browser, address, tmp_path)
        yield page
        page.close()


def test_drafts_go_on_without_the_exact_picture(large: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page, own, ended = large.page, work.layer, []

    def endless(session: Any, member: Any, edits: Any, progress: Any) -> Any:
        try:
            while member.kind == "sample" and member.seed >= 9:
                progress(1, 2)  # may be cancelled here
                time.sleep(0.02)
        except BaseException:
            ended.append(member.seed)
            raise
        return own(session, member, edits, progress)

    mean = large.picture()
    assert large.badge == "0 of 576 LR values wrong"
    monkeypatch.setattr(work, "layer", endless)
    show = """async (seed) => (await import("/static/js/view.js")).show({ kind: "sample", seed })"""
    for seed in (9, 10):
        page.evaluate(show, seed)
        page.wait_for_selector("#badge.pending:has-text('Draft, not measured')")
        assert np.abs(large.picture() - mean).mean() > 2
    page.wait_for_selector("#jobs button[aria-label='Cancel: computing the picture']")
    page.wait_for_timeout(500)
    assert ended == [9]
    page.click("#jobs button[aria-label='Cancel: computing the picture']")
    page.wait_for_selector("#badge:has-text('Cancelled')")
    assert ended == [9, 10]
    with page.expect_response("**/drafts"):
        page.keyboard.press("+")
    page.wait_for_selector("#badge:has-text('Draft, not measured')")
    monkeypatch.undo()
