"""The public surface."""

import pytest

import vspsr


def test_public_names() -> None:
    assert vspsr.__all__ == [
        "Consistent",
        "Degradation",
        "SRSpace",
        "VSpSR",
        "project",
        "quantize",
        "read_image",
        "upscale",
        "write_image",
    ]
    for name in vspsr.__all__:
        assert getattr(vspsr, name).__doc__
    assert dir(vspsr) == sorted(vspsr.__all__)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = vspsr.nothing
