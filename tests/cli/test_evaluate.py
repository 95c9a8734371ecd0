"""`vspsr evaluate` as a user has it: folders in, a report out; interrupted, resumed, with workers; bad input."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import Run
from command_line import fails_clearly as fails
from evaluation_tools import AbsoluteDifference, image_set, noisy, photo, save, stand_in

from vspsr import VSpSR
from vspsr.errors import counted
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.request import Request
from vspsr.evaluation.scoring import Scorer

__all__ = ["stand_in"]


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
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
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
    shown = run(*command(images, output)).stdout
    assert "stlpips-alex" in shown
    assert "diversity score" in shown
    assert "index.html" in shown.replace("\n", "")


def test_all_there_already(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    assert run(*command(images, output)).returncode == 0
    before, summary = records(output), (output / "summary.json").read_bytes()
    (output / "summary.json").unlink()
    (output / "index.html").unlink()
    again = run(*command(images, output))
    assert again.returncode == 0
    assert f"{len(before)} of {len(before)} images kept" in again.stdout
    assert records(output) == before
    assert (output / "summary.json").read_bytes() == summary
    assert (output / "index.html").exists()


def test_going_on_after_an_interruption(
    run: Run, images: Path, tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, whole = tmp_path / "report", tmp_path / "whole"
    assert run(*command(images, whole)).returncode == 0
    score = Scorer.score

    def stopped(self: Scorer, pair: object, folder: Path | None = None) -> object:
        if getattr(pair, "stem", "") == "b":
            raise KeyboardInterrupt
        return score(self, pair, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "score", stopped)
    result = run(*command(images, output))
    assert result.returncode == 130
    assert result.stderr.strip().startswith("stopped: 1 image done and kept")
    assert "run the same command again" in result.stderr
    assert not (output / "summary.json").exists()
    first = records(output)
    assert list(first) == ["a.json"]
    monkeypatch.setattr(Scorer, "score", score)
    assert run(*command(images, output)).returncode == 0
    assert records(output)["a.json"] == first["a.json"]
    for name in ("summary.json", "metrics.csv", "references.csv", "settings.json"):
        assert (output / name).read_bytes() == (whole / name).read_bytes(), name


def test_files_that_have_changed_are_scored_anew(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    assert run(*command(images, output)).returncode == 0
    before = records(output)
    save(images / "sr" / "b_s01.png", noisy(photo(40, 72, 4, 5), 99))
    (output / "images" / "c.json").write_text("{")  # damaged
    assert run(*command(images, output)).returncode == 0
    after = records(output)
    assert after["a.json"] == before["a.json"]
    assert after["b.json"] > before["b.json"]
    assert after["c.json"] > before["c.json"]


def test_a_report_with_the_old_names(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """`lpips` beside `distance`, as before: refused in one line where it is read, scored anew where it is resumed."""
    output, old = tmp_path / "report", tmp_path / "report" / "images" / "b.json"
    assert run(*command(images, output, "--pictures", 3)).returncode == 0
    new, summary = old.read_bytes(), (output / "summary.json").read_bytes()
    old.write_bytes(new.replace(b'"distance"', b'"lpips"').replace(b'"distance_without_map"', b'"distance"'))
    words = "b.json: not of this version of vspsr", "distance", "evaluate anew with --overwrite"
    fails(run("evaluate", "--table", 2, output), *words)
    fails(run("figures", output, "--figure", "comparison", "-o", tmp_path / "figures"), *words)
    before = records(output)
    assert run(*command(images, output, "--pictures", 3)).returncode == 0
    assert [name for name, time in records(output).items() if time != before[name]] == ["b.json"]
    assert (output / "summary.json").read_bytes() == summary


def test_other_settings_need_another_folder(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    output = tmp_path / "report"
    assert run(*command(images, output)).returncode == 0
    before = records(output)
    fails(run(*command(images, output, "--border", 4)), "settings.json: a report with border = 0, not 4", "--overwrite")
    assert records(output) == before
    assert (output / "summary.json").exists()
    (images / "hr" / "c.png").unlink()
    for i in range(2):
        (images / "sr" / f"c_s0{i}.png").unlink()
    fails(run(*command(images, output)), "images = ['a', 'b', 'c'], not ['a', 'b']")
    assert run(*command(images, output, "--border", 4, "--overwrite")).returncode == 0
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
    fails(run(*command(images, output)), "a_s01.jpg: ", "2 of 3 images done and kept", "run the same command again")
    assert list(records(output)) == ["b.json", "c.json"]
    assert not (output / "summary.json").exists()
    before = records(output)
    bad.write_bytes(content)
    assert run(*command(images, output)).returncode == 0
    assert {k: v for k, v in records(output).items() if k != "a.json"} == before


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("count", ["sample 1 of the HR image b is missing: it has 1 sample, a has 2"]),
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
    fails(run(*command(images, output, "--backend", "lpips-resnet")), "'--backend'", "'lpips-resnet'", "lpips-alex")
    fails(run(*command(images, output, "--samples", 3)), "`--samples` 3, but the HR image a has 2")
    model = ["evaluate", "--hr", images / "hr", "-o", output, "--model"]
    fails(run(*model, "vspsr-x4", "--scale", 8), "`--scale` 8 does not fit: the model vspsr-x4 upscales by 4")
    fails(run(*model, "vspsr-x5"), "unknown model 'vspsr-x5'")
    fails(run(*model, "vspsr-x4", "--temperature", -1), "`--temperature`", "-1")
    fails(run(*model, "vspsr-x4", "--device", "cuda:99"), "`--device` 'cuda:99' cannot be used here")
    fails(run("evaluate", "--hr", images / "hr", "-o", output, "--baseline", "waifu"), "unknown baseline 'waifu'")
    assert not output.exists()


@pytest.mark.parametrize(("options", "scale"), [(["--model", "vspsr-x8"], 8), (["--model", "vspsr-x4"], 4), ([], 4)])
def test_the_scale_is_that_of_the_model(
    options: list[str], scale: int, run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is given."""
    asked: list[Request] = []

    def note(request: Request, *_: object) -> None:
        asked.append(request)
        raise EvaluationError("enough")

    monkeypatch.setattr("vspsr.evaluation.runner.evaluate", note)
    line = ["evaluate", "--hr", images / "hr", "-o", tmp_path / "report", *(options or ["--baseline", "bicubic"])]
    fails(run(*line), "enough")
    fails(run(*line, "--scale", 6), "enough")
    assert [request.scale for request in asked] == [scale, 6]


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


def test_the_same_numbers_with_any_number_of_processes(run: Run, images: Path, tmp_path: Path) -> None:
    """The same files, byte for byte, from one process and from two workers."""
    assert run(*command(images, tmp_path / "one", "--challenge-only")).returncode == 0
    workers = run(*command(images, tmp_path / "workers", "--challenge-only", "--processes", 2))
    assert workers.returncode == 0, workers.stderr
    for name in ("summary.json", "metrics.csv", "references.csv", "settings.json"):
        assert (tmp_path / "workers" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert math.isfinite(summary["ntire21"]["distance"])
    assert 0 < summary["ntire21"]["diversity"] < 100


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    psutil = pytest.importorskip("psutil")
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def gone(pids: list[int], seconds: float) -> bool:
    psutil = pytest.importorskip("psutil")
    end = time.monotonic() + seconds

    def living(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    while any(map(living, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(living, pids))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    """However it ends. SIGTERM is answered with one line; finished images are kept."""
    many = image_set(tmp_path / "set", 2, {"i00": (96, 96)})
    for path in [p for folder in ("hr", "sr") for p in (many / folder).iterdir()]:
        for k in range(1, 40):
            shutil.copy(path, path.with_name(path.name.replace("i00", f"i{k:02d}")))
    output = tmp_path / "report"
    line = [sys.executable, "-m", "vspsr.cli", *map(str, command(many, output, "--processes", 2, "--pictures", 0))]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while not records(output) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        workers = descendants(process.pid)
        assert len(workers) >= 2
        process.send_signal(number)
        assert gone(workers, 60)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert len(said.strip().splitlines()) == 1
        assert f"{counted(len(records(output)), 'image')} done and kept" in said
    assert 1 <= len(records(output)) < 40
    for path in (output / "images").glob("*.json"):
        json.loads(path.read_text())


def renamed(images: Path, hr: bytes, sr: bytes) -> None:
    """Give image b another stem, in bytes, in each of the two folders."""
    for folder, stem in (("hr", hr), ("sr", sr)):
        for path in (images / folder).glob("b*"):
            path.rename(path.with_name(os.fsdecode(stem) + path.name[1:]))


def test_an_umlaut_is_one_letter(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """Composed in one folder, decomposed in the other, and in a second run the other way round."""
    composed, decomposed = (unicodedata.normalize(form, "b\u00fc") for form in ("NFC", "NFD"))
    renamed(images, composed.encode(), decomposed.encode())
    output = tmp_path / "report"
    result = run(*command(images, output))
    assert result.returncode == 0, result.stderr
    before = records(output)
    assert f"{composed}.json" in before
    for folder, form in (("hr", "NFD"), ("sr", "NFC")):
        for path in (images / folder).iterdir():
            path.rename(path.with_name(unicodedata.normalize(form, path.name)))
    assert run(*command(images, output, "--json")).returncode == 0
    assert records(output)[f"{composed}.json"] == before[f"{composed}.json"]  # the same image still


def test_names_that_are_not_utf8(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """Scored, kept, and escaped wherever they are written."""
    renamed(images, b"caf\xe9", b"caf\xe9")
    output = tmp_path / "report"
    result = run(*command(images, output, "--pictures", 3))
    assert result.returncode == 0, result.stderr
    assert (output / "images" / os.fsdecode(b"caf\xe9.json")).exists()
    for name in ("settings.json", "summary.json", "metrics.csv", "references.csv", "index.html"):
        (output / name).read_bytes().decode("utf-8")
    assert r"caf\xe9,0," in (output / "metrics.csv").read_text()
    before = records(output)
    assert run(*command(images, output, "--pictures", 3)).returncode == 0
    assert records(output) == before
    save(images / "sr" / os.fsdecode(b"caf\xe9_s01.png"), photo(40, 71))
    fails(run(*command(images, output)), r"caf\xe9_s01.png: 71×40 pixels")


def test_other_weights_are_another_model(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """In a folder of the same name: weights, or only the options in its config."""
    output, folder = tmp_path / "report", tmp_path / "model"
    line = ["evaluate", "--model", folder, "--hr", images / "hr", "-o", output, "--samples", 2, "--processes", 1]
    options = {"scale": 4, "n_atoms": 4, "channels": 8, "blocks": 1, "n_modes": 1}
    VSpSR("overlapping", options).save_pretrained(folder)
    assert run(*line).returncode == 0
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "kernel": "bilinear"}))
    fails(run(*line), "settings.json: a report with architecture = ")
    (folder / "config.json").write_text(json.dumps({**config, "calibration": 1.5}))
    fails(run(*line), "settings.json: a report with calibration = 1.0, not 1.5")
    VSpSR("overlapping", options).save_pretrained(folder)
    fails(run(*line), "settings.json: a report with version = ")
    assert run(*line, "--overwrite").returncode == 0


def test_every_file_of_an_image_counts(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """HR and SR folders of one name: files of one name in them are still two files."""
    (tmp_path / "x").mkdir()
    hr, sr = (images / "hr").rename(tmp_path / "same"), (images / "sr").rename(tmp_path / "x" / "same")
    for path in sr.iterdir():
        path.rename(sr / path.name.replace("_s00", "")) if "_s00" in path.name else path.unlink()
    line = ["evaluate", "--results", sr, "--hr", hr, "-o", tmp_path / "report", "--processes", 1]
    assert run(*line).returncode == 0
    before = records(tmp_path / "report")
    save(hr / "b.png", noisy(photo(40, 72, 4, 5), 3))
    assert run(*line).returncode == 0
    after = records(tmp_path / "report")
    assert [k for k in after if after[k] != before[k]] == ["b.json"]


def test_spoiled_settings(run: Run, images: Path, tmp_path: Path, stand_in: None) -> None:
    """Named; with --overwrite, no record that stands beside them is believed."""
    output = tmp_path / "report"
    assert run(*command(images, output, "--border", 2)).returncode == 0
    for content in ("{", "[]", "[" * 200_000, '{"images": 5}', '{"images": ["../../x", 5, null]}'):
        (output / "settings.json").write_text(content)
        fails(run(*command(images, output)), "settings.json: ")
    assert run(*command(images, output, "--overwrite")).returncode == 0
    assert run(*command(images, tmp_path / "fresh")).returncode == 0
    assert (output / "summary.json").read_bytes() == (tmp_path / "fresh" / "summary.json").read_bytes()


def test_a_run_that_was_killed_at_once_can_go_on(
    run: Run, images: Path, tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of the first steps that write something."""
    from vspsr.evaluation import runner

    for name in ("make_folder", "write_json", "_is_done"):
        output = tmp_path / name
        original = getattr(runner, name)

        def killed(*arguments: object, original: Callable[..., object] = original, **options: object) -> None:
            original(*arguments, **options)
            raise SystemExit(9)

        monkeypatch.setattr(runner, name, killed)
        assert run(*command(images, output)).returncode == 9
        monkeypatch.setattr(runner, name, original)
        result = run(*command(images, output))
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_peers_on_set14(run: Run, shared: Path, tmp_path: Path) -> None:
    """A grey HR image against RGB results, and sizes that are no multiple of 8; figures of other scripts' making.

    Bicubic as in the README, which the package stlpips-pytorch itself gives too.
    """
    output = tmp_path / "report"
    peers = ["--results", shared / "peers/Set14_x4/SRGAN", "--hr", shared / "data/test/Set14"]
    result = run("evaluate", *peers, "-o", output, "--json", "--pictures", 0)
    assert result.returncode == 0, result.stderr
    means = json.loads(result.stdout)
    assert means["means"]["distance"]["mean"] == pytest.approx(0.126, abs=0.001)
    assert means["means_of_bicubic"]["distance"]["mean"] == pytest.approx(0.402, abs=0.001)
