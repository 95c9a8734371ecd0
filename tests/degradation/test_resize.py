"""`imresize` and D against the numbers of the reference implementation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import imresize

SCALES = {"d2": 2, "d3": 3, "d4": 4, "d8": 8}


def cases(data: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [(k, data[f"in/{k.split('/')[1]}"], data[k]) for k in data.files if k.startswith("out/")]


def planes(array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.permute(2, 0, 1) if array.ndim == 3 else tensor[None]


def check(data: Any) -> int:
    """Every case of a file of golden vectors; how many there were."""
    found = cases(data)
    for key, source, expected in found:
        operation, kind = key.split("/")[2:]
        x, wanted = planes(source), planes(expected)
        x = x.double() if kind == "float" else x
        if operation.startswith("shape"):
            results = [imresize(x, size=[int(n) for n in operation[5:].split("x")])]
        elif operation == "u4":
            results = [imresize(x, scale=4)]
        else:
            degradation = Degradation(SCALES[operation])
            down = degradation.down if kind == "float" else degradation.down_uint8
            results = [imresize(x, scale=1 / SCALES[operation]), down(x)]
        for result in results:
            if kind == "uint8":
                assert torch.equal(result, wanted), key
            else:
                np.testing.assert_allclose(result.numpy(), wanted.numpy(), rtol=0, atol=1e-10, err_msg=key)
    return len(found)


def test_synthetic_golden_vectors(golden: Callable[[str], Any]) -> None:
    assert check(golden("imresize_golden")) > 30


def test_all_golden_vectors(shared: Any) -> None:
    assert check(np.load(shared / "golden" / "imresize_golden.npz")) > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of `scale` and `size`"),
        ({"scale": 2, "size": (4, 4)}, "give one of `scale` and `size`"),
        ({"scale": -1.0}, "`scale` must be positive and finite, got -1"),
        ({"size": (0, 4)}, "`size` must be an integer of at least 1, got 0"),
        ({"scale": "4"}, "`scale` must be positive and finite, got '4'"),
        ({"scale": 1e12}, "`size` must be an integer of at most"),
        ({"scale": 2, "kernel": "foo"}, "`kernel` must be one of bicubic.*'foo'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imresize(torch.rand(1, 4, 4), **arguments)
