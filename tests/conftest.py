"""Fixtures shared by all tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Tests run side by side, one core each, and so do the programs they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", COLUMNS="200")

DATA = Path(__file__).parent / "data"

settings.register_profile("vspsr", deadline=None, derandomize=True)
settings.load_profile("vspsr")


def _shared() -> Path | None:
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("VSPSR_SHARED", default))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test sets and golden vectors that are not part of the project: VSPSR_SHARED or ../shared."""
    folder = _shared()
    if folder is None:
        pytest.skip("the folder of shared test data (VSPSR_SHARED, or ../shared) is absent")
    return folder


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """name → arrays made by a reference implementation; those not in tests/data are in shared/golden."""

    def load(name: str) -> Any:
        own, folder = DATA / f"{name}.npz", _shared()
        if own.exists():
            return np.load(own)
        if folder is None:
            pytest.skip(f"{name}: the folder of shared test data (VSPSR_SHARED, or ../shared) is absent")
        return np.load(folder / "golden" / f"{name}.npz")

    return load


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium through Playwright, where both are installed; one for all, since a process can have only one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as running:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = running.chromium.launch(executable_path=executable, args=arguments)
        yield started
        started.close()
