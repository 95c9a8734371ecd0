"""A factor on σ for which intervals mean ± factor·σ hold what they promise, without assumptions on the distribution.

Risk-controlling prediction sets (Bates, Angelopoulos, Lei, Malik & Jordan, Journal of the ACM 2021; for images:
Angelopoulos et al., *Image-to-Image Regression with Distribution-Free Uncertainty Quantification*, ICML 2022). The loss
of a picture is the share of its values (pixel × channel) outside of their intervals; it falls with the factor. The
factor is the smallest at which, and above which, the hypothesis "the expected loss exceeds α" is rejected at level δ.
So P(expected loss ≤ α) ≥ 1 − δ over the choice of the calibration pictures, if these and new ones are exchangeable:
pictures of one kind, drawn independently. The unit is the picture, because values of a picture depend on each other.

The p-value is that of Hoeffding and Bentkus (Bates et al., 2021, proposition 6): with n losses in [0, 1] of mean r,

    p = min(exp(−n·h(min(r, α), α)), e·P(Binomial(n, α) ≤ ⌈n r⌉)),   h(a, b) = a log(a/b) + (1−a) log((1−a)/(1−b)).
"""

import math
from bisect import bisect_left
from numbers import Real

import torch
from torch import Tensor

from vspsr.checks import check_integer, check_number
from vspsr.metrics.images import check_gaussian, check_range

_STEP, _STEPS = 0.01, 5000
"""Factors are multiples of 0.01 up to 50."""

_OCTAVE, _SIGMA_BINS = 4, 80
"""Bins of σ in levels: quarters of octaves from 2⁻¹⁰ to 2¹⁰."""


def hoeffding_bentkus(risk: float, n: int, alpha: float) -> float:
    """P-value of the hypothesis that the expected loss exceeds alpha, given the mean loss of n pictures: (0, 1].

    ValueError: an argument out of its range.
    """
    alpha, n = check_level(alpha, "alpha"), check_integer(n, "n", 1, 2**31)
    if not 0 <= risk <= 1:
        raise ValueError(f"`risk` must lie in [0, 1], got {risk!r}")
    a = min(risk, alpha)
    entropy = (a * math.log(a / alpha) if a else 0.0) + (1 - a) * math.log((1 - a) / (1 - alpha))
    most = math.ceil(n * risk - 1e-9)
    log_terms = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(alpha) + (n - k) * math.log1p(-alpha)
        for k in range(most + 1)
    )  # fmt: skip
    return min(1.0, math.exp(-n * entropy), math.e * math.fsum(map(math.exp, log_terms)))


def images_needed(alpha: float, delta: float) -> int:
    """The least number of pictures from which a factor can follow: (1 − α)ⁿ ≤ δ. With it no value may lie outside."""
    alpha, delta = check_level(alpha, "alpha"), check_level(delta, "delta")
    return math.ceil(math.log(delta) / math.log1p(-alpha) - 1e-9)


def check_count(n: int, alpha: float, delta: float) -> None:
    """ValueError where so many pictures are too few, or alpha or delta are out of range."""
    if n < (needed := images_needed(alpha, delta)):
        raise ValueError(
            f"`alpha` {alpha:g} and `delta` {delta:g} need at least {needed} pictures, got {n}: give "
            "more, or choose larger values"
        )


def check_level(value: float, name: str) -> float:
    """The value; ValueError unless it lies between 0 and 1, both excluded."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1:
        raise ValueError(f"`{name}` must lie between 0 and 1, got {value!r}")
    return float(value)


class IntervalTally:
    """Counts of the values of pictures that lie within mean ± factor·σ, for all factors at once."""

    def __init__(self) -> None:
        self._inside: list[Tensor] = []  # of each picture: share of values inside, by factor
        self._pooled = torch.zeros(_SIGMA_BINS, _STEPS + 2, dtype=torch.int64)

    @property
    def n(self) -> int:
        """Number of pictures."""
        return len(self._inside)

    def update(self, truth: Tensor, mean: Tensor, stddev: Tensor) -> None:
        """Count one picture.

        Args:
            truth: (C, H, W) in [0, 1].
            mean, stddev: (C, H, W), in the same units.

        Raises:
            ValueError: shapes that differ, values that are not finite, a negative standard deviation.
        """
        check_range(truth, 1.0, "truth")
        check_gaussian(truth, mean, stddev)
        error, sigma = (truth.double() - mean.double()).abs(), stddev.double()
        needed = torch.where(error == 0, 0.0, error / sigma)  # infinite where σ is 0
        place = (needed / _STEP).clamp_max(_STEPS + 1).ceil().long().flatten()
        octave = (255 * sigma).clamp_min(2.0**-10).log2()
        row = ((octave + 10) * _OCTAVE).long().clamp_(0, _SIGMA_BINS - 1).flatten()
        counts = torch.bincount(row * (_STEPS + 2) + place, minlength=self._pooled.numel()).view_as(self._pooled)
        self._pooled += counts.cpu()
        self._inside.append((counts.sum(0)[:-1].cumsum(0).double() / truth.numel()).cpu())

    def factor(self, alpha: float, delta: float) -> float:
        """The smallest factor for which the expected loss is at most alpha, with probability at least 1 − delta.

        Raises:
            ValueError: too few pictures, or no factor up to 50 suffices.
        """
        check_count(self.n, alpha, delta)
        losses = (1 - torch.stack(self._inside).mean(0)).clamp(0, 1)

        def controlled(step: int) -> bool:  # the loss falls with the factor, and the p-value with the loss
            return hoeffding_bentkus(float(losses[step]), self.n, alpha) <= delta

        step = bisect_left(range(_STEPS + 1), True, key=controlled)
        if step > _STEPS:
            raise ValueError(
                f"no factor up to {_STEP * _STEPS:g} controls the loss at `alpha` {alpha:g} with {self.n} pictures: "
                "σ is too small in many places; give more pictures, or larger `alpha` and `delta`"
            )
        return round(_STEP * step, 2)

    def coverage(self, factor: float) -> float:
        """Share of values inside, the mean over the pictures."""
        return float(self._shares(check_number(factor, "factor")).mean())

    def joint_coverage(self, factor: float, alpha: float) -> float:
        """Share of pictures of which at least 1 − alpha of the values lie inside."""
        return float((self._shares(factor) >= 1 - alpha).double().mean())

    def by_size(self, factor: float) -> list[dict[str, float]]:
        """Coverage by size of the interval: four classes of about equal numbers of values, the smallest first.

        Returns:
            smallest, largest: half-widths between which they lie, in 8-bit levels, at most 255: no value is farther
                away; share: of all values; coverage: share of these values that lie within.
        """
        rows = self._pooled.sum(1)
        inside = self._pooled[:, : self._place(factor) + 1].sum(1)
        before = (rows.cumsum(0) - rows / 2) / rows.sum()  # middle rank of each row
        group = (4 * before).long().clamp_max(3)
        classes = []
        for g in range(4):
            (chosen,) = torch.nonzero((group == g) & (rows > 0), as_tuple=True)
            if not len(chosen):
                continue
            low, high = (min(255.0, factor * 2.0 ** (int(i) / _OCTAVE - 10)) for i in (chosen[0], chosen[-1] + 1))
            count = int(rows[chosen].sum())
            share, coverage = count / int(rows.sum()), int(inside[chosen].sum()) / count
            classes.append({"smallest": low, "largest": high, "share": share, "coverage": coverage})
        return classes

    def _place(self, factor: float) -> int:
        """Index of the largest counted factor that is not above the given one."""
        if not self.n:
            raise ValueError("no pictures have been counted")
        if not 0 <= factor <= _STEP * _STEPS:
            raise ValueError(f"`factor` must lie in [0, {_STEP * _STEPS:g}], got {factor!r}")
        return int(factor / _STEP + 1e-6)

    def _shares(self, factor: float) -> Tensor:
        place = self._place(factor)
        return torch.stack([shares[place] for shares in self._inside])
