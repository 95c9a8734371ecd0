"""A server for all browser tests of this folder; without a browser, one whose model was trained on JPEGs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explorer_page import PHONE, Page
from explorer_tools import http_client, running_server, tiny_model
from fastapi.testclient import TestClient


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with http_client(tiny_model(trained_on_jpegs=True)) as client:
        yield client


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
