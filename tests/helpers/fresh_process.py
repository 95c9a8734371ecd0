"""The peak memory of a piece of work, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

needs_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")

_PRELUDE = """
import json, sys

def memory(field):  # bytes: VmRSS is what is in use, VmHWM its peak
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(field))

def reset_peak():
    open("/proc/self/clear_refs", "w").write("5")
"""


def output_of(code: str, *arguments: object) -> Any:
    """The JSON that the code prints last; `memory`, `reset_peak`, `json` and `sys` are there, arguments in sys.argv."""
    line = [sys.executable, "-c", _PRELUDE + code, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
