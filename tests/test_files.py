"""Files come complete or not at all; what is read is checked first; names are printable."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vspsr.errors import ImageFileError, OutputError
from vspsr.files import clear_stale, make_folder, one_line, printable, read_json, read_text, replacing

WRITER = """
import sys, time
from vspsr.files import replacing
with replacing(sys.argv[1], overwrite=True) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def writing(*paths: Path) -> list[subprocess.Popen[str]]:
    """Processes in the middle of writing a file each."""
    command = [sys.executable, "-c", WRITER]
    processes = [subprocess.Popen([*command, str(p)], stdout=subprocess.PIPE, text=True) for p in paths]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
    return processes


def temporaries(folder: Path) -> list[str]:
    return [p.name for p in folder.glob(".vspsr-*.tmp")]


@pytest.mark.parametrize("how", ["make_folder", "replacing"])
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path: Path, how: str) -> None:
    killed, living = writing(tmp_path / "a.png", tmp_path / "b.png")
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(temporaries(tmp_path)) == 2
        assert not (tmp_path / "a.png").exists()
        if how == "make_folder":
            make_folder(tmp_path)
        else:
            with replacing(tmp_path / "c.png") as file:
                file.write(b"whole")
        assert len(temporaries(tmp_path)) == 1
        living.send_signal(signal.SIGINT)  # an exception inside: it cleans up itself
        living.wait()
        assert temporaries(tmp_path) == []
        assert not (tmp_path / "b.png").exists()
    finally:
        for process in (killed, living):
            process.kill()
            process.communicate()


def test_without_locks_only_old_temporaries_are_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("vspsr.files.lock", no_locks)
    old, young = tmp_path / ".vspsr-0.tmp", tmp_path / ".vspsr-1.tmp"
    for path, days in ((old, 3), (young, 0.1)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - days * 86400,) * 2)
    with replacing(tmp_path / "a") as file:
        file.write(b"x")
    assert temporaries(tmp_path) == [young.name]


def test_only_own_temporary_files_are_cleared(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".vspsr-pipe.tmp")  # opening it would block
    (tmp_path / ".vspsr-folder.tmp").mkdir()
    others = [".vspsr-key", "vspsr-1.tmp", ".other.tmp"]
    for name in others:
        (tmp_path / name).touch()
    clear_stale(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*others, ".vspsr-pipe.tmp", ".vspsr-folder.tmp"}
    clear_stale(tmp_path / "absent")


def interrupt(path: Path) -> None:
    with replacing(path, overwrite=True) as file:
        file.write(b"new")
        raise KeyboardInterrupt


def test_a_file_is_not_replaced_by_half_of_another(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupt(path)
    assert path.read_bytes() == b"old"
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", link)
    for name, existing in (("a", False), ("b", True)):
        with pytest.raises(OutputError, match="exists") if existing else nullcontext(), replacing(tmp_path / name) as f:
            f.write(b"ours")
            if existing:
                (tmp_path / name).write_bytes(b"theirs")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"ours", "b": b"theirs"}


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyError("bug")])
def test_errors_of_what_is_written_are_not_taken_for_those_of_the_disk(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match="bug"), replacing(tmp_path / "a"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "device", "latin", "large", "null"])
def test_what_cannot_be_read_as_text_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "report.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "latin":
        path.write_bytes(b"caf\xe9")
    elif kind == "large":
        path.write_bytes(b" " * 1001)
    elif kind == "null":
        path = tmp_path / "a\0b"
    with pytest.raises(ImageFileError) as caught:
        read_text(path, limit=1000, error=ImageFileError)
    assert str(caught.value).startswith(one_line(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 200000, '{"x":' * 3000, "9" * 5000, '{"a": 1} x', '"\ud800'], ids=lambda t: t[:6]
)
def test_spoiled_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(OutputError, match=r"report\.json"):
        read_json(path)


def test_json_and_text_of_any_editor_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('\ufeff{\r\n"é": [1]}\r\n'.encode())
    assert read_json(path) == {"é": [1]}
    assert read_text(path) == '{\n"é": [1]}\n'


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_printable_names_reach_no_terminal_as_commands(name: str) -> None:
    shown = printable(name)
    assert shown.encode("utf-8").decode() == shown  # strict
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in shown)
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    assert printable(one_line(name)) == one_line(name)


def test_printable_names_stay_readable() -> None:
    assert printable(Path("Grün [bold] 12:a:30 😀.png")) == "Grün [bold] 12:a:30 😀.png"
    assert printable(os.fsdecode(b"caf\xe9\x1b[31m\n.png")) == r"caf\xe9\x1b[31m\x0a.png"
    assert printable("a\u202eb\u2028\ud800") == r"a\u202eb\u2028\ud800"
    assert one_line("a\n b\x1b") == r"a b\x1b"
