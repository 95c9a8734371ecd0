"""A browser and a server for all browser tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explorer_page import Page
from explorer_tools import running_server

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture
def opened(browser: Any, address: str, tmp_path: Path) -> Iterator[Page]:
    page = Page(browser, address, tmp_path)
    yield page
    page.close()
