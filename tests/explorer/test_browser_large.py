"""A large picture in the browser: drafts without the exact picture, which is cancelled when it is no longer wanted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_page import Page
from explorer_tools import photo, running_server

from vspsr.explorer import app, work
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


def test_drafts_on_either_side_of_the_curtain_and_in_the_lens(large: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page, own, mean = large.page, work.layer, large.picture()
    blocks = np.repeat(np.repeat(photo().astype(int), 4, 0), 4, 1)

    def endless(session: Any, member: Any, edits: Any, progress: Any) -> Any:
        while member.kind == "sample" and member.seed >= 9:
            progress(1, 2)  # may be cancelled here
            time.sleep(0.02)
        return own(session, member, edits, progress)

    def drafted() -> np.ndarray:
        page.wait_for_selector("#badge.pending:has-text('Draft, not measured')")
        return large.picture()

    left, right, below = slice(0, 28), slice(36, 64), slice(10, 34)  # the names of the sides, above jobs
    page.select_option(".behind select", label="LR")
    page.locator(".behind select").evaluate("select => select.blur()")
    page.keyboard.press("c")
    large.wait()
    monkeypatch.setattr(work, "layer", endless)
    show = """async ([what, member]) => {
        const { view, show } = await import("/static/js/view.js");
        if (what === "shown") show(member);
        else view.setBehind(member);
    }"""
    page.evaluate(show, ["shown", {"kind": "sample", "seed": 9}])
    one = drafted()
    assert np.abs(one - mean)[below, left].mean() > 2
    assert np.abs(one - blocks)[below, right].max() <= 2
    page.evaluate(show, ["shown", {"kind": "mean"}])
    large.wait()
    page.evaluate(show, ["behind", {"kind": "sample", "seed": 9}])
    other = drafted()
    assert np.abs(other - mean)[below, left].max() <= 2
    assert np.abs(other - mean)[below, right].mean() > 2
    page.locator(".curtain").press("Home")  # it is cut as the curtain is
    whole = large.picture()
    assert np.abs(whole - one)[below, left][:, 2:].max() <= 2
    assert np.abs(whole - other)[below, right].max() <= 2
    page.keyboard.press("l")
    page.mouse.move(*large.at(20, 27))
    page.mouse.move(*large.at(20.5, 27.5))
    through = drafted()
    assert np.abs(through - whole)[26:30, 16:19].max() <= 2
    assert np.abs(through - mean)[below, 44:].max() <= 2
    page.evaluate(show, ["shown", {"kind": "sample", "seed": 10}])
    page.evaluate(show, ["behind", {"kind": "lr"}])
    around = drafted()
    assert np.abs(around - blocks)[26:30, 16:19].max() <= 2
    assert np.abs(around - mean)[below, 44:].mean() > 2
    monkeypatch.undo()


def test_a_picture_that_was_given_up_is_made_when_it_is_wanted_again(
    large: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, own, released = large.page, work.layer, list[bool]()

    def slow(session: Any, member: Any, edits: Any, progress: Any) -> Any:
        while member.kind == "sample" and not released:
            progress(1, 2)  # may be cancelled here
            time.sleep(0.02)
        return own(session, member, edits, progress)

    with monkeypatch.context() as patched:
        patched.setattr(work, "layer", slow)
        show = """async (seeds) => {
            const { show } = await import("/static/js/view.js");
            for (const seed of seeds) show(seed ? { kind: "sample", seed } : { kind: "mean" });
        }"""
        page.evaluate(show, [9])
        page.wait_for_selector("#badge.pending:has-text('Draft, not measured')")
        page.evaluate(show, [0, 9])
        page.wait_for_timeout(1000)
        page.wait_for_selector("#badge.pending:has-text('Draft, not measured')")
        released.append(True)
        large.wait()
    assert large.badge == "0 of 576 LR values wrong"
    assert page.locator(".look button[aria-pressed=true]").inner_text().endswith("Sample 9")


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> Iterator[list[str]]:
    """Work of the server stands at a quarter until something is in the list; its end by cancelling is added there."""
    own, released = getattr(where, name), list[str]()

    def slow(*arguments: Any) -> Any:
        try:
            while not released:
                arguments[-1](1, 4)  # may be cancelled here
                time.sleep(0.02)
        except BaseException:
            released.append("cancelled")
            raise
        return own(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(where, name, slow)
        yield released


def cancelled_by_its_button(page: Any, what: str, where: str = "#jobs") -> None:
    """A job shows how much is done, and ends when its button is pressed."""
    cancel = page.locator(f"{where} button[aria-label='Cancel: {what}']")
    cancel.wait_for()
    page.wait_for_function(
        "(bar) => ((p) => p.value === 1 && p.max === 4)(document.querySelector(bar))",
        arg=f"{where} progress[aria-label='{what}']",
    )
    cancel.click()
    cancel.wait_for(state="detached")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_map_of_sigma_is_drawn_where_it_is_visible(large: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """First as a draft, whose values are those under the cross; its computation can be cancelled."""
    page = large.page
    large.scribble("#a08090", (30, 20.5), (33, 21.5))  # σ given edits is made when it is asked for
    for _ in range(4):
        page.keyboard.press("+")
    page.keyboard.press("v")
    page.wait_for_selector("#readout:has-text('90 %'):has-text('(σ without the edits)')")
    with held(monkeypatch, work, "layer") as whole:
        with held(monkeypatch, work, "draft") as drafts:
            page.keyboard.press("4")
            cancelled_by_its_button(page, "computing what is visible")
            until(lambda: drafts == ["cancelled"])
            assert page.locator(".draft").count() == 0
        with page.expect_response("**/drafts") as asked:
            page.keyboard.press("-")
        part = asked.value.request.post_data_json["part"]
        assert part["width"] * part["height"] < 0.5 * 12 * 16
        page.wait_for_selector(".draft")
        page.wait_for_selector("#badge.pending:has-text('Draft, not measured')")
        page.wait_for_selector("#legend:has-text('levels of 255')")
        page.wait_for_selector("#readout:has-text('90 %'):not(:has-text('without'))")
        drawn = large.seen()
        whole.append("go on")
        large.wait()
        page.wait_for_selector(".draft", state="detached")
    assert drawn.reshape(-1, 3).std(0).min() > 5
    assert np.abs(large.seen() - drawn).mean() < 25  # another end of the scale
    assert "90 %" in page.inner_text("#readout")


def test_conflicts_and_candidates_show_progress_and_are_cancelled(large: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page = large.page
    with held(monkeypatch, app, "unlikeliness") as ended:
        large.scribble("#a08090", (20, 20.5), (23, 21.5))
        cancelled_by_its_button(page, "how unlikely the edits are")
        until(lambda: ended == ["cancelled"])
    again = page.locator("[aria-label='How unlikely: Scribble 1']")
    assert again.inner_text() == "σ?"
    again.click()
    page.wait_for_selector(".sigma:has-text(' σ')")
    assert again.count() == 0
    large.open("Region")
    page.click("text=Middle of the view")
    page.locator(".sliders input").first.wait_for()
    large.open("Ask")
    for name in "AB":
        page.select_option(f"[aria-label='Candidate {name}']", label="Mean")
    with held(monkeypatch, work, "ask") as ended:
        page.click("text=Which is supported?")
        cancelled_by_its_button(page, "comparing the candidates")
        until(lambda: ended == ["cancelled"])
    assert page.inner_text(".answer") == ""
    page.click("text=Which is supported?")
    page.wait_for_selector(".answer:has-text('Neither')")


def test_thumbnails_show_progress_and_are_cancelled(large: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """One button ends them all; the one whose picture is chosen comes nevertheless."""
    page = large.page
    page.wait_for_function("() => !document.querySelector('.gallery .pending')")
    asked: list[int] = []
    page.on("request", lambda request: asked.append(1) if request.url.endswith("/thumbnail") else None)
    with held(monkeypatch, work, "layer") as ended:
        page.click("button:text-is('More')")
        assert page.locator(".gallery .pending").count() == 4
        cancelled_by_its_button(page, "making a thumbnail", "#background-jobs")
        until(lambda: ended == ["cancelled"])
    page.wait_for_timeout(1500)
    assert page.locator(".gallery .pending").count() == 4
    assert page.locator(".job").count() == 0
    page.locator(".gallery .pending .picture").nth(1).click()
    page.wait_for_function("() => document.querySelectorAll('.gallery .pending').length === 3")
    large.wait()
    assert len(asked) == 1
    assert "0 of 576" in large.badge


def test_a_box_whose_components_are_cancelled_goes_away(large: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page = large.page
    large.open("Region")
    with held(monkeypatch, work, "components") as ended:
        page.click("text=Middle of the view")
        cancelled_by_its_button(page, "finding the components of the region")
        until(lambda: ended == ["cancelled"])
    assert page.locator(".sliders input").count() == 0
    page.click("text=Middle of the view")
    page.locator(".sliders input").first.wait_for()
