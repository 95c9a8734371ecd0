"""What the command line prints: whatever the stream can hold, whatever went wrong, and where it was stopped."""

import io
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from rich.console import Console

from vspsr import VSpSR, write_image
from vspsr.cli import console
from vspsr.cli.console import EXIT_CODES
from vspsr.cli.main import app, main
from vspsr.consistency.solve import SEARCH_LOG
from vspsr.errors import (
    ConditionWarning,
    ConsistencyWarning,
    ConvergenceWarning,
    ImageFileWarning,
    OutputError,
    counted,
    did_you_mean,
    explain,
    is_expected,
)
from vspsr.images.picture import Picture


def cli(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["vspsr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def photo(path: Path, shade: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Picture(torch.full((3, 8, 8), shade, dtype=torch.int32)))
    return path


COMMANDS = [[], ["upscale"], ["degrade"], ["check"], ["models"], ["info"], ["evaluate"], ["baselines"], ["figures"]]
COMMANDS += [["train"], ["export"], ["explore"], ["data"], ["data", "fetch"]]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_help_fits_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in COMMANDS:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli(monkeypatch, *command, "--help") == 0
        stream.flush()
        text = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
        assert "--help" in text
        assert command in ([], ["data"]) or "Example" in text


def test_text_that_a_stream_cannot_hold_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    console.encode_anything()
    print("2×3 … ∞ ä 猫 \udce9")
    stream.flush()
    assert stream.buffer.getvalue() == b"2x3 ... inf \\xe4 \\u732b \\udce9\n"  # type: ignore[attr-defined]


NAMES = [
    b"12:a:30",
    b":cat:",
    b"[red]x",
    b"[bold]",
    b"red\x1b[31m",
    b"caf\xe9",
    b"line\nbreak",
    "e\u0301\u202ex".encode(),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are_or_escaped(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As results and in errors; nothing that a terminal obeys, nothing that is not UTF-8."""
    folder = tmp_path / "in"
    photo(folder / "plain.png")
    path = folder / (os.fsdecode(name) + ".png")
    try:
        (folder / "plain.png").rename(path)
    except OSError:
        pytest.skip("no such name on this disk")
    out = tmp_path / os.fsdecode(name)
    assert cli(monkeypatch, "upscale", folder, "-o", out, "--samples", 1) == 0
    assert cli(monkeypatch, "upscale", folder, "-o", out, "--samples", 1, "--json") == 0
    assert cli(monkeypatch, "degrade", folder, "-o", out, "--scale", 2) == 0
    assert cli(monkeypatch, "check", path, folder / (os.fsdecode(name) + "none.png")) == 2
    captured = capfd.readouterr()
    shown = {b"red\x1b[31m": r"red\x1b[31m", b"caf\xe9": r"caf\xe9", b"line\nbreak": "line"}
    expected = shown.get(name, name.decode(errors="replace").replace("\u202e", r"\u202e"))
    assert f"{expected}" in captured.out
    assert f"{expected}none.png" in captured.err or "break" in captured.err
    for text in (captured.out, captured.err):
        assert not set(text) & {"\x1b", "\u202e"}
        text.encode()  # no surrogates


def test_exit_codes_are_those_of_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = "".join(f"| {code} | {text} |\n" for code, text in EXIT_CODES.items())
    assert f"| exit code | |\n|---|---|\n{table}\n" in readme


@pytest.mark.parametrize(
    "category", [ConditionWarning, ConsistencyWarning, ConvergenceWarning, ImageFileWarning, UserWarning]
)
def test_own_warnings_are_one_line(
    category: type[Warning], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[object] = []
    monkeypatch.setattr(warnings, "showwarning", lambda *arguments: others.append(arguments))
    console.print_warnings()
    warnings.showwarning(category("two\nlines"), category, "file.py", 1)
    assert len(others) == (category is UserWarning)
    assert capsys.readouterr().err == ("" if others else "warning: two lines\n")


def planted(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


BUGS = [TypeError("bad"), KeyError("bad"), RuntimeError("bad"), ValueError("bad"), AssertionError("bad")]


@pytest.mark.parametrize("error", BUGS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("command", ["upscale", "degrade", "figures"])
def test_a_bug_is_never_taken_for_a_bad_file(
    error: Exception, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "photo.png")
    for place in ("vspsr.upscaling.folders", "vspsr.images.sources", "vspsr.report.figure_files"):
        monkeypatch.setattr(f"{place}.read_image", planted(error))
    for options, traceback in ([], False), (["--debug"], True):
        assert cli(monkeypatch, *options, command, path, "-o", tmp_path / "out") == 70
        captured = capsys.readouterr().err
        line = captured.strip().splitlines()[-1]
        assert line.startswith(f"error: internal error, {type(error).__name__}: ")
        assert ("--debug" in line) != traceback
        assert ("Traceback" in captured) == traceback


@pytest.mark.parametrize("error", [OutputError("told"), PermissionError(13, "told"), MemoryError("told")])
def test_expected_errors_have_a_traceback_only_for_debugging(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "photo.png")
    monkeypatch.setattr("vspsr.upscaling.folders.read_image", planted(error))
    for options, traceback in ([], False), (["--debug"], True):
        assert cli(monkeypatch, *options, "degrade", path, "-o", tmp_path / "out") == 2
        captured = capsys.readouterr().err
        assert "told" in captured.strip().splitlines()[-1]
        assert ("Traceback" in captured) == traceback


def caught(function: Any, *arguments: Any) -> Exception:
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("nothing raised")


def test_which_errors_are_bugs() -> None:
    model = VSpSR("overlapping", {"scale": 2, "n_atoms": 4, "channels": 8, "blocks": 1, "n_modes": 1})
    assert is_expected(caught(model, torch.zeros(3)))  # a check of an argument
    assert is_expected(caught(VSpSR.from_pretrained, "nowhere"))
    assert is_expected(caught(Path("nowhere").read_bytes))
    assert is_expected(caught(__import__, "no_such_package"))
    assert is_expected(RuntimeError("CUDA out of memory"))
    assert not is_expected(caught(int, "x"))
    assert not is_expected(caught(json.loads, "{"))
    assert not is_expected(caught(__import__, "vspsr.no_such_module"))
    assert not is_expected(RuntimeError("size mismatch"))
    assert explain(KeyError("a\nb")) == "internal error, KeyError: 'a\\nb'"
    assert "pip install" in explain(caught(__import__, "no_such_package"))


def test_did_you_mean() -> None:
    assert did_you_mean("bacth", ["batch", "crop"]) == "did you mean `batch`?"
    assert did_you_mean("zzz", ["batch", "crop"]) == "known are batch, crop"
    assert did_you_mean("zzz", map(str, range(100))).endswith("11 …")
    assert did_you_mean("zzz", []) == "there are none"


def test_a_long_search_is_noted_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a terminal; short searches are not."""
    monkeypatch.setattr(console, "_LONG_SEARCH", 0.2)
    console.configure(False, {"budget": "--budget"})
    log = logging.getLogger(SEARCH_LOG)
    with console.progress(2) as step:
        step("a.png: s00.png", 0)
        for seconds in (0.0, 0.5, 0.5):
            log.info("searching for exact integers")
            time.sleep(seconds)
            log.info("")
        time.sleep(0.3)
    log.info("searching again")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("a.png: s00.png: searching for exact integers: ")
    assert "--budget" in line


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("bar", ["progress", "training_progress", "download_progress"])
def test_a_bar_is_whole_whatever_it_is_of(bar: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count or share and time are in one line; the end of a long description is cut off."""
    stream, long = io.StringIO(), "first " + "x" * 300
    monkeypatch.setattr(console, "_err", Console(file=stream, force_terminal=True, width=columns, markup=False))
    if bar == "progress":
        with console.progress(20) as step:
            step(long, 5)
    elif bar == "training_progress":
        with console.training_progress() as step_to:
            step_to(long, 5, 20, "no line where there is a terminal")
    else:
        with console.download_progress(long) as reached:
            reached(5_000_000, 20_000_000)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).strip())
    count = {"progress": "5/20", "training_progress": "25%", "download_progress": "5.0/20.0 MB"}[bar]
    assert re.search(rf"━{{3,}}.* {count} .*\d:\d\d:\d\d first.*…$", lines[-1])
    assert {len(line) for line in lines} <= {0, columns}


def test_counted() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("command", ["upscale", "degrade", "figures", "check", "info"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_stop_is_one_line(
    command: str,
    as_json: bool,
    number: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is done and how to go on, on standard error; standard output stays free for programs."""

    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    places = {"check": "vspsr.images.read_image", "info": "vspsr.model.VSpSR.from_pretrained"}
    places |= {"figures": "vspsr.report.figure_files.read_image", "upscale": "vspsr.images.sources.read_image"}
    monkeypatch.setattr(places.get(command, "vspsr.upscaling.folders.read_image"), stop)
    path = photo(tmp_path / "photo.png")
    arguments = {"check": [path, path], "info": ["vspsr-x4"]}.get(command, [path, "-o", tmp_path / "out"])
    if as_json and command != "figures":
        arguments.append("--json")
    before = signal.getsignal(signal.SIGTERM)
    assert cli(monkeypatch, command, *arguments) == code
    assert signal.getsignal(signal.SIGTERM) is before
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert line.startswith("stopped")
    if command in ("upscale", "degrade"):
        assert "0 of 1 image done" in line
        assert "same command" in line
    if command == "figures":
        assert "0 files written" in line


def test_a_stopped_download_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vspsr.data.fetch.fetch", planted(KeyboardInterrupt()))
    monkeypatch.setattr("vspsr.baselines.fetch_weights", planted(KeyboardInterrupt()))
    for command in (["data", "fetch", "div2k", "--root", tmp_path], ["baselines", "--fetch", "edsr-x4"]):
        assert cli(monkeypatch, *command) == 130
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "same command" in line


def test_a_process_ends_with_the_code_of_its_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vspsr.cli", "upscale", photo(tmp_path / "p.png"), "-o", "o", "--samples", "10000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (tmp_path / "o" / "p_x4_s00.png").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err.startswith("stopped: 0 of 1 image done")
    assert len(err.splitlines()) == 1


FOLDERS = ["upscale", "degrade", "figures", "evaluate", "train", "export"]


@pytest.mark.parametrize("command", FOLDERS)
@pytest.mark.parametrize("suffix", [".png", ".JPG", ".tiff", ".pdf", ".json", ".safetensors"])
def test_a_folder_named_like_a_file_is_refused(
    command: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = photo(tmp_path / "photo.png")
    inputs: dict[str, list[object]] = {"evaluate": ["--hr", tmp_path], "train": ["--config", "x4"]}
    assert cli(monkeypatch, command, *inputs.get(command, [path]), "-o", f"result{suffix}") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"result{suffix}" in line
    assert "folder" in line
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"]


def test_folders_may_have_dots(tmp_path: Path) -> None:
    (tmp_path / "album.png").mkdir()
    for path in (tmp_path / "album.png", tmp_path / "x4.v2", tmp_path / "run.2026-01-01", None):
        assert console.output_folder(path) == path
    with pytest.raises(typer.BadParameter):
        console.output_folder(tmp_path / "other.png")


def test_no_help_is_lost() -> None:
    """Rich takes words in square brackets for markup."""
    group = typer.main.get_command(app)
    commands = [*group.commands.values(), *group.commands["data"].commands.values()]  # type: ignore[attr-defined]
    for command in commands:
        texts = [command.help or "", *(getattr(p, "help", "") or "" for p in command.params)]
        assert not [text for text in texts if "[" in text], command.name
        assert all(texts), command.name


def test_every_option_for_an_output_folder_has_the_check() -> None:
    group = typer.main.get_command(app)
    for name in FOLDERS:
        (option,) = [p for p in group.commands[name].params if "-o" in p.opts]  # type: ignore[attr-defined]
        assert option.callback is not None, name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_a_callback_of_libvips_is_not_lost(number: int) -> None:
    """There an exception is printed and dropped, so that it has to come later."""
    callback: dict[str, Any] = {"__name__": "pyvips.callback"}
    exec(
        "import os, time\ndef call(n):\n    os.kill(os.getpid(), n)\n    time.sleep(0.1)\n    return 'whole'", callback
    )
    with console.stopping_signals():
        assert callback["call"](number) == "whole"
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)


# Its arguments are a module and a signal: the signal comes while the module is imported, where exceptions are lost.
IMPORTING = """
import os, sys, time
module, number, *sys.argv[1:] = sys.argv[1:]

class Stopping:
    def find_spec(self, name, *_):
        if name == module:
            try:
                os.kill(os.getpid(), int(number))
                time.sleep(0.01)
            except BaseException:
                pass

sys.meta_path.insert(0, Stopping())
from vspsr.cli.__main__ import main
main()
"""


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize("module", ["vspsr.cli.main", "typer", "torch", "vspsr.upscaling.folders"])
def test_a_stop_during_an_import_is_one_line_and_not_lost(
    module: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-c",
        IMPORTING,
        module,
        str(int(number)),
        "upscale",
        photo(tmp_path / "p.png"),
        "-o",
        "o",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("stopped")
    assert not (tmp_path / "o").exists()


def test_many_stops_during_an_import_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stops = "import os, time\nfor _ in range(5):\n    os.kill(os.getpid(), 2)\n    time.sleep(0.03)\n"
    (tmp_path / "slow_module.py").write_text(stops)
    monkeypatch.syspath_prepend(tmp_path)
    with console.stopping_signals():
        __import__("slow_module")
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
        time.sleep(0.1)


def test_the_command_line_starts_without_pytorch() -> None:
    code = "import sys, vspsr.cli.main; assert not sys.modules.keys() & {'torch', 'numpy'}; "
    code += "vspsr.metrics.psnr, vspsr.errors.VSpSRError, vspsr.VSpSR"  # which come when they are used
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_handlers_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with console.stopping_signals():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("columns", ["0", "00", "", "x"])
def test_a_terminal_without_a_width_does_not_silence_us(columns: str) -> None:
    environment = {**os.environ, "COLUMNS": columns}
    line = [sys.executable, "-m", "vspsr.cli"]
    failed = subprocess.run([*line, "info", "nowhere"], env=environment, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    listed = subprocess.run([*line, "models"], env=environment, capture_output=True, text=True)
    assert "vspsr-x4" in listed.stdout


EMPTY = [
    "upscale ''",
    "upscale a.png -o ''",
    "evaluate --hr= -o r",
    "train --data '' -o r --config x4",
    "check a.png ''",
    "data fetch div2k --root ''",
    "project a.png '' -o r",
]


@pytest.mark.parametrize("line", EMPTY)
def test_an_empty_path_is_not_the_current_folder(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert cli(monkeypatch, *shlex.split(line)) == 2
    assert "the current folder is `.`" in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.png"]


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_a_closed_stream_is_named(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given = "-" if closed == "stdin" else photo(tmp_path / "a.png")
    monkeypatch.setattr(sys, closed, None)
    assert cli(monkeypatch, "upscale", given, "-o", "-") == 2
    assert "is closed" in capfd.readouterr().err


def test_data_without_parts(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli(monkeypatch, "data", "fetch", "div2k", "--root", "d", "--parts", ",") == 2
    assert "`--parts` names nothing" in capfd.readouterr().err
