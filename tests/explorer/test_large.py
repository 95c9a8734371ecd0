"""Large pictures: the network runs on what is visible; every tool gives what it gives of a small picture."""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from explorer_requests import MEAN, MOVED, PART, REGION, SAMPLE, TEXTURE, drafted, scribble
from explorer_tools import Client, http_client, photo

from vspsr.explorer import work
from vspsr.explorer.jobs import Jobs, shared_work
from vspsr.explorer.limits import Limits
from vspsr.explorer.messages import Sample

BRIGHTER = {"id": "b", "kind": "colour", "change": 0.05, "area": {"strokes": [{"points": [120.0, 80.0], "radius": 9}]}}
BETWEEN = {"kind": "between", "a": SAMPLE, "b": MEAN, "t": 0.5}


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[Client, Client]]:
    """The same picture, made as a whole and by place."""
    with http_client() as http, http_client(limits=Limits(whole_lr_pixels=0)) as placed:
        yield Client(http, photo(48, 64)), Client(placed, photo(48, 64))


def known(client: Client) -> float:
    session = client.http.app.state.sessions.get(client.info["session"])  # type: ignore[attr-defined]
    return float(session.pictures.space.parameters.places.known.float().mean())


def test_opening_and_drafts_do_not_run_the_network_on_the_whole() -> None:
    with http_client(limits=Limits(whole_lr_pixels=0)) as http:
        client = Client(http, photo(160, 200))
        assert client.info["large"]
        assert known(client) == 0
        client.layer({"kind": "lr"})
        for edits in ([], [TEXTURE], [scribble(100, 60)], [BRIGHTER]):
            drafted(client, SAMPLE, edits, PART)
        client.run("components", {"member": SAMPLE, "region": REGION, "edits": [scribble(100, 60)], "count": 2})
        client.run("unlikeliness", [scribble(100, 60), BRIGHTER])
        client.run("ask", {"a": SAMPLE, "b": MEAN, "region": REGION})
        assert 0 < known(client) < 0.4


@pytest.mark.parametrize("edits", [[], [TEXTURE, scribble(100, 60), BRIGHTER]])
@pytest.mark.parametrize("member", [MEAN, SAMPLE, MOVED, BETWEEN])
def test_exact_pictures_are_the_same(clients: tuple[Client, Client], member: dict[str, Any], edits: Any) -> None:
    (about, whole), (other, placed) = (client.layer(member, edits) for client in clients)
    assert other["lr_values_wrong"] == about["lr_values_wrong"]
    assert np.abs(placed - whole).max() <= 1
    assert (placed != whole).mean() < 1e-3  # values next to the middle of two levels


def test_tools_give_the_same(clients: tuple[Client, Client]) -> None:
    found = []
    for client in clients:
        body = {"member": SAMPLE, "region": REGION, "edits": [scribble(130, 90)], "count": 3}
        made = client.run("components", body)
        content = client.http.get(f"{client.base}/blobs/{made['blob']}").content
        shifts = np.frombuffer(content, np.float16).astype(float)
        ratio = client.run("ask", {"a": SAMPLE, "b": MEAN, "region": REGION})
        unlikely = client.run("unlikeliness", [scribble(130, 90), BRIGHTER])
        found.append((made["stddev"], np.abs(shifts), list(ratio.values()), [u["sigma"] for u in unlikely]))
    for a, b, tolerance in zip(*found, (1e-4, 2e-3, 2e-2, 1e-2), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=1e-2)


def test_each_channel_that_is_made_exact_is_shown(
    clients: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["vspsr.consistency.quantize"], "_CHANNEL_BY_CHANNEL", 100)
    for client in clients:
        session = client.http.app.state.sessions.get(client.info["session"])  # type: ignore[attr-defined]
        steps: list[tuple[int, int]] = []
        with torch.no_grad():
            work.layer(session, Sample(kind="sample", seed=11), [], lambda *step, steps=steps: steps.append(step))
        shares = [done / total for done, total in steps]
        assert shares == sorted(shares)
        np.testing.assert_allclose(shares[-3:], [3 / 6, 4 / 6, 5 / 6])


def test_long_jobs_pause_for_drafts() -> None:
    jobs, order = Jobs(4, 32), []
    begun, urgent_runs, done = threading.Event(), threading.Event(), threading.Event()

    def long(progress: Any) -> None:
        begun.set()
        urgent_runs.wait(10)
        for i in range(3):
            progress(i, 3)
            order.append("long")
        done.set()

    def draft(_: Any) -> None:
        urgent_runs.set()
        time.sleep(0.2)
        order.append("draft")

    try:
        jobs.submit("a", "long", "long", long, background=True)
        assert begun.wait(10)
        jobs.submit("b", "draft", "draft", draft, urgent=True)
        assert done.wait(10)
        assert order == ["draft", "long", "long", "long"]
    finally:
        jobs.close()


def test_what_others_wait_for_is_not_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vspsr.explorer.jobs._LONGEST_PAUSE", 1000.0)
    jobs, lock = Jobs(4, 32), threading.Lock()
    begun, waiting, done = threading.Event(), threading.Event(), threading.Event()

    def makes(progress: Any) -> None:
        with lock, shared_work():
            begun.set()
            waiting.wait(60)
            for i in range(3):
                progress(i, 3)

    def needs(_: Any) -> None:
        waiting.set()
        with lock:
            done.set()

    try:
        jobs.submit("a", "makes", "makes", makes, background=True)
        assert begun.wait(60)
        jobs.submit("a", "needs", "needs", needs)
        assert done.wait(60)
    finally:
        jobs.close()


def test_a_job_pauses_once_as_long_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the other one seems to wait for it."""
    monkeypatch.setattr("vspsr.explorer.jobs._LONGEST_PAUSE", 0.05)
    jobs, begun, waiting, released = Jobs(4, 32), threading.Event(), threading.Event(), threading.Event()
    paused: list[bool] = []

    def makes(progress: Any) -> None:
        begun.set()
        waiting.wait(60)
        progress(0, 1)
        monkeypatch.setattr("vspsr.explorer.jobs._LONGEST_PAUSE", 1000.0)
        progress(0, 1)
        released.set()

    def needs(_: Any) -> None:
        waiting.set()
        paused.append(not released.wait(60))

    try:
        jobs.submit("a", "makes", "makes", makes, background=True)
        assert begun.wait(60)
        job = jobs.submit("a", "needs", "needs", needs)
        assert released.wait(60)
        while not job.finished:
            time.sleep(0.01)
        assert paused == [False]
    finally:
        jobs.close()


def test_a_background_job_that_is_waited_for_comes_first() -> None:
    jobs = Jobs(0, 32)
    first = jobs.submit("a", "first", "first", lambda _: 0, background=True)
    assert jobs.submit("a", "first", "first", lambda _: 0) is first
    assert not first.background
    jobs.close()
