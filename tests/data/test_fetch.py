"""Downloads against a local server that breaks the connection midway, forgets ranges, or lies."""

import errno
import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vspsr.cli.main import app
from vspsr.data import fetch as module
from vspsr.data.fetch import DIV2K, Archive, DownloadError, download, fetch
from vspsr.errors import OutputError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content``; the first ``breaks`` answers end after ``piece`` bytes."""

    content = CONTENT
    breaks = 0
    piece = 700_000
    ranges = True
    status = 200
    odd: dict[str, str] | None = None
    """Fields of an answer instead of the usual ones."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        if server.odd is not None:
            fields = dict(server.odd)
            self.send_response(int(fields.pop("status", 200)))
            for name, value in fields.items():
                self.send_header(name, value.replace("HERE", server.url))
            self.end_headers()
            self.wfile.write(b"x" * 10)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks > 0:
            server.breaks -= 1
            body = body[: server.piece]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def zipped(names: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("known", [True, False])
def test_a_broken_connection_is_taken_up_where_it_was(server: Server, tmp_path: Path, known: bool) -> None:
    server.breaks = 3
    told: list[tuple[int, int]] = []
    size, digest = (len(CONTENT), SHA256) if known else (None, None)
    download(server.url, tmp_path / "a", size, digest, lambda *a: told.append(a), pause=0)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.requests[0] is None
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in server.requests[1:] if r]
    assert len(starts) == 3
    assert all(0 <= i * 700_000 - start < i * 20_000 for i, start in enumerate(starts, 1))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_later_command_goes_on(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:1_000_000])
    download(server.url, tmp_path / "a", len(CONTENT), SHA256, pause=0)
    assert server.requests == ["bytes=1000000-"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, 1
    download(server.url, tmp_path / "a", len(CONTENT), SHA256, pause=0)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="SHA-256"):
        download(server.url, tmp_path / "a", len(CONTENT), "0" * 64, pause=0)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_removes_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="3000000 bytes instead of 2000000"):
        download(server.url, tmp_path / "a", 2_000_000, None, pause=0)
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Is there a network"):
        download("http://127.0.0.1:1/a.zip", tmp_path / "a", pause=0)


def test_not_found(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match=r"the server refuses \(404"):
        download(server.url, tmp_path / "a", pause=0)
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DownloadError, match="503"):
        download(server.url, tmp_path / "a", pause=0)
    assert len(server.requests) == module._ATTEMPTS


def test_archives_end_up_where_training_looks(server: Server, tmp_path: Path) -> None:
    server.content, server.breaks, server.piece = zipped({"0001.png": b"x" * 999, "0002.png": b"y"}), 1, 50
    folder = fetch(DIV2K["tr_4X"], tmp_path, server.url)
    assert folder == tmp_path / "DIV2K-tr_4X"
    assert sorted(p.name for p in folder.iterdir()) == ["0001.png", "0002.png"]
    asked = len(server.requests)
    assert fetch(DIV2K["tr_4X"], tmp_path, server.url) == folder
    assert len(server.requests) == asked
    server.content = zipped({"DIV2K_train_LR_bicubic/X4/0001x4.png": b"z"})
    fetch(Archive("DIV2K_train_LR_bicubic_X4.zip"), tmp_path, server.url)
    assert (tmp_path / "DIV2K_train_LR_bicubic" / "X4" / "0001x4.png").read_bytes() == b"z"
    assert not list(tmp_path.glob("*.zip*"))


def test_a_damaged_archive_is_removed(server: Server, tmp_path: Path) -> None:
    whole = bytearray(zipped({"0001.png": bytes(9999)}))
    whole[45] ^= 255
    server.content = bytes(whole)
    with pytest.raises(DownloadError, match="damaged"):
        fetch(DIV2K["va_4X"], tmp_path, server.url)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(
    ("odd", "begun", "said"),
    [
        ({"status": "302", "Location": "HERE"}, False, "infinite loop"),
        ({"status": "302", "Location": "http://[::1"}, False, "makes no sense"),
        ({"status": "302", "Location": "file:///etc/passwd"}, False, "refuses"),
        ({"Content-Length": "abc"}, False, "odd length"),
        ({"Content-Length": "-1"}, False, "odd length"),
        ({"Content-Length": "9" * 500}, False, "odd length"),
        ({"Content-Encoding": "gzip", "Content-Length": "10"}, False, "comes as gzip"),
        ({"status": "416"}, False, "refuses"),
        ({"status": "416", "Content-Range": "bytes */3"}, True, "is another file"),
        ({"status": "206", "Content-Range": "bytes 0-9/10"}, True, "another part"),
        ({"Transfer-Encoding": "chunked"}, False, "cannot be reached"),
    ],
)
def test_odd_answers(server: Server, tmp_path: Path, odd: dict[str, str], begun: bool, said: str) -> None:
    server.odd = odd
    if begun:
        (tmp_path / "a.part").write_bytes(b"begun")
    with pytest.raises(DownloadError, match=said) as caught:
        download(server.url, tmp_path / "a", pause=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "a", "http://[::1/a", f"http://{'a' * 99}/"]
)
def test_odd_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match=r"makes no sense|begins with http|cannot be reached"):
        download(url, tmp_path / "a", pause=0)


def test_a_disk_that_is_full_is_not_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OutputError, match=r"a: cannot be written \(No space left on device\)"):
        download(server.url, tmp_path / "a", pause=0)
    assert len(server.requests) == 1


def spoiled(kind: str) -> bytes:
    content = bytearray(zipped({"a/x.png": b"hello" * 9}))
    directory = content.find(b"PK\x01\x02")
    if kind == "encrypted":
        content[6] |= 1
        content[directory + 8] |= 1
    elif kind == "unknown compression":
        content[8:10] = content[directory + 10 : directory + 12] = b"\x63\0"
    elif kind == "damaged bzip2":
        content[8:10] = content[directory + 10 : directory + 12] = b"\x0c\0"
    elif kind == "damaged LZMA":
        content[8:10] = content[directory + 10 : directory + 12] = b"\x0e\0"
    elif kind == "cut":
        del content[-9:]
    elif kind == "text":
        content = bytearray(b"<html>")
    return bytes(content)


@pytest.mark.parametrize("kind", ["encrypted", "unknown compression", "damaged bzip2", "damaged LZMA", "cut", "text"])
def test_archives_that_cannot_be_unpacked(server: Server, tmp_path: Path, kind: str) -> None:
    server.content = spoiled(kind)
    with pytest.raises(DownloadError, match=r"a\.zip: damaged, or not a plain zip file"):
        fetch(Archive("a.zip"), tmp_path, server.url)
    assert not list(tmp_path.glob("*.zip*"))


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "./x.png", "../../a/x.png", "a\\b/x.png"])
def test_archives_stay_in_their_folder(server: Server, tmp_path: Path, name: str) -> None:
    server.content = zipped({name: b"hello"})
    root = tmp_path / "deep" / "root"
    folder = fetch(Archive("a.zip"), root, server.url)
    assert folder == root / "a"
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert all(folder in p.parents or p == root / ".a.done" for p in files)
    assert len(files) == 2


@pytest.mark.parametrize("note", [b"", b"../..", b"..", b".", b"/", b"\xff\xfe", b"gone", b"a" * 5000, None])
def test_a_spoiled_note_of_what_is_there_is_made_anew(server: Server, tmp_path: Path, note: bytes | None) -> None:
    server.content = zipped({"x.png": b"hello"})
    if note is None:
        os.mkfifo(tmp_path / ".a.done")
        with pytest.raises(OutputError, match="is not a regular file"):
            fetch(Archive("a.zip"), tmp_path, server.url)
        return
    (tmp_path / ".a.done").write_bytes(note)
    assert fetch(Archive("a.zip"), tmp_path, server.url) == tmp_path / "a"
    assert (tmp_path / ".a.done").read_bytes() == b"a"


def test_command(server: Server, tmp_path: Path) -> None:
    server.content = zipped({"0001.png": b"x"})
    arguments = ["data", "fetch", "div2k", "--root", str(tmp_path), "--mirror", server.url, "--parts", "tr_4X,va_4X"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "DIV2K-va_4X" / "0001.png").exists()
    result = CliRunner().invoke(app, [*arguments[:-1], "tr_4x"])
    assert isinstance(result.exception, ValueError)
    assert "did you mean `tr_4X`?" in str(result.exception)


def test_published_archives_have_sizes_and_checksums() -> None:
    known = [a for n, a in DIV2K.items() if n.startswith(("train", "valid"))]
    assert len(known) == 6
    assert all(a.size and a.sha256 and len(a.sha256) == 64 for a in known)
