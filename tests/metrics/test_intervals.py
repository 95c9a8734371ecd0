"""Calibrated intervals: against scipy, by Monte Carlo, and what is said where pictures are too few."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from vspsr.metrics.intervals import IntervalTally, hoeffding_bentkus, images_needed


@pytest.mark.parametrize("n", [5, 50, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("risk", [0.0, 0.03, 0.09, 0.4, 1.0])
def test_p_value_against_scipy(risk: float, n: int, alpha: float) -> None:
    a = min(risk, alpha)
    hoeffding = torch.exp(torch.tensor(-n * stats.entropy([a, 1 - a], [alpha, 1 - alpha]))).item()
    bentkus = 2.718281828459045 * stats.binom.cdf(-(-(n * risk) // 1), n, alpha)
    assert hoeffding_bentkus(risk, n, alpha) == pytest.approx(min(1.0, hoeffding, bentkus), rel=1e-6, abs=1e-300)


def test_the_p_value_is_one() -> None:
    """Where the expected loss is α exactly, P(p ≤ δ) ≤ δ, for the losses that are hardest: 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    losses = (torch.rand(4000, 40, generator=generator) < 0.1).double().mean(1)
    p = torch.tensor([hoeffding_bentkus(float(r), 40, 0.1) for r in losses])
    for delta in (0.05, 0.1, 0.3):
        assert float((p <= delta).double().mean()) <= delta + 0.01


def test_pictures_needed() -> None:
    assert images_needed(0.1, 0.1) == images_needed(np.float64(0.1), np.float32(0.1)) == 22
    assert images_needed(0.5, 0.5) == 1
    for alpha, delta in ((0.1, 0.1), (0.05, 0.2), (0.3, 0.01)):
        n = images_needed(alpha, delta)
        assert hoeffding_bentkus(0.0, n, alpha) <= delta < hoeffding_bentkus(0.0, n - 1, alpha)


def heavy_tailed(n: int, seed: int, size: int = 16) -> IntervalTally:
    """Errors of Student's t, of a scale that differs from picture to picture, where σ states 1/50."""
    generator, tally = torch.Generator().manual_seed(seed), IntervalTally()
    for _ in range(n):
        normal = torch.randn(4, 3, size, size, generator=generator, dtype=torch.float64)
        scale = torch.exp(0.4 * torch.randn(1, generator=generator, dtype=torch.float64))
        error = 0.02 * scale * normal[0] / normal[1:].square().mean(0).sqrt()
        mean = torch.full_like(error, 0.5)
        tally.update((mean + error).clamp(0, 1), mean, torch.full_like(error, 0.02))
    return tally


def test_the_promise_holds() -> None:
    """P(expected loss ≤ α) ≥ 1 − δ over calibration sets; the Gaussian factor does not keep it."""
    truth = heavy_tailed(300, 99)
    factors = [heavy_tailed(40, seed).factor(0.1, 0.1) for seed in range(20)]
    kept = [truth.coverage(factor) >= 0.9 for factor in factors]
    assert sum(kept) >= 18
    assert truth.coverage(1.645) < 0.88
    assert max(factors) < 10  # and is not kept by intervals that hold everything


def test_coverage_counts_values() -> None:
    tally, mean = IntervalTally(), torch.full((1, 2, 2), 0.5)
    tally.update(mean + torch.tensor([[[0.0, 0.01], [0.02, -0.035]]]), mean, torch.full((1, 2, 2), 0.01))
    for factor, share in ((0.0, 0.25), (0.99, 0.25), (1.01, 0.5), (2.5, 0.75), (3.4, 0.75), (3.6, 1.0)):
        assert tally.coverage(factor) == share
    tally.update(mean, mean, torch.zeros(1, 2, 2))  # a forecast without spread that is right
    assert tally.coverage(2.5) == 0.875
    assert tally.joint_coverage(2.5, 0.2) == 0.5
    tally.update(mean + 0.1, mean, torch.zeros(1, 2, 2))  # … and one that is wrong
    assert tally.coverage(50.0) == pytest.approx(2 / 3)


def test_by_size() -> None:
    """Small intervals that miss, large ones that do not."""
    tally, mean = IntervalTally(), torch.full((1, 8, 8), 0.5)
    sigma = torch.full((1, 8, 8), 2.0) ** torch.arange(-8.0, 0.0) / 4
    tally.update(mean + 0.002, mean, sigma)
    classes = tally.by_size(2.0)
    assert [c["share"] for c in classes] == [0.25] * 4
    assert [c["coverage"] for c in classes] == [1.0 if c["smallest"] / 255 > 0.002 else 0.5 for c in classes]
    assert all(a["largest"] <= b["smallest"] * 1.01 for a, b in pairwise(classes))
    total = sum(c["share"] * c["coverage"] for c in classes)
    assert total == pytest.approx(tally.coverage(2.0))


def test_what_cannot_be_controlled_is_said() -> None:
    with pytest.raises(ValueError, match=r"`alpha` 0.1 and `delta` 0.1 need at least 22 pictures, got 21"):
        heavy_tailed(21, 0).factor(0.1, 0.1)
    tally, mean = IntervalTally(), torch.full((1, 4, 4), 0.5)
    for _ in range(30):
        tally.update(mean + 0.1, mean, torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="no factor up to 50 controls the loss"):
        tally.factor(0.1, 0.1)
    with pytest.raises(ValueError, match="`factor` must be a finite number"):
        tally.coverage("x")  # type: ignore[arg-type]
    for arguments in ((0.0, 0.1), (0.1, 1.0), (float("nan"), 0.1)):
        with pytest.raises(ValueError, match=r"`(alpha|delta)` must lie between 0 and 1"):
            images_needed(*arguments)
