"""The command line as a user has it: files in, files out, one clear line where something is wrong."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Run, fails_clearly

from vspsr import VSpSR, read_image, write_image
from vspsr.cli.evaluate import evaluate
from vspsr.cli.options import Kernel
from vspsr.degradation import KERNELS
from vspsr.evaluation.dataset import find_pairs
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.protocol import PROTOCOLS
from vspsr.images.picture import Picture
from vspsr.metrics.backends import BACKENDS

EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.png"


@pytest.fixture
def run_process(tmp_path: Path) -> Run:
    """The same, in a process of its own."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vspsr.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300)

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small part of the example photo."""
    whole = read_image(EXAMPLE)
    path = tmp_path / "photo.png"
    write_image(path, Picture(whole.pixels[:, 20:44, 40:76]))
    return path


def test_the_main_job(run: Run, run_process: Run, photo: Path, tmp_path: Path) -> None:
    options = ["--samples", 3, "--mean", "--stddev", "--contact-sheet"]
    result = run_process("upscale", photo, "-o", "out", *options, "--json")
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out"
    names = ["json", "mean.png", "s00.png", "s01.png", "s02.png", "sheet.png", "stddev.npy", "stddev.png"]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        "photo_x4.json" if n == "json" else f"photo_x4_{n}" for n in names
    )
    (report,) = json.loads(result.stdout)
    on_disk = json.loads((out / "photo_x4.json").read_text())
    assert {**on_disk, "kept": False} == report
    assert report["lr_values_wrong"] == 0
    assert report["samples"] == 3
    pictures = [report["outputs"][f"photo_x4_{n}.png"] for n in ("s00", "s01", "s02", "mean")]
    assert all((p["lr_values_wrong"], p["lr_max_deviation"]) == (0, 0) for p in pictures)
    assert all(0.25 < p["moved_rms"] < p["moved_max"] < 32 for p in pictures)
    assert report["outputs"] == {
        **dict(zip((f"photo_x4_{n}.png" for n in ("s00", "s01", "s02", "mean")), pictures, strict=True)),
        "photo_x4_sheet.png": {"samples": 3},
        **{key: {} for key in ("photo_x4_stddev.png", "photo_x4_stddev.npy")},
    }
    assert (report["model"], report["seed"], report["temperature"]) == (
        "vspsr-x4",
        0,
        VSpSR.from_pretrained("vspsr-x4").temperature,
    )
    assert report["degradation"] == {"scale": 4, "kernel": "bicubic", "rounding": "per-pass"}
    assert {"vspsr", "torch", "python", "device", "input_sha256", "model_config", "model_sha256"} <= report.keys()
    assert report["seconds"] > 0
    stddev = np.load(out / "photo_x4_stddev.npy")
    assert stddev.shape == (96, 144, 3)
    assert stddev.dtype == np.float32
    for name in ("s00", "s01", "s02", "mean"):
        hr = read_image(out / f"photo_x4_{name}.png")
        assert hr.size == (96, 144)
        check = run("check", out / f"photo_x4_{name}.png", photo)
        assert check.returncode == 0
        assert "exact: all 864 LR pixels" in check.stdout
    only = run("upscale", photo, "-o", "only", "--samples", 0, "--stddev").stdout
    assert "0 samples of 144×96, no HR image of the space" in only
    # Outputs are kept, new ones added, and other settings refused.
    before = (out / "photo_x4_s01.png").stat().st_mtime_ns
    again = run("upscale", photo, "-o", "out", *options)
    assert "kept" in again.stdout
    (out / "photo_x4_s00.png").unlink()
    assert run("upscale", photo, "-o", "out", "--samples", 4).returncode == 0
    assert (out / "photo_x4_s00.png").exists()
    assert (out / "photo_x4_s03.png").exists()
    assert (out / "photo_x4_s01.png").stat().st_mtime_ns == before
    fails_clearly_among(run("upscale", photo, "-o", "out", "--seed", 5), "seed = 0", "--overwrite")
    old = (out / "photo_x4_s01.png").read_bytes()
    assert run("upscale", photo, "-o", "out", "--seed", 5, "--overwrite", "--samples", 2).returncode == 0
    assert (out / "photo_x4_s01.png").read_bytes() != old


def fails_clearly_among(result: subprocess.CompletedProcess[str], *words: str) -> None:
    fails_clearly(result, *words)
    assert "0 of 1 image done" in result.stdout


def test_same_seed_same_files_whatever_the_number_of_samples_and_threads(
    run_process: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_process("upscale", photo, "-o", "a", "--samples", 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    run_process("upscale", photo, "-o", "b", "--samples", 2)
    for name in ("photo_x4_s00.png", "photo_x4_s01.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_folder_with_bad_files_among_good_ones(run: Run, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "good.png")
    (folder / "bad.png").write_text("no image")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("not looked at")
    shutil.copy(photo, folder / "good.tif")  # a PNG by content; the name would clash
    result = run("upscale", folder, "-o", "out", "--samples", 1, "--json")
    assert result.returncode == 1
    reports = json.loads(result.stdout)
    assert [("error" in r) for r in reports] == [True, True, False, True]
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 3
    assert any("rename one of them" in e for e in errors)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good_x4.json", "good_x4_s00.png"]


def test_degrade_and_check(run: Run, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 21, 33), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    write_image(tmp_path / "hr.png", Picture(pixels))
    result = run("degrade", "hr.png", "-o", "lr", "--scale", 4, "--json")
    assert result.returncode == 0, result.stderr
    (report,) = json.loads(result.stdout)
    assert report["lr_size"] == [6, 9]
    exact = run("check", "hr.png", "lr/hrx4.png", "--scale", 4, "--json")
    assert exact.returncode == 0
    assert json.loads(exact.stdout) == {
        "exact": True,
        "lr_pixels_wrong": 0,
        "lr_pixels": 54,
        "lr_values_wrong": 0,
        "lr_values": 162,
        "lr_wrong_rows": None,
        "lr_wrong_columns": None,
        "lr_max_deviation": 0,
        "lr_psnr": None,
        "scale": 4,
        "bits": 8,
    }
    lr = read_image(tmp_path / "lr" / "hrx4.png")
    lr.pixels[0, 2, 3] += -7 if lr.pixels[0, 2, 3] > 100 else 7
    write_image(tmp_path / "other.png", lr)
    different = run("check", "hr.png", "other.png", "--scale", 4)
    assert different.returncode == 3
    assert "1 of 162 LR values wrong, in 1 of 54 LR pixels, by at most 7 levels of 8 bits" in different.stdout
    assert ", within LR rows 2 to 2 and columns 3 to 3 (LR-PSNR " in different.stdout
    kept = (tmp_path / "lr" / "hrx4.png").stat().st_mtime_ns
    assert "hr.png: kept" in run("degrade", "hr.png", "-o", "lr").stdout
    assert (tmp_path / "lr" / "hrx4.png").stat().st_mtime_ns == kept
    shutil.copy(tmp_path / "other.png", tmp_path / "lr" / "hrx4.png")
    fails_clearly_among(run("degrade", "hr.png", "-o", "lr"), "hrx4.png", "exists")
    assert run("degrade", "hr.png", "-o", "lr", "--overwrite").returncode == 0
    assert run("check", "hr.png", "lr/hrx4.png", "--scale", 4).returncode == 0


def test_degrade_crops_as_the_evaluation_does(run: Run, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 129, 97), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    (tmp_path / "hr").mkdir()
    write_image(tmp_path / "hr" / "a.png", Picture(pixels))
    write_image(tmp_path / "ax.png", Picture(pixels[:, :128, :96].contiguous()))
    assert run("degrade", "ax.png", "-o", "other").returncode == 0
    assert run("degrade", "hr", "-o", "whole").returncode == 0
    assert run("degrade", "hr", "-o", "lr", "--crop").returncode == 0
    made, expected = read_image(tmp_path / "lr/ax4.png"), read_image(tmp_path / "other/axx4.png")
    assert torch.equal(made.pixels, expected.pixels)
    assert find_pairs(tmp_path / "hr", 4, tmp_path / "lr")[0].lr_size == (32, 24)
    with pytest.raises(EvaluationError, match="expected 24×32 at scale 4, as `vspsr degrade --crop` makes it"):
        find_pairs(tmp_path / "hr", 4, tmp_path / "whole")
    fails_clearly_among(run("degrade", "lr/ax4.png", "-o", "b", "--crop", "--scale", 40), "24×32 pixels are too few")


def test_names_of_a_tree_are_those_in_the_tree(run: Run, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write_image(tmp_path / "in" / folder / "c.png", Picture(torch.full((3, 8, 8), 90, dtype=torch.int32)))
    arguments = ["upscale", "in", "-r", "-o", "out", "--samples", 1]
    assert [line.split(":")[0] for line in run(*arguments).stdout.splitlines()[:2]] == ["a/c.png", "b/c.png"]
    assert [r["input"] for r in json.loads(run(*arguments, "--json").stdout)] == ["a/c.png", "b/c.png"]


def test_models_and_info(run: Run) -> None:
    listed = json.loads(run("models", "--json").stdout)
    assert [(m["name"], m["scale"]) for m in listed] == [("vspsr-x4", 4), ("vspsr-x4-explore", 4), ("vspsr-x8", 8)]
    assert "vspsr-x8" in run("models").stdout
    assert ["experimental" in m["for"] for m in listed] == [False, True, False]
    info = json.loads(run("info", "vspsr-x4", "--json").stdout)
    assert info["options"]["scale"] == 4
    assert "M parameters" in run("info", "vspsr-x4").stdout


def test_tables_and_published_weights(run: Run) -> None:
    table = json.loads(run("evaluate", "--table", 3, "--json").stdout)
    assert table["number"] == 3
    assert "VSpSR" in run("evaluate", "--table", 3).stdout
    fails_clearly(run("evaluate", "report"), "report: no such folder: give one that `vspsr evaluate` has written")
    fails_clearly(
        run("evaluate", "--baseline", "edsr", "--hr", ".", "-o", "r", "--samples", 3), "`--samples` 3 goes with"
    )
    fails_clearly(run("evaluate", "--model", "vspsr-x4"), "`--hr` is missing")
    listed = json.loads(run("baselines", "--json").stdout)
    assert {"edsr", "rcan", "srgan", "esrgan"} <= {w["architecture"] for w in listed}
    assert "esrgan" in run("baselines").stdout
    fails_clearly(run("baselines", "--fetch", "nothing"), "'nothing'")
    fails_clearly(run("baselines", "--fetch", "edsr_x4"), "did you mean `edsr-x4`?")
    known = {None if w["sha256"] is None else len(w["sha256"]) for w in listed}
    shown = {"first 8 digits": 8 in known, "whole": 64 in known, "none: needs --unverified": None in known}
    table = " ".join(run("baselines").stdout.split())
    assert {text: text.split()[0] in table for text in shown} == shown


@pytest.mark.parametrize("command", ["upscale", "degrade", "check", "models", "info", "train", "export", "baselines"])
def test_every_command_has_an_example_in_its_help(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert f"Example:  vspsr {command}" in result.stdout


def test_bad_arguments(run: Run, photo: Path, tmp_path: Path) -> None:
    fails_clearly(run("upscale", photo, "--temperature", -1), "`--temperature`", "-1")
    fails_clearly(run("upscale", photo, "--seed", -1), "`--seed`", "-1")
    fails_clearly(run("upscale", photo, "--scale", 3), "`--scale` 3", "upscale by 4 and 8")
    fails_clearly(run("upscale", photo, "--model", "vspsr-x9"), "unknown model 'vspsr-x9'", "vspsr-x4")
    fails_clearly(run("upscale", photo, "--device", "quantum"), "`--device` 'quantum'")
    fails_clearly(run("degrade", photo, "--scale", 1), "`--scale`", "got 1")
    fails_clearly(run("degrade", photo, "--kernel", "foo"), "'--kernel'", "'foo'")
    fails_clearly(run("upscale", photo, "--format", "tiff", "--quality", 5), "`--quality` 5")
    fails_clearly(run("upscale", photo, "--contact-sheet", "--trust-mask"), "`--calibration`", "`--trust-mask`")
    fails_clearly(run("check", photo, photo), "must be at least 2 times as large")
    none = run("upscale", photo, "--samples", 0)
    fails_clearly(none, "`--samples` 0")
    assert none.returncode == 2
    fails_clearly(run("info", "nowhere"), "unknown model 'nowhere'")
    fails_clearly(run("upscale", photo, "--samples", -1), "'--samples'", "see vspsr upscale --help")
    fails_clearly(run("upscale", photo, "--bits", 12), "'--bits'", "12")
    fails_clearly(run("upscale", photo, "--sample", 3), "--sample")
    assert "argument" in run("upscale").stderr
    fails_clearly(run("upscal", photo), "upscal")
    assert "Commands" in run().stdout
    assert not (tmp_path / "vspsr-out").exists()


def test_choices_are_all_there_are() -> None:
    shown = {
        p.name: p.annotation.__args__[0].__args__
        for p in inspect.signature(evaluate).parameters.values()
        if p.name in ("backend", "protocol")
    }
    assert set(shown["backend"]) == set(BACKENDS)
    assert set(shown["protocol"]) == set(PROTOCOLS)
    assert set(Kernel.__args__[0].__args__) == set(KERNELS)


def test_bad_files(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is text")
    (tmp_path / "empty.png").touch()
    pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    for name, words in (
        ("text.png", "text.png"),
        ("empty.png", "empty"),
        ("cut.jpg", "cut.jpg"),
        ("missing.png", "missing.png"),
    ):
        result = run("upscale", name, "-o", "parent/out")
        fails_clearly_among(result, words)
        assert result.returncode == 2
        assert not (tmp_path / "parent").exists()
    (tmp_path / "nothing").mkdir()
    fails_clearly(run("upscale", "nothing", "-o", "out"), "no image files in this folder")


@pytest.mark.parametrize(
    ("model", "note"),
    [
        (("--model", "vspsr-x4"), ""),
        (("--model", "vspsr-x4-explore"), ""),
        (("--model", "./own"), "./own was not trained on JPEGs and may draw their ripples\n"),
        (("--scale", "8"), "upscaled with vspsr-x8, which was trained on JPEGs"),
        ((), "upscaled with vspsr-x4-explore, which was trained on JPEGs"),
    ],
)
def test_what_is_said_about_models_and_jpegs(run: Run, tmp_path: Path, model: tuple[str, ...], note: str) -> None:
    from PIL import Image

    VSpSR("vspm", {"scale": 4, "n_atoms": 8}).save_pretrained(tmp_path / "own")
    Image.new("RGB", (16, 16), (90, 120, 60)).save(tmp_path / "a.jpg")
    Image.new("RGB", (16, 16), (90, 120, 60)).save(tmp_path / "b.png")
    result = run("upscale", "a.jpg", "b.png", "-o", "out", *model, "--samples", 1)
    assert result.returncode == 0
    if note:
        assert f"1 JPEG: {note}" in result.stderr
    else:
        assert "JPEG" not in result.stderr
    assert "JPEG" not in run("upscale", "b.png", "-o", "other", *model, "--samples", 1).stderr


def test_the_model_follows_from_the_picture(run: Run, tmp_path: Path) -> None:
    """Whatever else is in the folder, by whatever way: the same file gives the same image."""
    from PIL import Image
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut()[40:56, 200:216])
    for name in ("jpeg.jpg", "named.png"):
        photo.save(tmp_path / name, "jpeg", quality=80)
    photo.save(tmp_path / "pixels.png")
    wanted = {"jpeg": "vspsr-x4-explore", "named": "vspsr-x4-explore", "pixels": "vspsr-x4"}
    assert (
        run("upscale", *(f for f in ("jpeg.jpg", "named.png", "pixels.png")), "-o", "all", "--samples", 1).returncode
        == 0
    )
    for path in (tmp_path / "jpeg.jpg", tmp_path / "named.png", tmp_path / "pixels.png"):
        name = wanted[path.stem]
        report = json.loads((tmp_path / "all" / f"{path.stem}_x4.json").read_text())
        assert report["model"] == name
        assert report["coefficients_wrong"] == report["lr_values_wrong"] == 0
        run("upscale", path, "-o", "alone", "--model", name, "--samples", 1)
        file = f"{path.stem}_x4_s00.png"
        assert (tmp_path / "all" / file).read_bytes() == (tmp_path / "alone" / file).read_bytes()
    run("upscale", "jpeg.jpg", "-o", "as-pixels", "--as-pixels", "--samples", 1)
    assert json.loads((tmp_path / "as-pixels" / "jpeg_x4.json").read_text())["model"] == "vspsr-x4"
    fails_clearly(run("upscale", "jpeg.jpg", "--scale", 3, "-o", "x3"), "`--scale` 3", "--model")


def test_a_bomb_is_refused_before_it_is_decoded(run_process: Run, tmp_path: Path) -> None:
    """30,000×30,000 pixels of one colour: a small file, gigabytes in memory, more after super-resolution."""
    import pyvips

    pyvips.Image.black(30_000, 30_000, bands=3).pngsave(str(tmp_path / "bomb.png"), compression=1)
    fails_clearly_among(run_process("upscale", "bomb.png", "-o", "out"), "bomb.png", "GB")


def test_outputs_that_cannot_be_written(run_process: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    fails_clearly(run_process("upscale", photo, "-o", "file"), "file", "cannot be made")
    fails_clearly(run_process("upscale", photo, "-o", "/proc/none"), "cannot be made")


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk(run_process: Run, photo: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        result = run_process("upscale", photo, "-o", disk, "--samples", 3)
        fails_clearly_among(result, "No space left on device")
        assert not [p for p in disk.iterdir() if p.name.startswith(".")]
        for whole in disk.glob("*.png"):
            read_image(whole)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_model_folder_with_wrong_keys(run: Run, photo: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    VSpSR.from_pretrained("vspsr-x4").save_pretrained(tmp_path / "model")
    save_file({"stray": torch.zeros(1)}, tmp_path / "model" / "model.safetensors")
    fails_clearly(run("upscale", photo, "--model", "model"), "does not fit the model's configuration", "missing")
