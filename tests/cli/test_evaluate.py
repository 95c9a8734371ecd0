"""`vspsr evaluate` as a user has it: folders in, a report out; interrupted, resumed, distributed; bad input."""

import json
import math
import os
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from evaluation_tools import AbsoluteDifference, fails, image_set, noisy, photo, run, save, stand_in

from vspsr.evaluation.scoring import Scorer

__all__ = ["run", "stand_in"]

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return image_set(tmp_path / "set")


def command(images: Path, output: Path, *more: object) -> list[object]:
    return ["evaluate", "--results", images / "sr", "--hr", images / "hr", "-o", output, "--processes", 1, *more]


def records(output: Path) -> dict[str, int]:
    """Record → when it was written."""
    return {p.name: p.stat().st_mtime_ns for p in sorted((output / "images").glob("*.json"))}


def test_the_main_job(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    result = run(*command(images, output, "--json", "--pictures", 2))
    assert result.code == 0, result.err
    summary = json.loads(result.out)
    assert summary == json.loads((output / "summary.json").read_text())
    assert summary["n_images"] == 3
    assert summary["n_samples"] == 2
    settings = summary["settings"]
    assert settings == json.loads((output / "settings.json").read_text())
    assert (settings["name"], settings["hr"], settings["backend"]) == ("sr", "hr", "stlpips-alex")
    assert settings["backend_version"] == "stand-in"
    assert set(summary["versions"]) == {"vspsr", "torch", "numpy", "python"}
    assert len((output / "metrics.csv").read_text().splitlines()) == 1 + 3 * 2
    assert len((output / "references.csv").read_text().splitlines()) == 1 + 3 * 2
    assert list(records(output)) == ["a.json", "b.json", "c.json"]
    assert (output / "images" / "b" / "gt.webp").exists()
    assert not (output / "images" / "c").exists()
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "stlpips-alex" in page
    assert str(tmp_path) not in page + (output / "settings.json").read_text()  # reports are shared
    # The table for people.
    shown = run(*command(images, output)).out
    assert "stlpips-alex" in shown
    assert "diversity score" in shown
    assert "index.html" in shown.replace("\n", "")


def test_all_there_already(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    assert run(*command(images, output)).code == 0
    before, summary = records(output), (output / "summary.json").read_bytes()
    (output / "summary.json").unlink()
    (output / "index.html").unlink()
    assert run(*command(images, output)).code == 0
    assert records(output) == before
    assert (output / "summary.json").read_bytes() == summary
    assert (output / "index.html").exists()


def test_going_on_after_an_interruption(
    run: Run, images: Path, tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, whole = tmp_path / "report", tmp_path / "whole"
    assert run(*command(images, whole)).code == 0
    score = Scorer.score

    def stopped(self: Scorer, pair: object, folder: Path | None = None) -> object:
        if getattr(pair, "stem", "") == "b":
            raise KeyboardInterrupt
        return score(self, pair, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "score", stopped)
    result = run(*command(images, output))
    assert result.code == 130
    assert result.err.strip().startswith("stopped: 1 images are done and kept")
    assert "run the same command again" in result.err
    assert not (output / "summary.json").exists()
    first = records(output)
    assert list(first) == ["a.json"]
    monkeypatch.setattr(Scorer, "score", score)
    assert run(*command(images, output)).code == 0
    assert records(output)["a.json"] == first["a.json"]
    for name in ("summary.json", "metrics.csv", "references.csv", "settings.json"):
        assert (output / name).read_bytes() == (whole / name).read_bytes(), name


def test_files_that_have_changed_are_scored_anew(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    assert run(*command(images, output)).code == 0
    before = records(output)
    save(images / "sr" / "b_s01.png", noisy(photo(40, 72, 4, 5), 99))
    (output / "images" / "c.json").write_text("{")  # damaged
    assert run(*command(images, output)).code == 0
    after = records(output)
    assert after["a.json"] == before["a.json"]
    assert after["b.json"] > before["b.json"]
    assert after["c.json"] > before["c.json"]


def test_other_settings_need_another_folder(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    assert run(*command(images, output)).code == 0
    before = records(output)
    fails(run(*command(images, output, "--border", 4)), "settings.json: a report with border = 0, not 4", "--overwrite")
    assert records(output) == before
    assert (output / "summary.json").exists()
    (images / "hr" / "c.png").unlink()
    for i in range(2):
        (images / "sr" / f"c_s0{i}.png").unlink()
    fails(run(*command(images, output)), "images = ['a', 'b', 'c'], not ['a', 'b']")
    assert run(*command(images, output, "--border", 4, "--overwrite")).code == 0
    assert list(records(output)) == ["a.json", "b.json"]
    assert not (output / "images" / "c").exists()


def test_folders_that_hold_something_else_are_left_alone(
    run: Run, images: Path, tmp_path: Path, stand_in: None
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("my page")
    fails(run(*command(images, tmp_path / "mine", "--overwrite")), "mine: holds other files than a report")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["index.html"]
    fails(run(*command(images, tmp_path / "mine" / "index.html")), "index.html: is not a folder")


def test_a_sample_that_cannot_be_decoded(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """What no header tells costs one image, not the night: all others are done when it is reported."""
    bad = images / "sr" / "a_s01.jpg"
    (images / "sr" / "a_s01.png").unlink()
    from PIL import Image

    hr = photo(64, 48)
    Image.fromarray(hr.permute(1, 2, 0).to(torch.uint8).numpy()).save(bad, quality=95)
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    output = tmp_path / "report"
    fails(run(*command(images, output)), "a_s01.jpg: ", "2 of 3 images are done", "run the same command again")
    assert list(records(output)) == ["b.json", "c.json"]
    assert not (output / "summary.json").exists()
    before = records(output)
    bad.write_bytes(content)
    assert run(*command(images, output)).code == 0
    assert {k: v for k, v in records(output).items() if k != "a.json"} == before


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("count", ["sample 1 of the HR image b is missing: it has 1 samples, a has 2"]),
        ("size", ["b_s01.png: 71×40 pixels, expected 72×40"]),
        ("bits", ["b_s01.png: 16 bits, but b.png has 8"]),
        ("grey", ["b_s01.png: grey, but b.png is RGB"]),
        ("corrupt", ["b_s01.png: damaged or cut short"]),
        ("small", ["c.png: 24×24 pixels are too few for stlpips-alex"]),
        ("nothing", ["no such folder"]),
    ],
)
def test_bad_input_stops_before_anything_is_computed(
    run: Run, images: Path, tmp_path: Path, what: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def network(name: str, _device: str) -> AbsoluteDifference:
        loaded.append(name)
        return AbsoluteDifference()

    monkeypatch.setattr("vspsr.evaluation.scoring.perceptual_backend", network)
    bad = images / "sr" / "b_s01.png"
    if what == "count":
        bad.unlink()
    elif what == "size":
        save(bad, photo(40, 71))
    elif what == "bits":
        save(bad, photo(40, 72) * 257, 16)
    elif what == "grey":
        save(bad, photo(40, 72)[:1])
    elif what == "corrupt":
        bad.write_bytes(bad.read_bytes()[:-40])
    elif what == "small":
        for path in [images / "hr" / "c.png", *(images / "sr").glob("c_*")]:
            save(path, photo(24, 24))
    elif what == "nothing":
        images = tmp_path / "elsewhere"
    fails(run(*command(images, tmp_path / "report")), *words)
    assert not (tmp_path / "report").exists()
    assert loaded == (["stlpips-alex"] if what == "small" else [])


def test_options_that_do_not_go_together(run: Run, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    fails(run(*command(images, output, "--baseline", "bicubic")), "exactly one of --model, --results and --baseline")
    fails(run(*command(images, output, "--backend", "lpips-resnet")), "`--backend` must be one of lpips-alex")
    fails(run(*command(images, output, "--samples", 3)), "`--samples` 3, but the HR image a has 2")
    model = ["evaluate", "--hr", images / "hr", "-o", output, "--model"]
    fails(run(*model, "vspsr-x4", "--scale", 8), "`--scale` 8 does not fit: the model vspsr-x4 upscales by 4")
    fails(run(*model, "vspsr-x5"), "unknown model 'vspsr-x5'")
    fails(run(*model, "vspsr-x4", "--temperature", -1), "`temperature`", "-1")
    fails(run(*model, "vspsr-x4", "--device", "cuda:99"), "`--device` 'cuda:99' cannot be used here")
    fails(run("evaluate", "--hr", images / "hr", "-o", output, "--baseline", "waifu"), "unknown baseline 'waifu'")
    assert not output.exists()


def test_no_network_for_perceptual_weights(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))

    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    result = run(*command(images, tmp_path / "report", "--backend", "lpips-alex"))
    fails(result, "lpips-alex: the weights", "Name or service not known", "stlpips-alex")
    assert not (tmp_path / "report").exists()


def test_matplotlib_is_missed_at_once(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: None
) -> None:
    monkeypatch.setattr("vspsr.evaluation.runner.find_spec", lambda _name: None)
    fails(run(*command(images, tmp_path / "report")), "matplotlib", "vspsr[eval]")


FILES = ("summary.json", "metrics.csv", "references.csv", "settings.json")


def test_the_same_numbers_however_the_images_are_dealt_out(run: Run, images: Path, tmp_path: Path) -> None:
    """One process; two worker processes; two ranks of a distributed run: the same files, byte for byte."""
    assert run(*command(images, tmp_path / "one", "--challenge-only")).code == 0
    workers = run(*command(images, tmp_path / "workers", "--challenge-only", "--processes", 2))
    assert workers.code == 0, workers.err
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What torchrun tells its processes.
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "vspsr.cli", *map(str, command(images, tmp_path / "ranks", "--challenge-only"))]
    ranks = [
        subprocess.Popen(line, env={**os.environ, **told, "RANK": str(i)}, stdout=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    said = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert ["report:" in text for text in said] == [True, False]  # rank 0 alone speaks
    for name in FILES:
        expected = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "workers" / name).read_bytes() == expected, name
        assert (tmp_path / "ranks" / name).read_bytes() == expected, name
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert math.isfinite(summary["ntire21"]["lpips"])
    assert 0 < summary["ntire21"]["diversity"] < 100


def torchrun(images: Path, output: Path) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vspsr.cli"]
    line = [sys.executable, *launcher, *map(str, command(images, output))]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_under_torchrun(run: Run, images: Path, tmp_path: Path) -> None:
    """The real launcher and every figure."""
    assert run(*command(images, tmp_path / "one")).code == 0
    result = torchrun(images, tmp_path / "ranks")
    assert result.returncode == 0, result.stderr
    for name in FILES:
        assert (tmp_path / "ranks" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name


@pytest.mark.slow
def test_a_mistake_is_told_once_by_all_ranks_together(images: Path, tmp_path: Path) -> None:
    (images / "sr" / "b_s01.png").unlink()
    result = torchrun(images, tmp_path / "ranks")
    assert result.returncode != 0
    assert result.stderr.count("sample 1 of the HR image b is missing") == 1
    assert "Traceback (most recent call last)" not in result.stderr.split("torch/distributed")[0]


@pytest.mark.slow
def test_peers_on_set14(run: Run, shared: Path, tmp_path: Path) -> None:
    """A grey HR image against RGB results, and sizes that are no multiple of 8; figures of other scripts' making.

    Bicubic as in the README, which the package stlpips-pytorch itself gives too.
    """
    output = tmp_path / "report"
    peers = ["--results", shared / "peers/Set14_x4/SRGAN", "--hr", shared / "data/test/Set14"]
    result = run("evaluate", *peers, "-o", output, "--json", "--pictures", 0)
    assert result.code == 0, result.err
    means = json.loads(result.out)
    assert means["means"]["lpips"]["mean"] == pytest.approx(0.126, abs=0.001)
    assert means["means_of_bicubic"]["lpips"]["mean"] == pytest.approx(0.402, abs=0.001)
