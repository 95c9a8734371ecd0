"""The server's manners: who may ask, for how much, and what is answered to those who may not."""

import io
import json
import random
import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import torch
from explorer_tools import Client, http_client, photo, png, running_server
from fastapi.testclient import TestClient
from PIL import Image

from vspsr.consistency.threads import one_thread
from vspsr.errors import VSpSRError
from vspsr.explorer import Limits
from vspsr.explorer.jobs import Jobs

LIMITS = Limits(
    upload_bytes=200_000,
    request_bytes=20_000,
    lr_pixels=400,
    total_lr_pixels=2000,
    sessions=3,
    files=2,
    file_pixels=20_000,
    waiting=4,
)


OUTSIDE = {"id": "1", "kind": "repeat", "source": [60, 40, 8, 8], "to": [0, 0]}


@pytest.fixture
def http() -> Iterator[TestClient]:
    with http_client(limits=LIMITS) as client:
        yield client


def test_the_page_sets_the_token_and_what_it_loads_needs_it(http: TestClient) -> None:
    token = http.app.state.token  # type: ignore[attr-defined]
    del http.headers["authorization"]
    for path in ("/", "/?token=wrong", "/static/js/main.js", "/api/about", "/?token="):
        assert http.get(path).status_code == 401, path
    assert http.get("/api/about", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert http.get(f"/api/about?token={token}").status_code == 401  # only the page takes it from its address
    page = http.get(f"/?token={token}")
    assert page.status_code == 200
    assert "HttpOnly" in page.headers["set-cookie"]
    assert "SameSite=strict" in page.headers["set-cookie"]
    assert http.get("/static/js/main.js").status_code == 200
    assert http.get("/api/about").json()["model"] == "tiny"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example:80"}, 403),
        ({"host": ""}, 403),
        ({"host": "localhost:99999999"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "localhost"}, 403),
        ({"origin": "http://evil.example://localhost"}, 403),
        ({"origin": "http://localhost:81"}, 403),
        ({"origin": "http://localhost"}, 200),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_other_hosts_and_origins_are_refused(http: TestClient, headers: dict[str, str], status: int) -> None:
    assert http.get("/api/about", headers=headers).status_code == status


def test_a_name_given_on_the_command_line_is_a_host() -> None:
    with http_client(hosts=frozenset({"lab.example"})) as http:
        assert http.get("/api/about", headers={"host": "lab.example:80"}).status_code == 200


def test_the_policy_forbids_other_sources(http: TestClient) -> None:
    policy = http.get("/api/about").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert http.get("/api/about").headers["cache-control"] == "no-store"


def test_uploads_are_limited_in_bytes_and_pixels(http: TestClient) -> None:
    large = http.post("/api/sessions", content=bytes(200_001))
    assert large.status_code == 413

    def chunks() -> Iterator[bytes]:  # without a length in the header
        for _ in range(30):
            yield bytes(10_000)

    assert http.post("/api/sessions", content=chunks()).status_code == 413
    many = http.post("/api/sessions", content=png(np.zeros((21, 20, 3), np.uint8)), headers={"x-name": "big.png"})
    assert many.status_code == 422
    assert many.json()["error"].startswith("big.png: has 20×21 pixels")
    assert list(http.app.state.folder.iterdir()) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), bytes(8) + b"{}", png(photo())[:-30], b"<svg/>"]
)
def test_what_is_no_image_is_refused_in_one_line(http: TestClient, content: bytes) -> None:
    answer = http.post("/api/sessions", content=content, headers={"x-name": "notes%0A.txt"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert "\n" not in error
    assert "vspsr-explore-" not in error  # the server's folder is nobody's business
    assert len(http.app.state.sessions) == 0  # type: ignore[attr-defined]


def test_an_image_that_looks_like_a_session_is_opened(http: TestClient) -> None:
    """The low byte of this GIF's height is "{", where a safetensors file has one."""
    buffer = io.BytesIO()
    Image.fromarray(photo(123, 3)).save(buffer, "gif")
    assert buffer.getvalue()[8:9] == b"{"
    answer = http.post("/api/sessions", content=buffer.getvalue(), headers={"x-name": "tall.gif"})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["width"], answer.json()["height"]) == (12, 492)


def test_unknown_names_are_not_found(http: TestClient) -> None:
    client = Client(http, photo())
    for path in (
        "/api/sessions/none",
        f"{client.base}/jobs/none",
        f"{client.base}/blobs/none",
        f"{client.base}/layers/none/tiles/0/0/0",
        f"{client.base}/layers/none/thumbnail",
        f"{client.base}/layers/none/pixel?x=0&y=0",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2fapp.py",
        "/nothing",
        "/docs",
        "/openapi.json",
    ):
        answer = http.get(path)
        assert answer.status_code == 404, path
        assert set(answer.json()) == {"error"}, path
    about, _ = client.layer({"kind": "mean"})
    for tile in ("9/0/0", "0/1/0", "0/-1/0", "-1/0/0"):
        assert http.get(f"{client.base}/layers/{about['layer']}/tiles/{tile}").status_code == 404, tile
    assert http.get(f"{client.base}/layers/{about['layer']}/pixel?x=64&y=0").status_code == 422


def test_one_session_cannot_see_anothers(http: TestClient) -> None:
    one, two = Client(http, photo()), Client(http, photo(seed=1))
    about, _ = one.layer({"kind": "sample", "seed": 5})
    assert http.get(f"{two.base}/layers/{about['layer']}/thumbnail").status_code == 404
    job = http.post(f"{one.base}/layers", json={"member": {"kind": "sample", "seed": 6}}).json()
    assert http.get(f"{two.base}/jobs/{job['job']}").status_code == 404


def test_sessions_are_bounded_and_closing_makes_room(http: TestClient) -> None:
    clients = [Client(http, photo(seed=i)) for i in range(3)]
    full = http.post("/api/sessions", content=png(photo()))
    assert full.status_code == 503
    assert "3 pictures are open" in full.json()["error"]
    assert http.delete(clients[0].base).status_code == 204
    assert http.get(clients[0].base).status_code == 404
    Client(http, photo())


def test_idle_pictures_give_way() -> None:
    with http_client(limits=Limits(sessions=1, idle_seconds=0.05)) as http:
        first = Client(http, photo())
        time.sleep(0.1)
        Client(http, photo(seed=1))
        assert "not open" in http.get(first.base).json()["error"]


def test_files_of_a_session_are_bounded(http: TestClient) -> None:
    client = Client(http, photo())
    for _ in range(2):
        assert http.post(f"{client.base}/files", content=png(photo())).status_code == 201
    assert http.post(f"{client.base}/files", content=png(photo())).status_code == 422


def test_files_of_all_sessions_together_are_bounded(http: TestClient) -> None:
    one, two = Client(http, photo()), Client(http, photo(seed=1))
    large = png(np.zeros((100, 150, 3), np.uint8))
    assert http.post(f"{one.base}/files", content=large).status_code == 201
    full = http.post(f"{two.base}/files", content=large)
    assert full.status_code == 503
    assert "0.0 megapixels" in full.json()["error"]
    about, _ = two.layer({"kind": "mean"})
    assert http.post(f"{two.base}/clips", json={"layer": about["layer"], "rect": [0, 0, 64, 48]}).status_code == 201
    http.delete(one.base)
    assert http.post(f"{two.base}/files", content=large).status_code == 201
    _, content = two.keep(what="session")
    again = http.post("/api/sessions", content=content)  # its files are as many pixels again
    assert again.status_code == 503
    http.delete(two.base)
    assert http.post("/api/sessions", content=content).status_code == 201


def test_files_made_for_download_are_bounded_and_go_with_their_session() -> None:
    with http_client(limits=Limits(download_bytes=1)) as http:
        folder, client = http.app.state.folder, Client(http, photo())  # type: ignore[attr-defined]
        first, _ = client.keep(what="picture", format="tiff")
        second, content = client.keep(what="samples")
        assert len(content) == second["bytes"]
        assert http.get(f"{client.base}/blobs/{first['blob']}").status_code == 404
        assert [path.stat().st_size for path in folder.iterdir()] == [second["bytes"]]
        failed = client.http.post(f"{client.base}/exports", json={"what": "samples", "edits": [OUTSIDE]}).json()
        assert client.follow(failed)["state"] == "failed"
        assert len(list(folder.iterdir())) == 1
        http.delete(client.base)
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_documents_are_kept_over_a_reload_and_bounded(http: TestClient) -> None:
    client = Client(http, photo())
    assert http.get(client.base).json()["document"] is None
    assert http.put(f"{client.base}/document", json={"at": 3}).status_code == 204
    assert http.get(client.base).json()["document"] == {"at": 3}
    assert http.put(f"{client.base}/document", content=b" " * 20_001).status_code == 413
    assert http.put(f"{client.base}/document", content=b"{").status_code == 422
    assert http.get(client.base).json()["document"] == {"at": 3}


def test_malformed_requests_get_one_line_and_break_nothing(http: TestClient) -> None:
    """200 random messages: never a 500, never a traceback."""
    client, random_ = Client(http, photo()), random.Random(0)
    valid = {
        "layers": {"member": {"kind": "sample", "seed": 1}, "edits": []},
        "components": {"member": {"kind": "mean"}, "region": {"top": 1, "left": 1, "height": 2, "width": 2}},
        "exports": {"what": "picture", "bits": 8, "format": "png"},
        "ask": {"region": {"top": 0, "left": 0, "height": 1, "width": 1}, "a": {"kind": "mean"}, "b": {"kind": "mean"}},
        "clips": {"layer": "x", "rect": [0, 0, 1, 1]},
        "unlikeliness": [{"id": "1", "kind": "repeat", "source": [0, 0, 4, 4], "to": [900, 9]}],
    }
    wrong = [None, -1, 1e400, "x" * 300, [], {}, True, {"kind": "mean"}, [[[[]]]], 2**70, "\ud800", 0.5]

    def spoiled(value: object) -> object:
        """One place of a message changed, removed or added."""
        if isinstance(value, dict) and value and random_.random() < 0.8:
            key = random_.choice(list(value))
            if random_.random() < 0.2:
                return {k: v for k, v in value.items() if k != key}
            return {**value, key: spoiled(value[key])}
        if isinstance(value, list) and value and random_.random() < 0.8:
            return [spoiled(value[0]), *value[1:]]
        return random_.choice(wrong)

    for i in range(200):
        path = random_.choice(list(valid))
        body = json.dumps(spoiled(valid[path])).encode()
        if i % 10 == 0:
            body = random_.choice([body[: len(body) // 2], b"[" * 5000, b"\xff\xfe", b"", b"NaN"])
        answer = http.post(f"{client.base}/{path}", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 201, 400, 404, 422, 503), (path, body, answer.text)
        text = answer.text if answer.status_code != 200 else json.dumps(client.follow(answer.json()))
        assert "Traceback" not in text
        assert "internal error" not in text, (path, body)
    assert client.layer({"kind": "mean"})[0]["lr_values_wrong"] == 0


def deep(levels: int) -> dict[str, object]:
    member: dict[str, object] = {"kind": "mean"}
    for _ in range(levels):
        member = {"kind": "between", "a": member, "b": {"kind": "mean"}, "t": 0.5}
    return member


def test_members_within_members_have_an_end(http: TestClient) -> None:
    client = Client(http, photo())
    client.layer(deep(7))
    assert http.post(f"{client.base}/layers", json={"member": deep(9)}).status_code == 422


def test_work_is_cancelled_and_slow_work_delays_no_other(http: TestClient) -> None:
    """A job that goes on for ever is stopped within a tensor operation; another session's job is done meanwhile."""
    jobs, client = http.app.state.jobs, Client(http, photo())  # type: ignore[attr-defined]
    began = threading.Event()

    def forever(_: object) -> None:
        began.set()
        x = torch.ones(3)
        while True:
            x = x.sqrt()

    owner = client.info["session"]
    slow = [jobs.submit(owner, f"slow {i}", "slow", forever) for i in range(4)]
    assert began.wait(10)
    refused = http.post(f"{client.base}/layers", json={"member": {"kind": "sample", "seed": 77}})
    assert refused.status_code == 503
    assert "4 requests for this picture wait already" in refused.json()["error"]
    Client(http, photo(seed=2)).layer({"kind": "sample", "seed": 3})
    for job in slow:
        assert http.delete(f"{client.base}/jobs/{job.id}").status_code == 200
    for job in slow:
        assert client.follow(job.report())["state"] == "cancelled"
    client.layer({"kind": "sample", "seed": 77})


def test_closing_a_picture_stops_its_work(http: TestClient) -> None:
    jobs, client = http.app.state.jobs, Client(http, photo())  # type: ignore[attr-defined]

    def forever(_: object) -> None:
        while True:
            torch.ones(3).sqrt()

    job = jobs.submit(client.info["session"], "slow", "slow", forever)
    http.delete(client.base)
    until = time.monotonic() + 60
    while not job.finished and time.monotonic() < until:
        time.sleep(0.01)
    assert job.state == "cancelled"


def test_what_needs_the_space_waits_for_it_and_goes_with_it(http: TestClient) -> None:
    jobs, client = http.app.state.jobs, Client(http, photo())  # type: ignore[attr-defined]
    owner, done = client.info["session"], threading.Event()
    first = jobs.submit(owner, "first", "first", lambda _: done.wait(60))
    after = jobs.submit(owner, "after", "after", lambda _: done.is_set(), after=first)
    beside = jobs.submit(owner, "beside", "beside", lambda _: done.is_set())
    assert client.follow(beside.report())["result"] is False
    assert after.state == "waiting"
    done.set()
    assert client.follow(after.report())["result"] is True
    for spoil in ("failed", "cancelled"):
        began = threading.Event()

        def work(_: object, spoil: str = spoil, began: threading.Event = began) -> None:
            began.wait(10)
            if spoil == "failed":
                raise VSpSRError("no")
            torch.ones(1).sqrt()

        first = jobs.submit(owner, spoil, spoil, work)
        after = jobs.submit(owner, f"after {spoil}", "after", lambda _: 1, after=first)
        if spoil == "cancelled":
            jobs.cancel(first)
        began.set()
        assert client.follow(first.report())["state"] == spoil
        assert client.follow(after.report())["state"] == "cancelled"


def test_background_work_that_is_wanted_now_no_longer_waits_behind_the_rest() -> None:
    jobs, done = Jobs(workers=3, waiting=9), threading.Event()

    def work(_: object) -> None:
        done.wait(60)

    try:
        first, second, third = (jobs.submit("me", key, key, work, background=True) for key in "abc")
        assert jobs.submit("me", "c", "c", work) is third
        until = time.monotonic() + 60
        while third.state == "waiting" and time.monotonic() < until:
            time.sleep(0.01)
        assert (third.state, second.state) == ("running", "waiting")
        assert jobs.submit("me", "b", "b", work, background=True) is second
        assert (first.background, second.background, third.background) == (True, True, False)
        assert jobs.submit("me", "b", "b", work, urgent=True).urgent
    finally:
        done.set()
        jobs.close()


def test_a_bug_is_logged_and_not_told(http: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    jobs, client = http.app.state.jobs, Client(http, photo())  # type: ignore[attr-defined]
    job = jobs.submit(client.info["session"], "bug", "bug", lambda _: {}["secret"])
    report = client.follow(job.report())
    assert report["state"] == "failed"
    assert "secret" not in report["error"]
    assert "secret" in caplog.text


def test_fifty_clients_at_once() -> None:
    """Each with connections of its own to a server that listens."""
    clients: list[Client] = []
    problems: list[BaseException] = []

    def one(address: str, rgb: np.ndarray) -> None:
        try:
            base, token = address.split("/?token=")
            with httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=60) as http:
                client = Client(http, rgb)
                about, _ = client.layer({"kind": "sample", "seed": 1})
                assert about["lr_values_wrong"] == 0
                clients.append(client)
        except BaseException as problem:
            problems.append(problem)

    with running_server() as address:
        threads = [threading.Thread(target=one, args=(address, photo(seed=i))) for i in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []
    assert len({client.base for client in clients}) == 50


def test_large_pictures_hold_fewer_layers() -> None:
    """Those used longest ago go; eight stay in any case."""
    with http_client(limits=Limits(layers_lr_pixels=1)) as http:
        client = Client(http, photo())
        layers = [client.layer({"kind": "sample", "seed": seed})[0]["layer"] for seed in range(9)]
        codes = [http.get(f"{client.base}/layers/{layer}/thumbnail").status_code for layer in layers]
    assert codes == [404, *[200] * 8]


def test_a_search_on_one_thread_leaves_the_other_jobs_theirs() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    jobs, narrow, done, seen = Jobs(workers=2, waiting=9), threading.Event(), threading.Event(), list[int]()
    time.sleep(0.2)  # for the threads to begin

    def search(_: object) -> None:
        with one_thread():
            narrow.set()
            done.wait(10)

    def look(_: object) -> None:
        narrow.wait(10)
        seen.append(torch.get_num_threads())
        done.set()

    try:
        jobs.submit("a", "search", "search", search)
        jobs.submit("b", "look", "look", look)
        done.wait(10)
    finally:
        jobs.close()
        torch.set_num_threads(before)
    assert seen == [3]
