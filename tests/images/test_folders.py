"""Which files of a folder are images."""

import os
import tempfile
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vspsr.errors import ImageFileError, ImageFileWarning
from vspsr.images.folders import SUFFIXES, composed_stem, image_files


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(found: list[Path], folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in found]


def test_images_of_a_folder_come_by_name_and_files_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", "c.txt", "sub/d.txt", "._a.jpg", ".hidden.png", "sub.png/e.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(image_files([tmp_path]), tmp_path) == ["a.jpg", "b.PNG"]
    assert image_files([tmp_path / "c.txt", tmp_path / "none.png"]) == [tmp_path / "c.txt", tmp_path / "none.png"]
    assert image_files([tmp_path / "._a.jpg"]) == [tmp_path / "._a.jpg"]
    with pytest.raises(ImageFileError, match="no image files in this folder"):
        image_files([tmp_path / "sub", tmp_path])


def test_all_suffixes_in_any_case(tmp_path: Path) -> None:
    wanted = sorted([f"a{s}" for s in SUFFIXES] + [f"b{s.upper()}" for s in SUFFIXES])
    touch(tmp_path, *wanted)
    assert names(image_files([tmp_path]), tmp_path) == wanted
    assert {".jfif", ".jpe", ".hif", ".gif"} <= SUFFIXES


def test_what_looks_like_an_image_and_is_left_out_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.jxl", "c.TXT", ".d.jxl")
    (tmp_path / "gone.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.warns(ImageFileWarning) as caught:
        assert names(image_files([tmp_path]), tmp_path) == ["a.png"]
    (warning,) = caught
    assert str(warning.message).endswith(": b.jxl, gone.png, pipe.png")
    touch(tmp_path, *(f"{i}.dng" for i in range(99)))
    with pytest.warns(ImageFileWarning, match="and 97 more"):
        image_files([tmp_path])


def test_links_to_folders_are_followed_once_and_last(tmp_path: Path) -> None:
    touch(tmp_path, "top/sub/a.png", "elsewhere/b.png", "elsewhere/deep/c.png", "top/.hidden/d.png")
    (tmp_path / "top" / "0").symlink_to("sub")  # sorted before the folder it leads to
    (tmp_path / "top" / "circle").symlink_to(".")
    (tmp_path / "top" / "up").symlink_to("../top/sub")
    (tmp_path / "top" / "set").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to("../top")
    (tmp_path / "top" / "loop").symlink_to("loop")
    top = tmp_path / "top"
    assert names(image_files([top], recursive=True), top) == ["set/b.png", "set/deep/c.png", "sub/a.png"]
    (tmp_path / "link").symlink_to("top")
    assert len(image_files([tmp_path / "link"], recursive=True)) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
@pytest.mark.parametrize("mode", [0, 0o444, 0o111])
def test_a_folder_that_cannot_be_read_is_named_or_returned(mode: int) -> None:
    """Mode 444: names can be listed, and nothing be opened."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        touch(top, "a.png", "sub/b.png", "sub.png")
        (top / "sub").chmod(mode)
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(ImageFileError, match=r"sub(/b\.png)?: cannot be read"):
                image_files([top], recursive=True)
            with pytest.raises(ImageFileError, match=r"sub(/b\.png)?: cannot be read"):
                image_files([top / "sub"])
            assert names(image_files([top], True, keep_unreadable=True), top) == ["a.png", "sub", "sub.png"]
            assert image_files([top / "sub"], keep_unreadable=True) == [top / "sub"]
        finally:
            if root:
                os.seteuid(0)
            (top / "sub").chmod(0o755)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20))
def test_names_that_differ_in_composition_only_are_one(name: str) -> None:
    forms = {composed_stem(Path(unicodedata.normalize(form, name) + ".png")) for form in ("NFC", "NFD")}
    assert len(forms) == 1


def test_names_that_are_not_utf_8_are_found(tmp_path: Path) -> None:
    try:
        touch(tmp_path, os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("no such names on this disk")
    assert len(image_files([tmp_path])) == 1
