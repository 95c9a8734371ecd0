"""A server for all browser tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explorer_page import PHONE, Page
from explorer_tools import running_server


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture
def opened(browser: Any, address: str, tmp_path: Path) -> Iterator[Page]:
    page = Page(browser, address, tmp_path)
    yield page
    page.close()


@pytest.fixture
def phone(browser: Any, address: str, tmp_path: Path) -> Iterator[Page]:
    page = Page(browser, address, tmp_path, **PHONE)
    yield page
    page.close()
