"""Tallies of calibration, which add up over images and processes, and the figures that follow from them.

A forecast F of a value with truth y is calibrated if its probability integral transform (PIT) F(y) is uniform. A
histogram that is high in the middle shows a spread too wide; one that is high at the ends, a spread too narrow. The
coverage of the central interval of probability p is the share of PIT values within ½ ± p/2. It should be p.

Values are in levels, 0–255 whatever the bit depth.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

from vspsr.checks import check_number

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""The central intervals whose coverage is reported."""

SPREAD_EDGES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Lower ends, in levels, of the bins of predicted standard deviation in `Marginals.spread`."""

PIT_BINS = 40
"""Bins of the Gaussian's PIT histogram: the ends of all intervals in LEVELS fall on their edges."""


@dataclass(frozen=True)
class Marginals:
    """Tallies of forecasts of single values (pixel × channel); to be added with ``+``.

    Attributes:
        n_values: how many.
        histogram: PIT histogram, counts in equal bins of [0, 1]; ties and rounded truths make fractions.
        crps_sum, variance_sum, squared_error_sum: sums over values, in levels and their squares.
        spread: by predicted standard deviation, bins beginning at SPREAD_EDGES: three lists, number of values, sum of
            variances, sum of squared errors of the mean. With few samples, places whose spread came out large by chance
            make the upper bins look underconfident.
    """

    n_values: int
    histogram: list[float]
    crps_sum: float
    variance_sum: float
    squared_error_sum: float
    spread: list[list[float]]

    def __post_init__(self) -> None:
        if not self.histogram or [len(row) for row in self.spread] != 3 * [len(SPREAD_EDGES)]:
            raise ValueError(f"`spread` must be three lists of {len(SPREAD_EDGES)} numbers, `histogram` one or more")

    @classmethod
    def empty(cls, bins: int) -> "Marginals":
        """No values yet."""
        return cls(0, [0.0] * bins, 0.0, 0.0, 0.0, [[0.0] * len(SPREAD_EDGES) for _ in range(3)])

    def __add__(self, other: "Marginals") -> "Marginals":
        """Both together; ValueError where histograms differ in their number of bins."""
        if len(self.histogram) != len(other.histogram):
            raise ValueError(
                f"tallies of {len(self.histogram)} and of {len(other.histogram)} bins cannot be added: "
                "use the same number of samples for every image"
            )
        return Marginals(*(_sum(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    @property
    def crps(self) -> float:
        """Mean CRPS in levels, [0, ∞) up to the estimate's noise; lower is better."""
        return _ratio(self.crps_sum, self.n_values)

    @property
    def rmse(self) -> float:
        """Root-mean-square error of the mean, in levels."""
        return math.sqrt(_ratio(self.squared_error_sum, self.n_values))

    @property
    def spread_skill(self) -> float:
        """Spread–skill ratio in [0, ∞]; 1 is calibrated, below 1 overconfident.

        From n samples a spread wrong by a factor f shows as f·√((n + 1)/(n + f²)): nearer to 1 for small n.
        """
        return math.sqrt(_ratio(self.variance_sum, self.squared_error_sum))

    @property
    def pit(self) -> list[float]:
        """The PIT histogram as a density on [0, 1]: 1 in every bin is calibrated."""
        return [len(self.histogram) * _ratio(count, self.n_values) for count in self.histogram]

    def coverage(self, level: float) -> float:
        """Share of truths within the central interval of probability ``level`` in [0, 1].

        Within a bin the PIT counts as uniform: with ranks, an interval between two order statistics is exact and others
        interpolate.
        """
        if check_number(level, "level") > 1:
            raise ValueError(f"`level` must lie in [0, 1], got {level}")
        return self._cumulative((1 + level) / 2) - self._cumulative((1 - level) / 2)

    def _cumulative(self, u: float) -> float:
        place = round(u * len(self.histogram), 9)
        whole = min(int(place), len(self.histogram) - 1)
        return _ratio(sum(self.histogram[:whole]) + (place - whole) * self.histogram[whole], self.n_values)


@dataclass(frozen=True)
class Calibration:
    """Tallies over any number of images; to be added with ``+``, across images and processes.

    Attributes:
        n_samples: of each image.
        n_images: how many.
        samples: the marginals of the samples; `Marginals.histogram` is the rank histogram, n + 1 bins.
        energy_sum: sum over images of the energy score of the whole image, in levels.
        patch_energy_sum, n_patches: sum of the energy scores of patches of 8×8 pixels, those cut by a border left out.
        gaussian: the marginals of the closed-form Gaussian; None without a closed form.
    """

    n_samples: int
    n_images: int
    samples: Marginals
    energy_sum: float
    patch_energy_sum: float
    n_patches: int
    gaussian: Marginals | None = None

    def __post_init__(self) -> None:
        for tally, bins in ((self.samples, self.n_samples + 1), (self.gaussian, PIT_BINS)):
            if tally is not None and len(tally.histogram) != bins:
                raise ValueError(f"`histogram` must have {bins} bins, got {len(tally.histogram)}")

    @classmethod
    def empty(cls, n_samples: int, gaussian: bool = False) -> "Calibration":
        """No images yet."""
        none = Marginals.empty(PIT_BINS) if gaussian else None
        return cls(n_samples, 0, Marginals.empty(n_samples + 1), 0.0, 0.0, 0, none)

    def __add__(self, other: "Calibration") -> "Calibration":
        """Both together; ValueError where the number of samples differs or only one has a Gaussian."""
        if self.n_samples != other.n_samples or (self.gaussian is None) != (other.gaussian is None):
            raise ValueError(
                f"tallies of {self.n_samples} samples {'without' if self.gaussian is None else 'with'} a Gaussian "
                f"and of {other.n_samples} {'without' if other.gaussian is None else 'with'} cannot be added"
            )
        sums = (_sum(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)[1:])
        return Calibration(self.n_samples, *sums)

    @property
    def energy_score(self) -> float:
        """Mean energy score of whole images, in levels (root mean square); lower is better."""
        return _ratio(self.energy_sum, self.n_images)

    @property
    def patch_energy_score(self) -> float:
        """Mean energy score of 8×8 patches, in levels (root mean square); lower is better. Sees local structure."""
        return _ratio(self.patch_energy_sum, self.n_patches)


def _sum(a: Any, b: Any) -> Any:
    """Numbers and tallies by ``+``, lists value by value; None with None."""
    if isinstance(a, list):
        return [_sum(x, y) for x, y in zip(a, b, strict=True)]
    return None if a is None else a + b


def _ratio(a: float, b: float) -> float:
    if b:
        return a / b
    return math.inf if a > 0 else math.nan
