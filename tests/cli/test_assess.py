"""`vspsr project`, `assess` and `calibrate`, as a user has them: files in, files out, exit codes, clear errors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Run, fails_clearly
from skimage import data

from vspsr import read_image, write_image
from vspsr.degradation import Degradation, imresize
from vspsr.images.picture import Picture
from vspsr.upscaling import degrade


def photograph(top: int = 60, left: int = 170, side: int = 64) -> Picture:
    array = data.astronaut()[top : top + side, left : left + side].copy()
    return Picture(torch.from_numpy(array).permute(2, 0, 1).int().contiguous())


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A true HR image, its LR image, and what an image program makes of that."""
    truth = photograph()
    lr = degrade(truth, Degradation(4))
    enlarged = imresize(lr.pixels.double(), scale=4).round().clamp(0, 255).int()
    paths = {name: tmp_path / folder / "a.png" for name, folder in (("hr", "hr"), ("lr", "lr"), ("sr", "sr"))}
    for name, picture in (("hr", truth), ("lr", lr), ("sr", Picture(enlarged))):
        paths[name].parent.mkdir()
        write_image(paths[name], picture)
    return paths


def test_project(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    result = run("project", files["sr"].parent, files["lr"].parent, "-o", "out", "--json")
    assert result.returncode == 0, result.stderr
    (report,) = json.loads(result.stdout)
    assert report["lr_values_wrong_before"] > 100
    assert (report["lr_values_wrong"], report["kept"]) == (0, False)
    assert 0.3 < report["moved_rms"] < report["moved_max"]
    assert run("check", tmp_path / "out/a.png", files["lr"]).returncode == 0
    again = run("project", files["sr"], files["lr"], "-o", "out")
    assert "before, 0 after; moved by" in again.stdout
    assert "kept" in again.stdout
    exact = run("project", files["hr"], files["lr"], "-o", "other")
    assert "0 before, 0 after; not moved" in exact.stdout


def test_project_takes_several_lr_images(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("lr", "sr"):
        picture = read_image(files[name])
        write_image(files[name].with_name("b.png"), replace(picture, pixels=picture.pixels.flip(2)))
    four = [tmp_path / kind / f"{name}.png" for kind in ("sr", "lr") for name in ("a", "b")]
    reports = json.loads(run("project", *four, "-o", "out", "--json").stdout)
    assert [r["lr_values_wrong"] for r in reports] == [0, 0]
    assert all(run("check", tmp_path / f"out/{n}.png", tmp_path / f"lr/{n}.png").returncode == 0 for n in "ab")
    fails_clearly(run("project", four[0], "-o", "out"), "and then their LR images")


def test_a_patch_is_where_lr_values_are_wrong(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    """As pasted: within a kernel of LR pixels 4 to 9 by 2 to 7."""
    patched = photograph()
    patched.pixels[:, 16:40, 8:32] = photograph(200, 60).pixels[:, 16:40, 8:32]
    write_image(tmp_path / "p.png", patched)
    report = json.loads(run("assess", tmp_path / "p.png", files["lr"], "--json").stdout)
    for (first, last), (low, high) in ((report["lr_wrong_rows"], (4, 9)), (report["lr_wrong_columns"], (2, 7))):
        assert low - 2 <= first <= low + 1
        assert high - 1 <= last <= high + 2
    line = run("check", tmp_path / "p.png", files["lr"])
    where = "within LR rows {} to {} and columns {} to {} (".format(
        *report["lr_wrong_rows"], *report["lr_wrong_columns"]
    )
    assert where in line.stdout


def test_project_says_what_stays_wrong(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    """A checkerboard of LR pixels is no downscaled picture."""
    board = (255 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2)).expand(3, -1, -1).int().contiguous()
    write_image(tmp_path / "board.png", Picture(board))
    result = run("project", files["sr"], tmp_path / "board.png", "-o", "out")
    assert result.returncode == 3
    (report,) = json.loads(run("project", files["sr"], tmp_path / "board.png", "-o", "out", "--json").stdout)
    assert f"{report['lr_values_wrong']} of 768 LR values wrong in 1 of 1 image: drawn at this size" in result.stderr
    assert (tmp_path / "out/a.png").exists()
    (tmp_path / "broken.png").write_bytes(b"no image")
    several = run("upscale", tmp_path / "board.png", tmp_path / "broken.png", "-o", "both", "--samples", 1)
    assert several.returncode == 1
    assert "LR values wrong in 1 of 1 image: " in several.stderr  # those that failed are not among them
    quick = run("project", files["sr"], tmp_path / "board.png", "-o", "quick", "--budget", 0, "--json")
    assert quick.returncode == 3
    assert json.loads(quick.stdout)[0]["lr_values_wrong"] >= report["lr_values_wrong"]
    fails_clearly(run("project", files["sr"], files["lr"], "--budget", -1), "'--budget'")
    wrong = run("project", files["sr"], files["sr"], "-o", "out")
    assert wrong.returncode == 2
    fails_clearly(wrong, "a.png", "HR 64×64 must be at least 2 times as large as LR 64×64")
    missing = run("project", files["sr"], tmp_path / "nothing.png", "-o", "out")
    fails_clearly(missing, "nothing.png", "no such file")


def test_assess(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    true = run("assess", files["hr"], files["lr"], "-o", "out", "--json")
    assert true.returncode == 0, true.stderr
    report = json.loads(true.stdout)
    assert report == json.loads((tmp_path / "out/a_report.json").read_text())
    assert (report["lr_values_wrong"], report["lr_values"]) == (0, 768)
    assert read_image(tmp_path / "out/a_unsupported.png").size == (64, 64)
    assert (tmp_path / "out/a_unlikely.png").exists()
    other = photograph(200, 60)
    write_image(tmp_path / "b.png", other)
    foreign = json.loads(run("assess", tmp_path / "b.png", files["lr"], "--json").stdout)
    assert not foreign["supported"]
    assert foreign["lr_values_wrong"] > 500
    assert foreign["unlikeliness"] > 1.5 * report["unlikeliness"]
    line = run("assess", files["sr"], files["lr"])
    assert "LR values are wrong" in line.stdout
    assert len(line.stdout.splitlines()) == 1
    fails_clearly(
        run("assess", files["hr"], files["lr"], "-o", "out"), "a_unlikely.png", "exists already: use `--overwrite`"
    )
    fails_clearly(run("assess", files["lr"], files["lr"]), "SR 16×16 must be exactly 4 times LR 16×16")


def test_calibrate_and_use_it(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        write_image(folder / f"{i:02d}.png", photograph(40 * (i // 4), 150 + 40 * (i % 4), 48))
    few = run("calibrate", folder, "--alpha", 0.1, "-o", "c.json")
    fails_clearly(few, "`--alpha` 0.1 and `--delta` 0.1 need at least 22 pictures, got 12")
    assert few.returncode == 2
    made = run("calibrate", folder, "--alpha", 0.3, "--delta", 0.3, "-o", "c.json")
    assert made.returncode == 0, made.stderr
    assert "from 12 images" in made.stdout
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["coverage"] >= 0.7
    assert len(content["by_size"]) == 4
    assert (content["model"], content["rounding"], content["true_pictures"]) == ("vspsr-x4", "per-pass", 12)
    assert len(content["unlikeliness"]) == 12
    fails_clearly(run("calibrate", folder, "-o", "c.json"), "c.json: exists already: use `--overwrite`")
    fails_clearly(run("calibrate", folder, "-o", "c.json/new.json"), "c.json: the output folder cannot be made")
    upscaled = run("upscale", files["lr"], "-o", "out", "--samples", 0, "--calibration", "c.json", "--intervals")
    assert upscaled.returncode == 0, upscaled.stderr
    low, high = (read_image(tmp_path / f"out/a_x4_{kind}.png").pixels for kind in ("low", "high"))
    truth = read_image(files["hr"]).pixels
    assert float(((low <= truth) & (truth <= high)).double().mean()) > 0.7
    judged = json.loads(run("assess", files["hr"], files["lr"], "--calibration", "c.json", "--json").stdout)
    assert judged["true_pictures"] == 12
    assert judged["p_value"] >= 1 / 13
    other = run("upscale", files["lr"], "--model", "vspsr-x8", "--calibration", "c.json", "--trust-mask")
    fails_clearly(other, "made for another model")
    fails_clearly(run("upscale", files["lr"], "--intervals"), "`--calibration` and `--intervals`")


def test_no_output_among_the_inputs(run: Run, tmp_path: Path) -> None:
    for name in ("sr", "lr"):
        (tmp_path / name).mkdir()
    for output in ("sr", "lr", "./lr/"):
        fails_clearly(run("project", "sr", "lr", "-o", output), "is a folder of inputs")
