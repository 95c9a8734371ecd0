"""The command line as a user has it, in this process, and what its errors look like."""

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from vspsr.cli.main import main

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`vspsr ARGUMENTS` in an empty folder, in this process."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        code: Any = 0
        stdout, stderr = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["vspsr", *map(str, arguments)])
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
        return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())

    return call


def fails_clearly(result: subprocess.CompletedProcess[str], *words: str, code: int | None = None) -> None:
    """One line on standard error that holds the words; a non-zero exit, with this code; no traceback."""
    assert result.returncode != 0 if code is None else result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], lines[0]
