"""Tallies of calibration of one image: ranks and PIT, CRPS, energy score, spread and skill.

- From n samples, the PIT is the rank of the truth: n + 1 bins. Ties share their weight evenly.
- From a Gaussian N(m, σ²) and a truth rounded to steps of h, it is spread over [F(y − h/2), F(y + h/2)] (Czado,
  Gneiting & Held, Biometrics 2009); a truth at an end of the range includes everything beyond it.
- CRPS = E|X − y| − ½ E|X − X′| (Gneiting & Raftery, JASA 2007, eq. 21; of a Gaussian: Gneiting et al., Monthly
  Weather Review 2005, eq. 5); from samples without the bias of small n, the second mean being over different samples
  ("fair", Ferro, QJRMS 2014).
- Energy score: the same with Euclidean distances of whole images, or of patches, divided by √(number of values)
  (Gneiting & Raftery, eq. 22).
- Spread–skill ratio: √(mean variance) over the RMSE of the mean; for n samples the variance takes the factor 1 + 1/n
  (Fortin et al., J. Hydrometeorology 2014). 1 is calibrated, below 1 overconfident.

CRPS is a strictly proper score of one value, the energy score of a whole image strictly proper for the image (among
distributions with a finite mean). For images, the mean CRPS and the energy score of patches are proper, but not
strictly: they see only the distributions of single values and single patches.

Computed in double precision, a strip of rows at a time.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from vspsr.checks import check_number, check_types
from vspsr.metrics.images import check_gaussian, check_pair
from vspsr.metrics.tallies import PIT_BINS, SPREAD_EDGES, Calibration, Marginals

_PATCH, _STRIP = 8, 64


def calibrate(
    samples: Tensor,
    truth: Tensor,
    mean: Tensor | None = None,
    stddev: Tensor | None = None,
    step: float | None = None,
    peak: float = 1.0,
) -> Calibration:
    """The tallies of one image.

    Args:
        samples: (n, C, H, W) in 0 … peak, floating point or integers, n ≥ 2.
        truth: (C, H, W), likewise.
        mean, stddev: (C, H, W) of the Gaussian marginals, where there is a closed form: 1 is the full range whatever
            ``peak``; mean may lie beyond it, stddev ≥ 0.
        step: to which the truth is rounded, as a part of the full range, for the Gaussian only (samples should be
            rounded as the truth is): 1/255 for 8 bits, 0 for not at all. By default 1/peak for integers, else 1/255.
        peak: 1 for [0, 1], 255 for 8-bit integers, 65535 for 16-bit.

    Raises:
        ValueError: fewer than two samples, shapes that do not fit, values out of range.
    """
    check_types(samples=(samples, Tensor), truth=(truth, Tensor))
    if samples.ndim != 4 or truth.ndim != 3 or len(samples) < 2:
        shapes = f"{tuple(samples.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"`samples` (n, C, H, W), n ≥ 2, and `truth` (C, H, W) expected, got {shapes}")
    check_pair(samples, truth, peak, ("samples", "truth"))
    if (mean is None) != (stddev is None):
        raise ValueError("`mean` and `stddev` must be given together or not at all")
    if mean is not None and stddev is not None:
        check_gaussian(truth, mean, stddev)
    step = 1 / (255 if truth.is_floating_point() else peak) if step is None else check_number(step, "step")
    n, gaussian = len(samples), mean is not None and stddev is not None
    total = Calibration.empty(n, gaussian)
    marginals, closed = total.samples, total.gaussian
    gram = torch.zeros(n, n, dtype=torch.float64, device=truth.device)
    patch_energy, n_patches = 0.0, 0
    for top in range(0, truth.shape[-2], _STRIP):
        rows = slice(top, top + _STRIP)
        x, y = samples[..., rows, :], truth[:, rows]
        errors = (x.double() - y.double()) * (255 / peak)
        marginals += _from_samples(x, y, errors)
        if closed is not None and mean is not None and stddev is not None:
            closed += gaussian_marginals(y.double() / peak, mean[:, rows].double(), stddev[:, rows].double(), step)
        flat = errors.flatten(1)
        gram += flat @ flat.T
        patches = _patches(errors)
        patch_energy += float(_energy_scores(patches @ patches.mT, patches.shape[-1]).sum())
        n_patches += len(patches)
    energy = float(_energy_scores(gram[None], truth.numel()))
    return Calibration(n, 1, marginals, energy, patch_energy, n_patches, closed)


def _from_samples(x: Tensor, y: Tensor, errors: Tensor) -> Marginals:
    """Samples (n, C, h, W), truth (C, h, W), and their difference in levels."""
    n = len(x)
    below, equal = (x < y).sum(0).flatten(), (x == y).sum(0).flatten()
    # The truth has the ranks below … below + equal with equal weights: add at the first, subtract after the last.
    weight = 1 / (equal + 1).double()
    added = torch.bincount(below, weight, minlength=n + 2)
    removed = torch.bincount(below + equal + 1, weight, minlength=n + 2)
    ranks = (added - removed).cumsum(0)[: n + 1].clamp_min(0)
    crps = errors.abs().sum() / n - torch.pdist(errors.flatten(1), 1).sum() / (n * (n - 1))
    mean = errors.mean(0)
    variance = (errors - mean).square_().sum(0) / (n - 1) * (1 + 1 / n)
    return _tally(ranks, float(crps), variance, mean.square())


def gaussian_marginals(y: Tensor, mean: Tensor, stddev: Tensor, step: float) -> Marginals:
    """The tallies of a Gaussian forecast: truth, mean and standard deviation, each (C, H, W) float64.

    Truth in [0, 1], rounded to multiples of ``step`` (0: not rounded). In one piece: for large images `calibrate`.
    """
    sigma = stddev.clamp_min(1e-9)  # a forecast without spread: PIT 0 or 1, or ½ if it is right
    lower, upper = ((torch.special.ndtr((y + h - mean) / sigma)).flatten() for h in (-step / 2, step / 2))
    if step:
        lower = torch.where(y.flatten() <= 0, 0.0, lower)
        upper = torch.where(y.flatten() >= 1, 1.0, upper)
    # Share of each value's PIT, uniform on [lower, upper], that lies below the edges of the bins.
    slope = 1 / (upper - lower).clamp_min(1e-9)
    start = -lower * slope
    below = [torch.add(start, slope, alpha=k / PIT_BINS).clamp_(0, 1).sum() for k in range(1, PIT_BINS)]
    cumulative = torch.stack([torch.zeros_like(below[0]), *below, torch.full_like(below[0], y.numel())])
    z = (y - mean) / sigma
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    crps = 255 * (sigma * (z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))).sum()
    return _tally(cumulative.diff(), float(crps), (255 * stddev).square(), (255 * (y - mean)).square())


def _tally(histogram: Tensor, crps: float, variance: Tensor, squared_error: Tensor) -> Marginals:
    """Marginals of values with these variances and squared errors of the mean, in squares of levels."""
    variance, squared_error = variance.flatten(), squared_error.flatten()
    edges = torch.tensor(SPREAD_EDGES[1:], dtype=torch.float64, device=variance.device)
    place = torch.bucketize(variance.sqrt(), edges, right=True)
    rows = [torch.bincount(place, w, len(SPREAD_EDGES)) for w in (None, variance, squared_error)]
    return Marginals(
        n_values=variance.numel(),
        histogram=histogram.tolist(),
        crps_sum=crps,
        variance_sum=float(variance.sum()),
        squared_error_sum=float(squared_error.sum()),
        spread=[row.double().tolist() for row in rows],
    )


def _patches(errors: Tensor) -> Tensor:
    """Whole patches of a strip (n, C, h, W) → (patches, n, C·8·8)."""
    height, width = (side // _PATCH * _PATCH for side in errors.shape[-2:])
    return pixel_unshuffle(errors[..., :height, :width], _PATCH).flatten(2).permute(2, 0, 1)


def _energy_scores(gram: Tensor, n_values: int) -> Tensor:
    """Energy scores from products of errors: (..., n, n) → (...), distances divided by √n_values."""
    n = gram.shape[-1]
    squares = gram.diagonal(dim1=-2, dim2=-1)
    between = (squares[..., :, None] + squares[..., None, :] - 2 * gram).clamp_min(0).sqrt()
    return (squares.sqrt().mean(-1) - between.sum((-2, -1)) / (2 * n * (n - 1))) / math.sqrt(n_values)
