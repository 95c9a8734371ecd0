"""The three things called diversity, against the challenge's golden vectors, their definitions and numpy."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vspsr.metrics import crop_to_multiple, crop_to_size, diversity_score, pixel_stddev


def test_golden_diversity_score_of_the_challenge(golden: Callable[[str], Any]) -> None:
    data = golden("diversity_golden")
    result = diversity_score(torch.from_numpy(data["maps_f32"]))
    np.testing.assert_allclose(result.global_each, data["global_each"], rtol=0, atol=1e-6)
    assert np.mean(result.global_each) == pytest.approx(float(data["x4/LPIPS_mean"]), abs=1e-6)
    assert result.global_best == pytest.approx(float(data["global_best"]), abs=1e-6)
    assert result.local_best == pytest.approx(float(data["local_best"]), abs=1e-6)
    assert result.score == pytest.approx(float(data["x4/score"]), abs=1e-6)
    assert result.curve[-1] == result.score


def test_golden_input_of_the_metric(shared: Path, golden: Callable[[str], Any]) -> None:
    """What the challenge's script fed to its network: the crop, and the colour range."""
    data = golden("diversity_golden")
    summary = json.loads((shared / "golden" / "diversity_golden.json").read_text())["x4"]["metric_input"]
    truth = crop_to_multiple(torch.from_numpy(data["gt_u8"]).permute(2, 0, 1)).float() / 255
    first = crop_to_size(torch.from_numpy(data["samples_u8"][0]).permute(2, 0, 1), 88, 72).float() / 255
    assert [1, *first.shape] == summary[0]
    assert [1, *truth.shape] == summary[1]
    seen = torch.cat([2 * first - 1, 2 * truth - 1])
    assert summary[2] in [float(v.min()) for v in (seen, seen[:3], seen[3:])]
    assert summary[3] in [float(v.max()) for v in (seen, seen[:3], seen[3:])]


@given(st.integers(0, 1000), st.integers(1, 6))
def test_diversity_by_its_definition(seed: int, n: int) -> None:
    maps = torch.rand(n, 5, 7, generator=torch.Generator().manual_seed(seed)).double()
    result = diversity_score(maps)
    for k in range(1, n + 1):
        best = maps[:k].mean((1, 2)).min()
        wanted = float(100 * (best - maps[:k].amin(0).mean()) / best)
        assert result.curve[k - 1] == pytest.approx(wanted, abs=1e-9)
        assert -1e-9 <= result.curve[k - 1] <= 100
    assert diversity_score(maps.expand(n, -1, -1)).global_best == result.global_best


def test_a_perfect_sample_leaves_the_score_undefined() -> None:
    maps = torch.rand(3, 4, 4)
    maps[1] = 0
    result = diversity_score(maps)
    assert math.isnan(result.score)
    assert result.curve[0] == 0
    assert result.global_best == 0
    for bad, message in [
        (maps[0], r"distances \(n, H, W\)"),
        (-maps, "must be finite and not negative"),
        (maps / 0, "must be finite and not negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            diversity_score(bad)


def test_pixel_stddev_is_numpys() -> None:
    samples = torch.randint(0, 256, (5, 3, 9, 8))
    wanted = np.std(samples.numpy(), axis=0, ddof=1).mean()
    assert pixel_stddev(samples) == pytest.approx(wanted)
    assert pixel_stddev(samples * 257, 65535) == pytest.approx(wanted)
    assert pixel_stddev(samples.double() / 255, 1) == pytest.approx(wanted)
    assert pixel_stddev(samples[:1].expand(4, -1, -1, -1)) == 0
    with pytest.raises(ValueError, match="at least two images"):
        pixel_stddev(samples[:1])
