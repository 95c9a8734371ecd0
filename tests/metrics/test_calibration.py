"""Calibration against closed forms, Monte Carlo and formulas evaluated the long way round."""

import itertools
import math
from dataclasses import astuple, replace
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from vspsr.metrics import LEVELS, Calibration, Marginals, calibrate


def forecast(
    n: int = 10, bias: float = 0.0, width: float = 1.0, size: tuple[int, int] = (160, 170), seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples, truth, mean, stddev, where the truth is a draw from the same Gaussian at bias 0 and width 1."""
    generator = torch.Generator().manual_seed(seed)
    mean = 0.35 + 0.3 * torch.rand(3, *size, generator=generator, dtype=torch.float64)
    stddev = 0.005 + 0.02 * torch.rand(3, *size, generator=generator, dtype=torch.float64)
    truth = mean + stddev * torch.randn(3, *size, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 3, *size, generator=generator, dtype=torch.float64)
    mean, stddev = mean + bias, width * stddev
    return mean + stddev * noise, truth, mean, stddev


def test_a_calibrated_forecast() -> None:
    samples, truth, mean, stddev = forecast()
    tally = calibrate(samples, truth, mean, stddev, step=0)
    assert tally.gaussian is not None
    n_values = truth.numel()
    for marginals in (tally.samples, tally.gaussian):
        assert marginals.n_values == n_values
        assert sum(marginals.histogram) == pytest.approx(n_values)
        bins = len(marginals.histogram)
        chi2 = stats.chisquare(marginals.histogram).pvalue
        assert bins in (11, 40)
        assert chi2 > 1e-3
        for level in LEVELS:
            assert marginals.coverage(level) == pytest.approx(level, abs=5 * math.sqrt(0.25 / n_values))
        assert marginals.spread_skill == pytest.approx(1, abs=0.02)
        assert marginals.coverage(0) == pytest.approx(0, abs=1e-12)
        assert marginals.coverage(1) == pytest.approx(1)
    # Each bin of predicted standard deviation by itself is calibrated, too.
    counts = tally.gaussian.spread[0]
    assert sum(counts) == n_values
    assert sum(count > 5000 for count in counts) == 3
    for count, variance, error in zip(*tally.gaussian.spread, strict=True):
        if count > 5000:
            assert math.sqrt(variance / error) == pytest.approx(1, abs=0.03)
    # Both estimate the same CRPS; of a calibrated Gaussian it is σ/√π on average.
    wanted = 255 * float(stddev.mean()) / math.sqrt(math.pi)
    assert tally.gaussian.crps == pytest.approx(wanted, rel=0.02)
    assert tally.samples.crps == pytest.approx(tally.gaussian.crps, rel=0.01)
    assert tally.gaussian.rmse == pytest.approx(255 * float(stddev.square().mean().sqrt()), rel=0.02)


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_wrong_spread_shows(width: float) -> None:
    samples, truth, mean, stddev = forecast(width=width)
    tally = calibrate(samples, truth, mean, stddev, step=0)
    assert tally.gaussian is not None
    assert tally.gaussian.spread_skill == pytest.approx(width, rel=0.01)
    assert tally.samples.spread_skill == pytest.approx(width * math.sqrt(11 / (10 + width**2)), rel=0.01)
    for level in LEVELS:
        wanted = 2 * stats.norm.cdf(width * stats.norm.ppf((1 + level) / 2)) - 1
        assert tally.gaussian.coverage(level) == pytest.approx(wanted, abs=0.01)
    ends, middle = tally.samples.pit[0] + tally.samples.pit[-1], tally.samples.pit[5]
    assert (ends / 2 > middle) == (width < 1)
    right = calibrate(*forecast(), step=0)
    assert right.gaussian is not None
    assert tally.gaussian.crps > right.gaussian.crps
    assert tally.samples.crps > right.samples.crps
    assert tally.energy_score > right.energy_score
    assert tally.patch_energy_score > right.patch_energy_score


def test_bias_shows() -> None:
    samples, truth, mean, stddev = forecast(bias=0.02)
    tally = calibrate(samples, truth, mean, stddev)
    assert tally.gaussian is not None
    for marginals in (tally.samples, tally.gaussian):
        assert marginals.pit[0] > 1.5  # the forecast is too high: the truth ranks low
        assert marginals.pit[-1] < 0.5


@pytest.mark.parametrize("z", [-3.0, -0.4, 0.0, 1.7])
def test_gaussian_crps_is_the_integral_that_defines_it(z: float) -> None:
    """∫ (F(x) − 1{x ≥ y})² dx (Gneiting & Raftery 2007, eq. 20), by quadrature."""
    mean, stddev = 0.5, 0.04
    truth = torch.full((1, 8, 8), mean + z * stddev, dtype=torch.float64)
    m, s = torch.full_like(truth, mean), torch.full_like(truth, stddev)
    tally = calibrate(truth.expand(2, -1, -1, -1), truth, m, s, step=0)
    y = float(truth[0, 0, 0])
    cdf = stats.norm(mean, stddev).cdf
    wanted = integrate.quad(lambda x: cdf(x) ** 2, mean - 12 * stddev, y)[0]
    wanted += integrate.quad(lambda x: (1 - cdf(x)) ** 2, y, mean + 12 * stddev)[0]
    assert tally.gaussian is not None
    assert tally.gaussian.crps == pytest.approx(255 * wanted, rel=1e-6)


@given(st.integers(0, 1000), st.integers(2, 6))
def test_sample_scores_by_their_definitions(seed: int, n: int) -> None:
    """Every figure by plain loops over samples, on integer images full of ties."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 6, (n, 3, 17, 19)).astype(np.float64)
    y = generator.integers(0, 6, (3, 17, 19)).astype(np.float64)
    tally = calibrate(torch.from_numpy(x) / 255, torch.from_numpy(y) / 255)
    pairs = list(itertools.combinations(range(n), 2))
    between = sum(np.abs(x[i] - x[j]) for i, j in pairs) / len(pairs)
    integers = calibrate(torch.from_numpy(x).int(), torch.from_numpy(y).int(), peak=255)
    assert numbers(integers) == pytest.approx(numbers(tally))
    assert tally.samples.crps == pytest.approx((np.abs(x - y).mean(0) - between / 2).mean(), abs=1e-9)

    def energy(a: np.ndarray, b: np.ndarray) -> float:
        to_truth = np.mean([np.linalg.norm(v - b) for v in a])
        apart = np.mean([np.linalg.norm(a[i] - a[j]) for i, j in pairs])
        return (to_truth - apart / 2) / math.sqrt(b.size)

    assert tally.energy_score == pytest.approx(energy(x, y), abs=1e-9)
    cells = [(slice(None), slice(r, r + 8), slice(c, c + 8)) for r in (0, 8) for c in (0, 8)]
    wanted = np.mean([energy(x[(slice(None), *cell)], y[cell]) for cell in cells])
    assert tally.patch_energy_score == pytest.approx(wanted, abs=1e-9)
    assert tally.n_patches == 4
    variance = x.var(0, ddof=1).mean() * (1 + 1 / n)
    assert tally.samples.spread_skill == pytest.approx(math.sqrt(variance / ((x.mean(0) - y) ** 2).mean()))
    ranks = np.zeros(n + 1)
    for index in np.ndindex(*y.shape):
        column = x[(slice(None), *index)]
        low, high = int((column < y[index]).sum()), int((column <= y[index]).sum())
        ranks[low : high + 1] += 1 / (high - low + 1)
    np.testing.assert_allclose(tally.samples.histogram, ranks, atol=1e-9)


def test_fair_crps_and_energy_score_do_not_depend_on_n() -> None:
    """Estimates from 2 and from 40 samples agree with the Gaussian's closed form."""
    few = [calibrate(*forecast(2, seed=s, size=(96, 96)), step=0) for s in range(4)]
    many = calibrate(*forecast(40, seed=0, size=(96, 96)), step=0)
    assert many.gaussian is not None
    mean = sum(t.samples.crps for t in few) / 4
    assert mean == pytest.approx(many.gaussian.crps, rel=0.02)
    assert many.samples.crps == pytest.approx(many.gaussian.crps, rel=0.01)
    patches = sum(t.patch_energy_score for t in few) / 4
    assert patches == pytest.approx(many.patch_energy_score, rel=0.02)


def test_the_energy_score_of_independent_gaussians() -> None:
    """In many dimensions ‖X − y‖ concentrates: the score nears √2σ − √2σ/2 = σ/√2 per value."""
    generator = torch.Generator().manual_seed(0)
    samples = 0.5 + 0.02 * torch.randn(30, 3, 96, 96, generator=generator, dtype=torch.float64)
    truth = 0.5 + 0.02 * torch.randn(3, 96, 96, generator=generator, dtype=torch.float64)
    assert calibrate(samples, truth).energy_score == pytest.approx(255 * 0.02 / math.sqrt(2), rel=0.02)


def test_a_rounded_and_clipped_truth_is_calibrated_all_the_same() -> None:
    """A standard deviation of a third of a level, means beyond the range: the PIT of the rounded truth is uniform."""
    generator = torch.Generator().manual_seed(1)
    mean = 1.2 * torch.rand(3, 200, 200, generator=generator, dtype=torch.float64) - 0.1
    stddev = torch.full_like(mean, 0.33 / 255)
    truth = mean + stddev * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    rounded = ((truth * 255).round() / 255).clamp(0, 1)
    samples = rounded.expand(2, -1, -1, -1)
    right = calibrate(samples, rounded, mean, stddev).gaussian
    naive = calibrate(samples, rounded, mean, stddev, step=0).gaussian
    assert right is not None
    assert naive is not None
    assert max(abs(p - 1) for p in right.pit) < 0.1
    assert max(abs(p - 1) for p in naive.pit) > 0.5
    for level in LEVELS:
        assert right.coverage(level) == pytest.approx(level, abs=0.01)


def test_certain_forecasts() -> None:
    """A standard deviation of 0: right ones count as covered, wrong ones do not; nothing is NaN."""
    truth = torch.full((3, 8, 8), 0.5)
    mean = truth.clone()
    mean[:, :4] = 0.6
    tally = calibrate(truth.expand(3, -1, -1, -1), truth, mean, torch.zeros_like(truth)).gaussian
    assert tally is not None
    assert tally.coverage(0.9) == pytest.approx(0.5 * 0.9)
    assert tally.crps == pytest.approx(255 * 0.05, rel=1e-4)
    assert tally.spread_skill == 0
    same = calibrate(truth.expand(3, -1, -1, -1), truth)
    assert same.samples.pit == pytest.approx([1, 1, 1, 1])
    assert math.isnan(same.samples.spread_skill)
    assert same.energy_score == 0


def numbers(tally: Calibration | Marginals) -> list[float]:
    """All numbers of a tally in one list."""
    rows = [v if isinstance(v, tuple | list) else [v] for v in astuple(tally)]
    return np.concatenate([np.ravel(np.array(x, float)) for row in rows for x in row if x is not None]).tolist()


def test_tallies_add_up() -> None:
    parts = [calibrate(*forecast(4, seed=s, size=(24 + 8 * s, 16))) for s in range(3)]
    whole = reduce(add, parts)
    assert whole.n_images == 3
    assert whole.samples.n_values == sum(p.samples.n_values for p in parts)
    assert whole.energy_score == pytest.approx(np.mean([p.energy_score for p in parts]))
    assert Calibration.empty(4, gaussian=True) + whole == whole
    # An image cut at a multiple of the patch size: marginals of the parts are those of the whole.
    samples, truth, mean, stddev = forecast(4, size=(136, 40))
    cut = [slice(0, 72), slice(72, 136)]
    halves = [calibrate(samples[:, :, c], truth[:, c], mean[:, c], stddev[:, c]) for c in cut]
    both, one = halves[0] + halves[1], calibrate(samples, truth, mean, stddev)
    assert numbers(both.samples) == pytest.approx(numbers(one.samples))
    assert both.patch_energy_score == pytest.approx(one.patch_energy_score)
    assert both.gaussian is not None
    assert one.gaussian is not None
    assert numbers(both.gaussian) == pytest.approx(numbers(one.gaussian))


def test_bad_input_is_named() -> None:
    samples, truth, mean, stddev = forecast(3, size=(16, 16))
    for call, message in [
        (lambda: calibrate(samples[:1], truth), "n ≥ 2"),
        (lambda: calibrate(samples, truth[:, :8]), "must have the same channels and size"),
        (lambda: calibrate(samples * 255, truth), "`samples` must lie in 0 … 1"),
        (lambda: calibrate(samples, truth, mean), "`mean` and `stddev` must be given together"),
        (lambda: calibrate(samples, truth, mean, stddev[:1]), "`stddev` must be finite and shaped as `truth`"),
        (lambda: calibrate(samples, truth, mean / 0, stddev), "`mean` must be finite"),
        (lambda: calibrate(samples, truth, mean, -stddev), "`stddev` must not be negative"),
        (lambda: calibrate(samples, truth) + calibrate(samples[:2], truth), "tallies of 3 samples without"),
        (lambda: calibrate(samples, truth) + calibrate(samples, truth, mean, stddev), "cannot be added"),
        (lambda: Marginals.empty(3) + Marginals.empty(4), "same number of samples"),
        (lambda: replace(Marginals.empty(3), spread=[[0.0]]), "`spread` must be"),
        (lambda: replace(Calibration.empty(2), n_samples=3), "`histogram` must have 4 bins, got 3"),
        (lambda: calibrate(samples, truth, peak=0), "`peak` must be above 0"),
        (lambda: Marginals.empty(3).coverage("x"), "`level` must be a finite number"),  # type: ignore[arg-type]
        (lambda: Marginals.empty(3).coverage(95), r"`level` must lie in \[0, 1\], got 95"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
