"""Files and folders: what is kept, what is refused, and names of every kind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vspsr.images.io
from vspsr import VSpSR, read_image, write_image
from vspsr.cli.main import main
from vspsr.errors import ImageFileError, ModelError, OutputError
from vspsr.images.picture import Picture
from vspsr.upscaling.folders import Options, upscale_file
from vspsr.upscaling.pictures import compare

EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.png"


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return VSpSR.from_pretrained("vspsr-x4")


def photo(path: Path, left: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Picture(read_image(EXAMPLE).pixels[:, 20:30, left : left + 12]), overwrite=True)
    return path


def cli(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["vspsr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_outputs_of_another_picture_of_the_same_name_are_not_taken_for_its_own(model: VSpSR, tmp_path: Path) -> None:
    first, second = photo(tmp_path / "a" / "photo.png"), photo(tmp_path / "b" / "photo.png", left=60)
    options = Options(samples=1)
    upscale_file(first, tmp_path, model, "m", options)
    assert upscale_file(first, tmp_path, model, "m", options)["kept"]
    with pytest.raises(OutputError, match="outputs of another picture of this name exist"):
        upscale_file(second, tmp_path, model, "m", options)
    photo(first, left=60)  # changed in the meantime
    with pytest.raises(OutputError, match="another picture"):
        upscale_file(first, tmp_path, model, "m", options)
    upscale_file(second, tmp_path, model, "m", Options(samples=1, overwrite=True))
    assert compare(read_image(tmp_path / "photo_x4_s00.png"), read_image(second)).exact


def test_what_an_interrupted_run_left_is_not_taken_for_another_runs(model: VSpSR, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png")
    upscale_file(path, tmp_path, model, "m", Options(samples=2))
    (tmp_path / "photo_x4.json").unlink()
    before = (tmp_path / "photo_x4_s01.png").read_bytes()
    for seed in (0, 5):
        with pytest.raises(OutputError, match=r"photo_x4_s00\.png: exists, but photo_x4\.json does not say"):
            upscale_file(path, tmp_path, model, "m", Options(samples=2, seed=seed))
    assert (tmp_path / "photo_x4_s01.png").read_bytes() == before
    # Nor what an earlier run left of which another overwrote a part.
    upscale_file(path, tmp_path, model, "m", Options(samples=1, seed=5, overwrite=True))
    with pytest.raises(OutputError, match=r"photo_x4_s01\.png: exists"):
        upscale_file(path, tmp_path, model, "m", Options(samples=2, seed=5))
    report = upscale_file(path, tmp_path, model, "m", Options(samples=2, seed=5, overwrite=True))
    assert report["lr_not_met"].keys() == {"s00", "s01"}


def test_a_missing_file_is_told_even_where_its_outputs_exist(model: VSpSR, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png")
    upscale_file(path, tmp_path, model, "m", Options(samples=1))
    path.unlink()
    with pytest.raises(ImageFileError, match="no such file"):
        upscale_file(path, tmp_path, model, "m", Options(samples=1))


@pytest.mark.parametrize("name", ["[red]x", "[", "a]b[c", "ünï cödé"])
def test_names_with_brackets_are_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "[" / "x]"  # closes a tag that was never opened
    path = photo(folder / f"{name}.png")
    out = tmp_path / "[" / "out]"
    monkeypatch.chdir(tmp_path)
    assert cli("upscale", path, "-o", out, "--samples", 1, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert f"{name}.png: 1 samples" in printed
    assert str(out) in printed
    assert cli("degrade", path, "-o", out, "--scale", 2, monkeypatch=monkeypatch) == 0
    assert str(out) in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"{name}{suffix}" for suffix in ("_x4.json", "_x4_s00.png", "x2.png")
    )


def test_a_folder_named_like_a_closing_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    Path("[").mkdir()
    assert cli("degrade", path, "-o", "[/x]", "--scale", 2, monkeypatch=monkeypatch) == 0
    assert "1 of 1 images written to [/x]" in capsys.readouterr().out
    VSpSR.from_pretrained("vspsr-x4").save_pretrained("[/model]")
    assert cli("info", "[/model]", monkeypatch=monkeypatch) == 0
    assert "[/model]: x4" in capsys.readouterr().out


def test_a_name_too_long_for_its_outputs_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "in" / ("n" * 248 + ".png"))
    photo(tmp_path / "in" / "other.png")
    out = tmp_path / "out"
    assert cli("upscale", tmp_path / "in", "-o", out, "--samples", 1, monkeypatch=monkeypatch) == 1
    captured = capsys.readouterr()
    assert "File name too long" in captured.err
    assert "1 of 2 images done" in captured.out
    assert (out / "other_x4_s00.png").exists()


def test_files_to_degrade_whose_outputs_would_have_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = photo(tmp_path / "a" / "p.png"), photo(tmp_path / "b" / "p.png", left=60)
    out = tmp_path / "out"
    assert cli("degrade", a, b, "-o", out, "--overwrite", "--json", monkeypatch=monkeypatch) == 1
    captured = capsys.readouterr()
    assert "rename one of them" in captured.err
    assert ["error" in r for r in json.loads(captured.out)] == [False, True]
    assert compare(read_image(a), read_image(out / "px4.png"), 4).exact


@pytest.mark.parametrize("command", ["upscale", "degrade", "check"])
def test_what_does_not_fit_in_memory_is_refused_before_it_is_decoded(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "photo.png")
    pixels = 10 * 12
    # Enough to decode it, not to work on it.
    monkeypatch.setattr(vspsr.images.io, "available_memory", lambda: pixels * 30)
    arguments = {"upscale": ["-o", tmp_path / "o"], "degrade": ["-o", tmp_path / "o"], "check": [path]}[command]
    assert cli(command, path, *arguments, monkeypatch=monkeypatch) != 0
    assert "12×10 pixels need" in capsys.readouterr().err


def test_models_that_cannot_work_are_refused(model: VSpSR, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    state = model.state_dict()
    key = next(iter(state))
    save_file({**state, key: state[key] * torch.nan}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(ModelError, match=f"{key} has values that are not finite"):
        VSpSR.from_pretrained(tmp_path / "m")
    config = {**model.config, "options": {**model.config["options"], "channels": -5}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="not the configuration of a vspsr model"):
        VSpSR.from_pretrained(tmp_path / "m")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount a small disk")
@pytest.mark.parametrize("command", ["upscale", "degrade"])
def test_a_folder_that_takes_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read-only, as even root meets it."""
    path, disk = photo(tmp_path / "photo.png"), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert cli(command, path, "-o", disk, monkeypatch=monkeypatch) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert "cannot be written (Read-only file system)" in lines[0]
        assert cli(command, path, "-o", disk / "sub", monkeypatch=monkeypatch) == 2
        assert "the output folder cannot be made" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", str(disk)], check=True)
