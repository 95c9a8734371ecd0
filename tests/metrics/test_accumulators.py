"""The figures of all values, in any order; infinite and undefined values are counted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vspsr.metrics import aggregate, psnr

NUMBERS = st.floats(-1e6, 1e6) | st.just(math.inf) | st.just(math.nan) | st.none()


@given(st.lists(NUMBERS, max_size=12), st.booleans())
def test_by_definition(values: list[float | None], higher: bool) -> None:
    result = aggregate(values, higher)
    defined = np.array([v for v in values if v is not None and not math.isnan(v)])
    finite = defined[np.isfinite(defined)]
    assert (result["finite"], result["infinite"]) == (len(finite), len(defined) - len(finite))
    assert result["undefined"] == len(values) - len(defined)
    if not len(defined):
        assert result["mean"] is result["worst"] is result["finite_mean"] is None
        return
    assert result["mean"] == pytest.approx(defined.mean(), abs=1e-6)
    assert result["worst"] == (defined.min() if higher else defined.max())
    assert result["finite_mean"] == (pytest.approx(finite.mean(), abs=1e-6) if len(finite) else None)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=12), st.data())
def test_the_order_does_not_matter(values: list[float], data: st.DataObject) -> None:
    """To the last bit: sums are rounded once."""
    shuffled = data.draw(st.permutations(values))
    assert aggregate(shuffled, True) == aggregate(values, True)


def test_what_metrics_return() -> None:
    truth = torch.randint(0, 256, (3, 8, 8))
    samples = torch.stack([truth, (truth + 1).clamp(max=255)])
    result = aggregate([*psnr(samples, truth).tolist(), 30.0, None], higher_is_better=True)
    assert (result["mean"], result["finite"], result["infinite"], result["undefined"]) == (math.inf, 2, 1, 1)
    assert result["worst"] == 30.0
