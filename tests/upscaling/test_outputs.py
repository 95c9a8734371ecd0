"""Outputs and their report: whatever stops a run, at any moment, the same command does the rest, to the same bytes."""

import errno
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import kill_points
import pytest
import torch
from kill_points import ALL, ending, small_model

from vspsr import VSpSR, read_image, write_image
from vspsr.errors import OutputError
from vspsr.images.picture import Picture
from vspsr.upscaling import folders, outputs
from vspsr.upscaling.folders import Options, upscale_file


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return small_model()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small, smooth, grey picture: quick, and its space is met exactly."""
    path = tmp_path / "photo.png"
    write_image(path, Picture(torch.arange(60, 72, dtype=torch.int32).view(1, 3, 4)))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file; of reports without the time that it took."""
    return {p.name: re.sub(rb'"seconds": [^,\n]+', b"", p.read_bytes()) for p in folder.iterdir()}


def made(photo: Path, folder: Path, model: VSpSR, *steps: Options) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    for options in steps:
        upscale_file(photo, folder, model, "m", options)
    return contents(folder)


def test_of_two_that_begin_together_with_other_settings_one_goes_on(tmp_path: Path) -> None:
    """Both have found an empty folder. With the same settings both go on: they make the same files."""
    settings: dict[str, object] = {"input_sha256": "a", "seed": 1}
    both = [outputs.Outputs(tmp_path / "a.json", {**settings, "seed": seed}, {"a": {}}, False) for seed in (1, 2, 1)]
    about = {"lr_values": 1, "coefficients": None}
    with both[0].being_made(about):
        with pytest.raises(OutputError, match="seed = 1 exist, not 2"), both[1].being_made(about):
            pytest.fail("it went on")
        with both[2].being_made(about):
            both[2].write("a", b"x", {})
        both[0].write("a", b"x", {})
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["seed"], report["outputs"]) == (1, {"a": {}})


STOPS = [
    (KeyboardInterrupt(), False, 1.0),
    (OSError(errno.ENOSPC, "No space left on device"), True, 0.0),
    (TypeError("bug"), False, 0.0),
]


@pytest.mark.parametrize(("error", "overwriting", "saved_every"), STOPS)
def test_after_any_stop_the_same_command_does_the_rest(
    error: BaseException,
    overwriting: bool,
    saved_every: float,
    photo: Path,
    model: VSpSR,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "_SAVED_EVERY", saved_every)
    whole = made(photo, tmp_path / "whole", model, ALL)
    options = replace(ALL, overwrite=overwriting)

    def end() -> None:
        raise error

    for at in count(1):
        for after in (False, True):
            folder = tmp_path / f"{at}{after}"
            if overwriting:  # what was there was made with other settings
                made(photo, folder, model, replace(ALL, seed=7))
            with monkeypatch.context() as patch:
                patch.setattr(Path, "replace", ending(at, after, end))
                stopped = True
                with suppress(KeyboardInterrupt, OutputError, OSError, TypeError):
                    made(photo, folder, model, options)
                    stopped = False
            assert made(photo, folder, model, options) == whole, folder.name
        if not stopped:
            break
    assert at > 8  # every file was a point


def test_after_any_kill_the_same_command_does_the_rest(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    """No handler runs, and temporary files are left."""
    whole = made(photo, tmp_path / "whole", model, ALL)
    points = tmp_path / "points"
    subprocess.run([sys.executable, kill_points.__file__, photo, points], check=True, timeout=300)
    assert len(list(points.iterdir())) > 16  # before and after each file
    for folder in points.iterdir():
        assert contents(folder) == whole, folder.name


def test_any_order_of_wishes_ends_alike(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    """More samples, fewer, other outputs: what is there at the end is what one run would have made."""
    whole = made(photo, tmp_path / "whole", model, replace(ALL, samples=102))
    steps = [Options(samples=0), Options(samples=5, mean=True), replace(ALL, samples=3), Options(samples=102), ALL]
    assert made(photo, tmp_path / "steps", model, *steps, replace(ALL, samples=102)) == whole
    names = [f"photo_x2_s{i:02d}.png" for i in range(102)]
    report = json.loads((tmp_path / "steps" / "photo_x2.json").read_text())
    assert [n for n in report["outputs"] if re.search(r"_s\d+\.png", n)] == names
    assert report["samples"] == 102


def test_a_contact_sheet_shows_the_samples_that_are_asked_for(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    few, more = (replace(ALL, samples=n) for n in (1, 4))
    wanted = made(photo, tmp_path / "more", model, more)["photo_x2_sheet.png"]
    found = made(photo, tmp_path / "both", model, few, more)["photo_x2_sheet.png"]
    assert found == wanted != made(photo, tmp_path / "few", model, few)["photo_x2_sheet.png"]


def test_finished_files_are_not_made_again(
    photo: Path, model: VSpSR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(photo, tmp_path / "o", model, ALL)
    monkeypatch.setattr(folders, "SavedPictures", None)
    assert upscale_file(photo, tmp_path / "o", model, "m", ALL)["kept"]


CHANGES = {
    "seed": lambda m, p: (m, p, Options(seed=1)),
    "temperature": lambda m, p: (m, p, Options(temperature=0.5)),
    "bits": lambda m, p: (m, p, Options(bits=16)),
    "degradation": lambda m, p: (m, p, Options(rounding="single")),
    "another model": lambda m, p: (small_model(1), p, Options()),
    "another model (its temperature)": lambda m, p: (small_model(0, 0.5), p, Options()),
    "another picture": lambda m, p: (m, _changed(p), Options()),
    "vspsr": lambda m, p: (m, p, Options()),
    "torch": lambda m, p: (m, p, Options()),
}


def _changed(path: Path) -> Path:
    picture = read_image(path)
    write_image(path, replace(picture, pixels=picture.pixels + 1), overwrite=True)
    return path


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_the_outputs_is_compared(
    change: str, photo: Path, model: VSpSR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "o"
    before = made(photo, folder, model, Options(samples=1))
    if change == "vspsr":
        monkeypatch.setattr(folders, "__version__", "99")
    if change == "torch":
        monkeypatch.setattr(torch, "__version__", "99")
    other, path, options = CHANGES[change](model, photo)
    options = replace(options, samples=2)
    with pytest.raises(OutputError, match=change.partition(" (")[0]) as error:
        upscale_file(path, folder, other, "m", options)
    assert "photo_x2.json: " in str(error.value)
    assert contents(folder) == before
    made(path, folder, other, replace(options, overwrite=True))
    assert upscale_file(path, folder, other, "m", options)["kept"]


@pytest.mark.parametrize("name", ["s00.png", "s01.png", "mean.png", "stddev.png", "stddev.npy", "sheet.png"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_files_of_others_are_left_alone(name: str, kind: str, photo: Path, model: VSpSR, tmp_path: Path) -> None:
    folder = tmp_path / "o"
    folder.mkdir()
    path = folder / f"photo_x2_{name}"
    if name != "s00.png":
        made(photo, folder, model, Options(samples=1))
    {"file": path.touch, "folder": path.mkdir, "dangling link": lambda: path.symlink_to("nowhere")}[kind]()
    before = {p.name for p in folder.iterdir()}
    with pytest.raises(OutputError, match=re.escape(f"{path}: exists")):
        upscale_file(photo, folder, model, "m", ALL)
    assert {p.name for p in folder.iterdir()} == before


SPOILED = ["", "null", "[]", "{}", "\ufeffx", "[" * 100_000, '{"x":' * 3000, '{"outputs": {}}']
CHANGED: list[dict[str, object]] = [
    {"outputs": 5},
    {"outputs": None},
    {"outputs": ["photo_x2_s00.png"]},
    {"outputs": {"photo_x2_s00.png": 5}},
    {"outputs": {"photo_x2_s00.png": {"lr_values_wrong": "0"}}},
    {"outputs": {"../photo.png": None}},
    {"outputs": {"": None}},
    {"seconds": "1"},
    {"seconds": 10**400},
    {"seconds": None},
]


@pytest.mark.parametrize("spoiled", [*SPOILED, *CHANGED], ids=lambda s: str(s)[:40])
def test_a_spoiled_report_is_named(spoiled: str | dict[str, object], photo: Path, model: VSpSR, tmp_path: Path) -> None:
    folder = tmp_path / "o"
    whole = made(photo, folder, model, ALL)
    report = folder / "photo_x2.json"
    text = json.dumps({**json.loads(report.read_text()), **spoiled}) if isinstance(spoiled, dict) else spoiled
    report.write_text(text, encoding="utf-8")
    with pytest.raises(OutputError, match=re.escape(f"{report}: ")):
        upscale_file(photo, folder, model, "m", ALL)
    assert made(photo, folder, model, replace(ALL, overwrite=True)) == whole


def test_a_report_that_is_no_file(photo: Path, model: VSpSR, tmp_path: Path) -> None:
    for number, make in enumerate((os.mkfifo, Path.mkdir, lambda p: p.symlink_to("photo_x2.json"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "photo_x2.json")
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=r"photo_x2\.json: "):
                upscale_file(photo, folder, model, "m", Options(samples=1, overwrite=overwrite))
        assert len(list(folder.iterdir())) == 1
