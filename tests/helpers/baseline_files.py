"""Checkpoints of baselines as files, and what loading them says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_checkpoints import Release

from vspsr.errors import ModelError

ONE_LINE = re.compile(r"[^\n]{1,420}")


def save(release: Release, path: Path, **changes: Any) -> Path:
    torch.save(release.state | changes, path)
    return path


def picture(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(5))


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as info:
        call()
    assert ONE_LINE.fullmatch(str(info.value)), str(info.value)
    return str(info.value)
