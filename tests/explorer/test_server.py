"""`vspsr explore` as a process: the address it prints, how it ends, and what it leaves behind."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from explorer_tools import http_client, photo, png, tiny_model


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A process that explores a photo, and a client that has opened its page."""
    tiny_model().save_pretrained(tmp_path / "model")
    (tmp_path / "photo.png").write_bytes(png(photo()))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    command = [sys.executable, "-m", "vspsr.cli", "explore", "photo.png", "--model", "model", "--no-browser"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", line)
    assert address, line
    with httpx.Client(base_url=address[0].split("/?")[0], timeout=120) as client:
        assert client.get(address[0]).status_code == 200
        yield process, client
    process.kill()
    process.wait()


def folders(path: Path) -> list[Path]:
    """The explorers' own temporary folders."""
    return list((path / "temporary").glob("vspsr-explore-*"))


def opened(client: httpx.Client) -> str:
    """The address of the photo's session, once it is open."""
    base = f"/api/sessions/{client.post('/api/sessions/photo').json()['session']}"
    while not client.get(base).json()["ready"]:
        time.sleep(0.05)
    return base


def test_it_serves_the_photo_and_ends_with_control_c(
    started: tuple[subprocess.Popen[str], httpx.Client], tmp_path: Path
) -> None:
    process, client = started
    assert client.get("/api/about").json()["photo"] == "photo.png"
    assert client.get(opened(client)).json()["width"] == 64
    assert len(folders(tmp_path)) == 1
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip() == "stopped"
    assert folders(tmp_path) == []


def test_killed_in_the_middle_of_an_export_it_leaves_no_half_file(
    started: tuple[subprocess.Popen[str], httpx.Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page gets an error, not half a file, and the user's folder is as it was."""
    process, client = started
    base = opened(client)
    others = [{"kind": "sample", "seed": s} for s in range(32)]
    report = client.post(f"{base}/exports", json={"what": "samples", "others": others, "bits": 16}).json()
    while report["state"] == "waiting" or report["done"] < 2:
        report = client.get(f"{base}/jobs/{report['job']}").json()
    assert report["state"] == "running"
    process.kill()
    process.wait()
    with pytest.raises(httpx.TransportError):
        client.get(f"{base}/jobs/{report['job']}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "photo.png", "temporary"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (left,) = folders(tmp_path)
    assert list(left.iterdir()) != []
    with http_client() as http:  # the next one clears up
        assert folders(tmp_path) == [http.app.state.folder] != [left]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "none.png: no such file"),
        (["--host", "192.0.2.1", "--model", "model"], "cannot listen at 192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    command = [sys.executable, "-m", "vspsr.cli", "explore", "--no-browser", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert folders(tmp_path) == []
