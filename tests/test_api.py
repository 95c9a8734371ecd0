"""The public surface."""

import pytest

import vspsr
from vspsr import space


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


def test_public_names_of_spaces() -> None:
    assert space.__all__ == [
        "Average",
        "ConditionedSpace",
        "Conflict",
        "JpegDetailSpace",
        "JpegSpace",
        "LikelihoodRatio",
        "Linear",
        "Nearest",
        "NoisySpace",
        "NotGaussianError",
        "Observation",
        "Pixels",
        "PrincipalComponents",
        "Region",
        "SRSpace",
        "Same",
        "SpaceParameters",
        "StochasticBasis",
        "image_key",
    ]
    for name in space.__all__:
        assert getattr(space, name).__doc__
