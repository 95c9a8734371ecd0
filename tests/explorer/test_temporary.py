"""Temporary folders: what killed processes leave is removed, what is not ours stays."""

import os
from pathlib import Path

import pytest

from vspsr.explorer.temporary import temporary_folder


def test_temporary_folders_that_were_left_are_removed_and_those_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ("vspsr-try-left", "another", "vspsr-try-link", "vspsr-try-pipe", "vspsr-try-file")
    left, *others = (tmp_path / name for name in names)
    (left / "inner").mkdir(parents=True)
    others[0].mkdir()
    others[1].symlink_to(others[0])
    os.mkfifo(others[2])
    others[3].touch()
    with temporary_folder("vspsr-try-") as used:
        (used / "a file").write_bytes(b"x")
        with temporary_folder("vspsr-try-") as folder:
            assert set(tmp_path.iterdir()) == {folder, used, *others}
            assert (used / "a file").read_bytes() == b"x"
    assert set(tmp_path.iterdir()) == set(others)
