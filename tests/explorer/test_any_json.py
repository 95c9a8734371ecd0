"""Any JSON value at any place of a request or of a saved session: an answer in one line, never an internal error."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from explorer_requests import MOVED, PART, SAMPLE, TEXTURE, scribble
from explorer_tools import Client, photo, png
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jpeg_files import saved
from torch import from_numpy

DEEP = "a list within lists: "  # written out by `as_json`, because `json.dumps` has a limit of its own
SMALL = {"top": 1, "left": 2, "height": 3, "width": 2}
COPY = {"id": "c", "kind": "copy", "file": "none", "source": [0, 0, 4, 4], "to": [8, 8]}
REPEAT = {"id": "r", "kind": "repeat", "source": [0, 0, 4, 4], "to": [8, 8]}
COLOUR = {"id": "o", "kind": "colour", "area": TEXTURE["area"], "change": 0.1}
EDITS = [TEXTURE, scribble(20, 20), REPEAT, COPY, COLOUR]
BETWEEN = {"kind": "between", "a": SAMPLE, "b": MOVED | {"region": SMALL}, "t": 0.5}
REQUESTS = {
    "document": {"version": 2, "at": 0, "strokes": [], "edits": EDITS, "states": [{"edits": [0], "shown": BETWEEN}]},
    "layers": {"member": BETWEEN, "edits": EDITS[:2], "background": False},
    "drafts": {"member": BETWEEN, "edits": EDITS[:1], "part": PART | {"top": 0, "left": 0, "height": 9, "width": 9}},
    "components": {"member": SAMPLE, "edits": EDITS[1:3], "region": SMALL, "count": 2},
    "ask": {"region": SMALL, "a": SAMPLE, "b": BETWEEN, "edits": EDITS[:1], "stddev": 0.1},
    "clips": {"layer": "x", "rect": [0, 0, 1, 1]},
    "unlikeliness": EDITS,
    "exports": {"what": "comparison", "member": SAMPLE, "others": [BETWEEN], "names": ["a", "b"], "bits": 8},
}

texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["\ud800", "\x00\n", "mean", ""])
numbers = st.integers() | st.floats() | st.sampled_from([2**70, 10**400, -(10**4000), 1e308, 1e-320, 0, -1, 7])
deep = st.sampled_from([90, 300, 700, 990, 5000]).map(lambda levels: f"{DEEP}{levels}")
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | deep,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
several = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_json(value: Any) -> bytes:
    text = json.dumps(value)
    for levels in (90, 300, 700, 990, 5000):
        text = text.replace(json.dumps(f"{DEEP}{levels}"), "[" * levels + "]" * levels)
    return text.encode()


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The paths to all values within a value, itself included."""
    yield ()
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from ((key, *rest) for rest in places(part))


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A value with another one at a place."""
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = put(value[place[0]], place[1:], new)
    return changed


@st.composite
def spoiled(draw: st.DrawFn, valid: Any) -> Any:
    """A message with any value at one or two of its places, or under a name that it does not have."""
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(list(places(valid))))
        new = draw(values)
        inner = valid
        for key in place:
            inner = inner[key]
        if isinstance(inner, dict) and draw(st.booleans()):
            new = inner | {draw(texts): new}
        valid = put(valid, place, new)
    return valid


def check(answer: Any, *statuses: int) -> None:
    """One of these statuses, errors in one line."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    if answer.status_code >= 400:
        assert list(answer.json()) == ["error"]
        assert "internal" not in answer.text
        assert "\n" not in answer.json()["error"]
        assert len(answer.json()["error"]) < 600


@pytest.fixture(scope="module")
def client(http: TestClient) -> Client:
    return Client(http, photo())


def follow(client: Client, report: dict[str, Any]) -> None:
    """The work that was asked for ends, and not by a fault of ours."""
    if "state" in report:
        assert "internal" not in (client.follow(report)["error"] or ""), report


@pytest.mark.parametrize("path", REQUESTS)
@several
@given(data=st.data())
def test_any_value_in_a_request(client: Client, path: str, data: st.DataObject) -> None:
    body, method = data.draw(spoiled(REQUESTS[path])), "PUT" if path == "document" else "POST"
    headers = {"content-type": "application/json"}
    answer = client.http.request(method, f"{client.base}/{path}", content=as_json(body), headers=headers)
    check(answer, 200, 201, 204, 400, 404, 422, 503)
    if answer.status_code == 200:
        follow(client, answer.json())
    info = client.http.get(client.base)
    check(info, 200)
    if answer.status_code == 204:
        assert info.json()["document"] == json.loads(as_json(body))


def parts_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, with the session in it as a value, and the data."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    header["__metadata__"]["session"] = json.loads(header["__metadata__"]["session"])
    return header, content[end:]


def joined(header: Any, data: bytes) -> bytes:
    try:
        texts = header["__metadata__"] | {"session": as_json(header["__metadata__"]["session"]).decode()}
        header = header | {"__metadata__": texts}
    except (KeyError, TypeError, IndexError):
        pass  # there is no session in it any more
    text = as_json(header)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture(scope="module", params=["pixels", "coefficients"])
def kept(http: TestClient, request: Any) -> tuple[dict[str, Any], bytes]:
    rgb = photo(16, 24)
    jpeg = saved(from_numpy(rgb).permute(2, 0, 1), quality=75, subsampling="4:2:0")
    client = Client(http, png(rgb) if request.param == "pixels" else jpeg)
    assert http.post(f"{client.base}/files", content=png(photo(4, 4))).status_code == 201
    assert http.put(f"{client.base}/document", json=REQUESTS["document"]).status_code == 204
    content = client.keep(what="session")[1]
    http.delete(client.base)
    header, data = parts_of(content)
    session = header["__metadata__"]["session"]
    session["metadata"] = {"xres": 2.8, "yres": 2.8, "resolution-unit": "in"}
    return header, data


@several
@given(data=st.data())
def test_any_value_in_a_saved_session(
    http: TestClient, kept: tuple[dict[str, Any], bytes], data: st.DataObject
) -> None:
    """What is opened in spite of it can be used and saved again."""
    header, content = kept
    if data.draw(st.sampled_from([True, True, True, False])):
        session = data.draw(spoiled(header["__metadata__"]["session"]))
        header = header | {"__metadata__": {"session": session}}
    else:
        header = data.draw(spoiled(header))
    answer = http.post("/api/sessions", content=joined(header, content), headers={"x-name": "s.safetensors"})
    check(answer, 201, 422)
    if answer.status_code == 422:
        assert answer.json()["error"].startswith("s.safetensors: ")
        return
    client = Client.__new__(Client)
    client.http, client.base = http, f"/api/sessions/{answer.json()['session']}"
    try:
        check(http.get(client.base), 200)
        for job in answer.json()["jobs"]:
            follow(client, job)
        for request in (
            {"what": "session"},
            {"what": "picture", "format": "tiff"},
            {"what": "comparison", "names": ["a"]},
        ):
            report = client.follow(http.post(f"{client.base}/exports", json=request).json())
            assert report["state"] == "done", report
            check(http.get(f"{client.base}/blobs/{report['result']['blob']}"), 200)
    finally:
        http.delete(client.base)


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "-Infinity", "1e999", '{"\\udfff": 1}', "[" * 101 + "]" * 101])
def test_a_document_that_could_not_be_sent_back_is_refused(http: TestClient, client: Client, value: str) -> None:
    http.put(f"{client.base}/document", json={"at": 3})
    headers = {"content-type": "application/json"}
    answer = http.put(f"{client.base}/document", content=f'{{"x": {value}}}', headers=headers)
    check(answer, 422)
    assert "`document`" in answer.json()["error"]
    assert http.get(client.base).json()["document"] == {"at": 3}
