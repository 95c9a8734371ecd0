"""Files and folders: what is kept, what is refused, and names of every kind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vspsr.images.io
from vspsr import Degradation, VSpSR, read_image, write_image
from vspsr.cli.main import main
from vspsr.errors import ImageFileError, ModelError, OutputError
from vspsr.files import printable
from vspsr.images.picture import Picture
from vspsr.upscaling import compare
from vspsr.upscaling.folders import Options, upscale_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.png"


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
    assert report["outputs"].keys() == {"photo_x4_s00.png", "photo_x4_s01.png"}


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
    assert f"{name}.png: 1 sample of" in printed
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
    assert "1 of 1 image done, outputs in [/x]" in capsys.readouterr().out
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


COMMANDS = [["upscale", "--samples", 1], ["degrade", "--scale", 4]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
@pytest.mark.parametrize(
    "names",
    [("a/p.png", "b/p.png"), ("p.png", "p.tif"), ("e\u0301.png", "\u00e9.png"), ("caf\udce9.png", "b/caf\udce9.png")],
    ids=["folders", "suffixes", "Unicode", "bytes"],
)
def test_files_whose_outputs_would_have_one_name(
    command: list[object],
    names: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first is done, whatever exists; the other is named."""
    try:
        a, b = photo(tmp_path / "in" / names[0]), photo(tmp_path / "in" / names[1], left=60)
    except OutputError:
        pytest.skip("no such names on this disk")
    out = tmp_path / "out"
    assert cli(*command, a, b, "-o", out, "--overwrite", "--json", monkeypatch=monkeypatch) == 1
    captured = capsys.readouterr()
    assert printable(b) in captured.err
    assert "rename one of them" in captured.err
    assert ["error" in r for r in json.loads(captured.out)] == [False, True]
    made = out / f"{a.stem}{'_x4_s00' if command[0] == 'upscale' else 'x4'}.png"
    hr, lr = (made, a) if command[0] == "upscale" else (a, made)
    assert compare(read_image(hr), read_image(lr), 4).exact


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_file_given_twice_is_done_once(
    command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "in" / "p.png")
    monkeypatch.chdir(tmp_path)
    inputs = [path, Path("in/p.png"), path.parent]
    assert cli(*command, *inputs, "-o", "out", "--json", monkeypatch=monkeypatch) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_outputs_are_never_inputs(
    command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The input folder is refused for the outputs; of files named, as by *.png, outputs of others are refused."""
    folder = photo(tmp_path / "in" / "p.png").parent
    (tmp_path / "link").symlink_to(folder)
    for output in (folder, tmp_path / "link", tmp_path / "in" / ".." / "in"):
        assert cli(*command, folder, "-o", output, monkeypatch=monkeypatch) == 2
        assert "folder of inputs" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["p.png"]
    assert cli(*command, folder / "p.png", "-o", folder, monkeypatch=monkeypatch) == 0
    names = {p.name for p in folder.iterdir()}
    monkeypatch.chdir(folder)
    capsys.readouterr()
    for _ in range(2):
        assert cli(*command, *sorted(folder.glob("*.png")), "-o", ".", "--json", monkeypatch=monkeypatch) == 1
        captured = capsys.readouterr()
        assert ["error" in r for r in json.loads(captured.out)] == [False, True]
        assert "is an output of" in captured.err
        assert {p.name for p in folder.iterdir()} == names
    # Elsewhere they are images like any other.
    assert cli(*command, folder, "-o", tmp_path / "more", monkeypatch=monkeypatch) == 0


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_stopped_folder_goes_on(
    command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("abc"):
        photo(tmp_path / "in" / f"{name}.png", left=40 + 10 * number)
    arguments = [*command, tmp_path / "in", "-o", tmp_path / "out"]

    def stopping(path: Path, **options: object) -> Picture:
        if path.name == "b.png":
            raise KeyboardInterrupt
        return read_image(path, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        for module in ("upscaling.folders", "images.sources"):
            patch.setattr(f"vspsr.{module}.read_image", stopping)
        assert cli(*arguments, monkeypatch=monkeypatch) == 130
    assert "1 of 3 images done" in capsys.readouterr().err
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert cli(*arguments, "--json", monkeypatch=monkeypatch) == 0
    assert [r["kept"] for r in json.loads(capsys.readouterr().out)] == [True, False, False]
    assert {p: p.stat().st_mtime_ns for p in first} == first


def test_missed_values_end_with_a_code_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixels of black and white by chance are no downscaled picture. Bad files matter more to scripts."""
    generator = torch.Generator().manual_seed(0)
    write_image(tmp_path / "noise.png", Picture(255 * torch.randint(0, 2, (1, 5, 5), generator=generator).int()))
    photo(tmp_path / "photo.png")
    for options in ([], [], ["--json"]):  # made, kept, kept
        inputs = [tmp_path / "photo.png", tmp_path / "noise.png"]
        code = cli("upscale", *inputs, "-o", tmp_path / "o", "--samples", 1, *options, monkeypatch=monkeypatch)
        captured = capsys.readouterr()
        assert code == 3
        (line,) = captured.err.strip().splitlines()
        assert "of 25 LR values wrong in 1 of 2 images: drawn at this size" in line
    exact, missed = (r["lr_values_wrong"] for r in json.loads(captured.out))
    assert exact == 0
    assert line.split()[1] == str(missed)
    report = json.loads((tmp_path / "o" / "noise_x4.json").read_text())
    assert report["outputs"]["noise_x4_s00.png"]["lr_values_wrong"] == missed > 0
    inputs.append(tmp_path / "absent.png")
    assert cli("upscale", *inputs, "-o", tmp_path / "o", "--samples", 1, monkeypatch=monkeypatch) == 1


def test_a_budget_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An LR picture of a checkerboard, which is met only if it is searched for."""
    i = torch.arange(24) // 5
    board = Degradation(4).down_integers(255 * ((i[:, None] + i) % 2)[None])
    write_image(tmp_path / "board.png", Picture(board.int()))
    for folder, options, code in (("o", [], 0), ("b", ["--budget", 0], 3)):
        arguments = ["upscale", tmp_path / "board.png", "-o", tmp_path / folder, "--samples", 1, *options]
        assert cli(*arguments, monkeypatch=monkeypatch) == code
        report = json.loads((tmp_path / folder / "board_x4.json").read_text())
        assert report["budget"] == (0 if options else None)
        assert (report["outputs"]["board_x4_s00.png"]["lr_values_wrong"] > 0) == bool(options)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_check_takes_every_depth_that_upscale_makes(
    bits: int, alpha: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = read_image(EXAMPLE).pixels[:, 20:28, 40:49]
    pixels = whole if bits == 8 else whole * 257 - 3 * (whole > 9).int()
    opacity = torch.full((1, 8, 9), 200 * (257 if bits == 16 else 1), dtype=torch.int32) if alpha else None
    write_image(tmp_path / "p.png", Picture(pixels, bits, opacity))
    for asked in ("auto", "8", "16"):
        out = tmp_path / asked
        arguments = ["upscale", tmp_path / "p.png", "-o", out, "--samples", 1, "--bits", asked]
        assert cli(*arguments, monkeypatch=monkeypatch) == 0
        hr = out / "p_x4_s00.png"
        capsys.readouterr()
        assert cli("check", hr, tmp_path / "p.png", "--json", monkeypatch=monkeypatch) == 0
        assert json.loads(capsys.readouterr().out)["bits"] == (bits if asked == "auto" else int(asked))
        made = read_image(hr)
        made.pixels[0, 9, 9] += -64 * made.white // 255 if made.pixels[0, 9, 9] > made.white // 2 else made.white // 4
        write_image(hr, made, overwrite=True)
        assert cli("check", hr, tmp_path / "p.png", monkeypatch=monkeypatch) == 3


@pytest.mark.parametrize("samples", [10_001, 10**9, 10**30])
def test_samples_without_end_are_refused(
    samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "p.png")
    assert cli("upscale", path, "-o", tmp_path / "o", "--samples", samples, monkeypatch=monkeypatch) == 2
    assert f"`--samples` must be an integer of at most 10000, got {samples}" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


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
        assert cli(command, path, "-o", disk, monkeypatch=monkeypatch) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert "cannot be written (Read-only file system)" in lines[0]
        assert cli(command, path, "-o", disk / "sub", monkeypatch=monkeypatch) == 2
        assert "the output folder cannot be made" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unreadable_subfolder_does_not_stop_the_rest(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where a picture beside it has its name."""
    real = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    for name in ("a.png", "sub.png", "sub/b.png", "sub2/c.png"):
        photo(tmp_path / "in" / name)
    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.chdir(tmp_path)
    command = ["upscale", "-r", "in", "-o", "out", "--samples", 1, *(["--json"] if as_json else [])]
    assert cli(*command, monkeypatch=monkeypatch) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["error: in/sub: cannot be read (Permission denied)"]
    made = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*.png"))
    assert made == ["a_x4_s00.png", "sub2/c_x4_s00.png", "sub_x4_s00.png"]
    if as_json:
        assert [r["input"] for r in json.loads(captured.out) if "error" in r] == ["in/sub"]
    assert cli("upscale", "in/sub", "-o", "out2", monkeypatch=monkeypatch) == 2
    assert not Path("out2").exists()


def outputs_of(command: str) -> tuple[list[object], str]:
    """A command on in/photo.png, and the name of one of its outputs."""
    commands: dict[str, tuple[list[object], str]] = {
        "upscale": (["--samples", 1], "photo_x4_s00.png"),
        "degrade": (["--scale", 2], "photox2.png"),
        "figures": (["--figure", "atoms"], "photo_atoms.png"),
        "project": (["in/lr.png"], "photo.png"),
        "assess": (["in/lr.png"], "photo_unlikely.png"),
    }
    return commands[command]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("command", ["upscale", "degrade", "figures", "project", "assess"])
def test_no_output_replaces_an_input(
    command: str,
    other: bool,
    link: Callable[[Path, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither its own nor another of the command, by whatever link."""
    monkeypatch.chdir(tmp_path)
    lr = photo(tmp_path / "in" / "lr.png")
    inputs: list[object] = ["in/photo.png"]
    if command in ("project", "assess"):
        hr = torch.zeros(3, 40, 48, dtype=torch.int32)
        write_image(tmp_path / "in" / "photo.png", Picture(hr))
    else:
        photo(tmp_path / "in" / "photo.png", left=60)
        inputs.append("in/lr.png")
    options, name = outputs_of(command)
    (tmp_path / "out").mkdir()
    target = lr if other else tmp_path / "in" / "photo.png"
    link(tmp_path / "out" / name, target)
    before = target.read_bytes()
    assert cli(command, *inputs, *options, "-o", "out", "--overwrite", monkeypatch=monkeypatch) in (1, 2)
    assert f"out/{name}: would replace an input: give another folder" in capsys.readouterr().err
    assert target.read_bytes() == before
    assert (tmp_path / "out" / name).samefile(target)


def test_calibrate_replaces_none_of_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "in" / "photo.png")
    before = path.read_bytes()
    assert cli("calibrate", path.parent, "-o", path, "--overwrite", monkeypatch=monkeypatch) == 2
    assert "would replace an input" in capsys.readouterr().err
    assert path.read_bytes() == before
