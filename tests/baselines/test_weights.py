"""Published weights: the list is sound, and downloads arrive whole, verified, or not at all."""

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from baseline_checkpoints import edsr_pytorch, msrresnet

from vspsr.baselines import (
    BASELINES,
    PublishedWeights,
    fetch_weights,
    load_baseline,
    published_weights,
    weights_folder,
)
from vspsr.baselines import baseline as baseline_module
from vspsr.baselines import weights as weights_module
from vspsr.data import fetch as fetch_module
from vspsr.errors import ModelError, OutputError


def contents(state: dict[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


EDSR = contents(edsr_pytorch(4, 8, 2).state)
SRGAN = contents(msrresnet("kair").state)


class Handler(BaseHTTPRequestHandler):
    """Serves /edsr.pt, /srgan.pth, /cut.pt (which breaks off); nothing else is there."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        body = {"/edsr.pt": EDSR, "/srgan.pth": SRGAN, "/cut.pt": EDSR}.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/srgan.pth":  # one of unknown length
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/cut.pt" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A server on this machine in place of the publishers', and a hub folder of the test's own."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{http.server_port}"
    right = hashlib.sha256(EDSR).hexdigest()
    listed = {
        "edsr-x4": ("edsr", "edsr.pt", right),
        "edsr-prefix": ("edsr", "edsr.pt", right[:8]),
        "edsr-wrong": ("edsr", "edsr.pt", "0" * 64),
        "edsr-cut": ("edsr", "cut.pt", None),
        "srgan-x4": ("srgan", "srgan.pth", None),
        "rcan-x4": ("rcan", "absent.pt", right),
    }
    table = {
        name: PublishedWeights(name, architecture, 4, f"{address}/{file}", "https://example.org", "MIT", "", sha256)
        for name, (architecture, file, sha256) in listed.items()
    }
    for module in (weights_module, baseline_module):
        monkeypatch.setattr(module, "published_weights", lambda: table)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    Handler.requests.clear()
    yield address
    http.shutdown()
    http.server_close()
    thread.join()


def complaint(name: str, folder: Path, **options: bool) -> str:
    with pytest.raises(ModelError) as info:
        fetch_weights(name, folder, **options)
    assert "\n" not in str(info.value)
    assert [p.name for p in folder.glob("*") if p.suffix == ".tmp"] == []
    return str(info.value)


def test_the_list_is_sound() -> None:
    for name, weights in published_weights().items():
        assert weights.architecture in BASELINES
        assert BASELINES[weights.architecture].needs_weights
        assert name.startswith((weights.architecture, "srresnet"))
        assert name.endswith(f"-x{weights.scale}")
        assert weights.url.startswith("https://")
        assert weights.page.startswith("https://")
        assert weights.licence
        assert weights.trained
        assert weights.file.endswith((".pt", ".pth", ".pth.tar"))
        assert (weights.sha256 is None) == (weights.sha256_from is None)
        digits = re.search(r"-([0-9a-f]{8})\.pth?$", weights.file)
        if digits:
            assert weights.sha256 == digits.group(1)
        elif weights.sha256:
            assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
    files = [w.file for w in published_weights().values()]
    assert len(set(files)) == len(files)


def test_the_documentation_lists_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "baselines.md").read_text(encoding="utf-8")
    rows = {name: row for row in text.splitlines() for name in re.findall(r"`([a-z-]+-x\d)`", row) if row[0] == "|"}
    assert rows.keys() == published_weights().keys()
    for name, weights in published_weights().items():
        digits = "unverified" if weights.sha256 is None else "whole" if len(weights.sha256) == 64 else "first 8 digits"
        assert rows[name].endswith(f"| {weights.licence} | {digits} |")
        assert f"]({weights.page})" in rows[name]


def test_defaults() -> None:
    assert BASELINES["bicubic"].weights() == {}
    assert BASELINES["edsr"].weights() == {2: "edsr-x2", 3: "edsr-x3", 4: "edsr-x4"}
    assert BASELINES["rcan"].weights() == {s: f"rcan-x{s}" for s in (2, 3, 4, 8)}
    assert BASELINES["srgan"].weights()[4] == "srgan-x4"
    assert BASELINES["esrgan"].weights() == {4: "esrgan-x4"}


def test_fetched_weights_are_found_by_the_baselines_name(server: str) -> None:
    path = fetch_weights("edsr-x4")
    assert path == weights_folder() / "edsr.pt"
    assert path.read_bytes() == EDSR
    assert fetch_weights("edsr-x4") == path
    assert Handler.requests == ["/edsr.pt"]
    baseline = load_baseline("edsr", 4)
    assert (baseline.name, baseline.source, baseline.licence) == ("edsr", "https://example.org", "MIT")
    assert baseline.version == f"EDSR-PyTorch, edsr.pt, sha256 {hashlib.sha256(EDSR).hexdigest()}"
    assert load_baseline("edsr-prefix", 4).name == "edsr-prefix"


def test_checksums(server: str, tmp_path: Path) -> None:
    assert fetch_weights("edsr-prefix", tmp_path / "a").read_bytes() == EDSR
    said = complaint("edsr-wrong", tmp_path / "b")
    assert said.endswith(f"its SHA-256 is {hashlib.sha256(EDSR).hexdigest()}, not {'0' * 64}; removed, try again")
    assert list((tmp_path / "b").iterdir()) == []
    (tmp_path / "a" / "edsr.pt").write_bytes(b"something else")
    assert "is another file, by its SHA-256: move it away" in complaint("edsr-x4", tmp_path / "a")
    assert (tmp_path / "a" / "edsr.pt").read_bytes() == b"something else"


def test_without_a_checksum_one_must_agree(server: str, tmp_path: Path) -> None:
    assert "no published checksum" in complaint("srgan-x4", tmp_path)
    assert Handler.requests == []
    assert fetch_weights("srgan-x4", tmp_path, unverified=True).read_bytes() == SRGAN
    assert load_baseline("srgan", 4, tmp_path / "srgan.pth").licence == "unknown"


def test_what_does_not_arrive(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module.time, "sleep", lambda _: None)
    said = complaint("rcan-x4", tmp_path)
    assert said == f"rcan-x4: {server}/absent.pt: the server refuses (404 Not Found)"
    said = complaint("edsr-cut", tmp_path, unverified=True)
    assert "the connection was closed early" in said
    assert (tmp_path / "cut.pt.part").read_bytes() == EDSR[:1000]  # the next attempt goes on with it
    (tmp_path / "cut.pt.part").unlink()
    elsewhere = PublishedWeights("gone", "edsr", 4, "http://127.0.0.1:9/edsr.pt", "", "MIT", "", "0" * 8)
    nowhere = PublishedWeights("nowhere", "edsr", 4, "https://no-such-host.invalid/edsr.pt", "", "MIT", "", "0" * 8)
    monkeypatch.setattr(weights_module, "published_weights", lambda: {"gone": elsewhere, "nowhere": nowhere})
    assert complaint("gone", tmp_path).startswith("gone: http://127.0.0.1:9/edsr.pt: cannot be reached (")
    assert complaint("nowhere", tmp_path).startswith(
        "nowhere: https://no-such-host.invalid/edsr.pt: cannot be reached ("
    )
    assert complaint("mine", tmp_path) == "unknown weights 'mine': known are gone, nowhere"
    assert list(tmp_path.glob("*.p*")) == []


def test_where_it_cannot_be_written(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="folder cannot be made"):
        fetch_weights("edsr-x4", tmp_path / "file")
    (tmp_path / "edsr.pt").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        fetch_weights("edsr-x4", tmp_path)
