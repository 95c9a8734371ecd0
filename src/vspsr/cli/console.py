"""What the command line prints beside tables: lines, errors, progress; how a stop is reported; devices and folders."""

import _thread
import codecs
import io
import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from vspsr.errors import VSpSRWarning, explain, is_expected
from vspsr.files import one_line, printable


class ExitCode(IntEnum):
    """How commands end. Where both hold, `SOME_FAILED` goes before `LR_WRONG`."""

    DONE = 0
    SOME_FAILED = 1
    NOTHING_DONE = 2
    LR_WRONG = 3
    INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.SOME_FAILED: "some files failed, the others are done (even if LR values are wrong, too)",
    ExitCode.NOTHING_DONE: "wrong arguments, or nothing could be done",
    ExitCode.LR_WRONG: "all is done, and LR values or JPEG coefficients are wrong",
    ExitCode.INTERNAL_ERROR: "internal error, a bug of ours: `vspsr --debug …` shows the traceback",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}
"""What each says, for the help and the README."""

if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) == 0:
    del os.environ["COLUMNS"]  # from a terminal that does not know its size; Rich would print nothing

# Names of files are shown as they are: brackets are no markup, and :a: is no emoji.
out, _err = (Console(stderr=stderr, markup=False, emoji=False, highlight=False) for stderr in (False, True))
_LONG_SEARCH = 10.0  # seconds
_BAR = 20  # the width of bars
_debug = False
_options: dict[str, str] = {}
_later: set[int] = set()  # signals that a timer will raise again
_ARGUMENT = re.compile(r"(?<!did you mean )`(\w+)`")

_ASCII = str.maketrans({"×": "x", "…": "...", "–": "-", "∞": "inf", "≥": ">=", "→": "->", "≈": "~", "·": "*"})
# Suffixes of files that somebody may expect instead of a folder, beside those of images.
_FILE_SUFFIXES = {".csv", ".ckpt", ".html", ".json", ".npy", ".pdf", ".pt", ".pth", ".safetensors", ".svg", ".yaml"}


def configure(debug: bool, options: Mapping[str, str]) -> None:
    """From now on, `print_error` shows tracebacks if ``debug``, and errors say `--option` where they name one of these
    Python arguments in backquotes."""
    global _debug
    _debug = debug
    _options.clear()
    _options.update(options)


def print_line(text: str) -> None:
    """One line on standard output."""
    out.print(printable(text), soft_wrap=True)


def print_note(text: str) -> None:
    """One line on standard error that is no error: a note, or the summary if standard output holds an image."""
    _err.print(one_line(text), soft_wrap=True)


def print_error(error: Exception | str, text: str = "") -> None:
    """One line on standard error, ``text`` or else what the error says; with ``--debug``, the traceback above it."""
    if isinstance(error, Exception):
        if _debug:
            traceback.print_exception(error)
        hint = "" if _debug or is_expected(error) else " (please report it; `vspsr --debug …` shows the traceback)"
        error = (text or explain(error)) + hint
    _err.print("error: ", end="", style="bold red")
    print_note(_ARGUMENT.sub(lambda found: f"`{_options.get(found[1], found[1])}`", error))


def print_warnings() -> None:
    """From now on, print vspsr's own warnings in one line on standard error; those of others as Python does."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, VSpSRWarning):
            usual(message, category, *place, **more)
            return
        _err.print("warning: ", end="", style="yellow")
        print_note(str(message))

    warnings.showwarning = show


def encode_anything() -> None:
    """Let the standard streams take any text, whatever their encoding: what it lacks is spelled out or escaped."""

    def spelled(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end].translate(_ASCII)
        return text.encode("ascii", "backslashreplace").decode(), error.end

    codecs.register_error("vspsr.spelled", spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="vspsr.spelled")


class _Terminated(KeyboardInterrupt):
    """SIGTERM: handled as Ctrl-C is."""


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Within it, Ctrl-C and SIGTERM raise a KeyboardInterrupt, unless somebody else handles or ignores them."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    here = threading.current_thread() is threading.main_thread()  # signals reach no other
    ours = {number: before for number, before in defaults.items() if here and signal.getsignal(number) is before}
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, before in ours.items():
            signal.signal(number, before)


def _stop(number: int, frame: FrameType | None) -> None:
    while frame is not None and (name := frame.f_globals.get("__name__", "")) != "vspsr.cli.main":
        if name.startswith("pyvips") or name in ("importlib._bootstrap", "_frozen_importlib"):
            # An exception may be lost in Python code that libvips calls, and in an import: try again a little later.
            if number not in _later:
                _later.add(number)
                threading.Timer(0.02, _stop_later, [number]).start()
            return
        frame = frame.f_back
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _stop_later(number: int) -> None:
    _later.discard(number)
    _thread.interrupt_main(signal.Signals(number))


@contextmanager
def when_stopped(status: Callable[[], str]) -> Iterator[None]:
    """If Ctrl-C or SIGTERM ends the block, one line is printed: ``status()``, what is done and how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise type(stop)(status()) from None


def stop_code(stop: KeyboardInterrupt) -> int:
    """Say on standard error that the command was stopped; its exit code: 130 for Ctrl-C, 143 for SIGTERM."""
    print_note(f"stopped: {stop}" if str(stop) else "stopped")
    return ExitCode.TERMINATED if isinstance(stop, _Terminated) else ExitCode.INTERRUPTED


def output_folder(path: Path | None) -> Path | None:
    """Callback of options that take a folder: refuse what looks like a file, `-o result.png` for instance."""
    from vspsr.images.folders import SUFFIXES

    if path is not None and path.suffix.lower() in SUFFIXES | _FILE_SUFFIXES and not path.exists():
        raise typer.BadParameter(f"{str(path)!r} looks like a file: give a folder")
    return path


def device(name: str) -> str:
    """The device asked for, "auto" resolved; ValueError where it cannot be used."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).add(1).item()  # "meta" has no values, for instance
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"`--device` {name!r} cannot be used here: {one_line(error)[:150]}") from error
    return name


@contextmanager
def progress(total: int) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on standard error; yields step(what, advance)."""
    with _bar(SpinnerColumn("line"), BarColumn(_BAR), MofNCompleteColumn()) as bar:
        task = bar.add_task("", total=total)
        now = ""

        def show_search(text: str) -> None:
            bar.update(task, description=now + (f" ({text})" if text else ""))

        def step(what: str, advance: float) -> None:
            nonlocal now
            now = one_line(what)
            bar.update(task, description=now, advance=advance)

        with _search_shown(show_search, lambda text: print_note(f"{now}: {text}")):
            yield step


@contextmanager
def _search_shown(show: Callable[[str], None], note: Callable[[str], None]) -> Iterator[None]:
    """Show what is searched for; without a terminal, note the first search that takes long."""
    noted = _err.is_terminal
    timer = threading.Timer(0, note)

    def late(text: str) -> None:
        nonlocal noted
        noted = True
        hint = f", {_options['budget']} SECONDS ends it" if "budget" in _options else ""
        note(f"{text}: this can take a while{hint}")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal timer
            timer.cancel()
            text = record.getMessage()
            show(text)
            if text and not noted:
                timer = threading.Timer(_LONG_SEARCH, late, [text])
                timer.daemon = True
                timer.start()

    logger, handler = logging.getLogger("vspsr.consistency.search"), Handler()  # importing its name takes seconds
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        timer.cancel()
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a download on standard error; yields step(bytes so far, size or 0)."""
    with _bar(BarColumn(_BAR), DownloadColumn(), TransferSpeedColumn()) as bar:
        task = bar.add_task(name, total=None)

        def step(done: int, size: int) -> None:
            bar.update(task, completed=done, total=size or None)

        yield step


@contextmanager
def training_progress() -> Iterator[Callable[[str, float, float, str], None]]:
    """A progress bar on standard error, from the first step on; yields step(what, position, steps, line). Without a
    terminal, ``line`` is printed on standard output, if it is not empty."""
    with _bar(BarColumn(_BAR // 2), TaskProgressColumn()) as bar:
        task = bar.add_task("", visible=False)

        def step(what: str, position: float, steps: float, line: str) -> None:
            bar.update(task, description=one_line(what), completed=position, total=steps, visible=True)
            if line and not _err.is_terminal:
                print_line(line)

        yield step


def _bar(*columns: ProgressColumn) -> Progress:
    """Where a line is too narrow, the description at its end is cut off."""
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    description = TextColumn("{task.description}", markup=False, table_column=rest)
    every = *columns, TimeElapsedColumn(), description
    return Progress(*every, console=_err, transient=True, expand=True, disable=not _err.is_terminal)
