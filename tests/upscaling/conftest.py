"""The shipped model, for the tests of this folder that have none of their own."""

import pytest

from vspsr import VSpSR


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return VSpSR.from_pretrained("vspsr-x4")
