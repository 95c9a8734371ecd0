"""What calibration is told by: tallies that add up over images and processes, and the figures they give.

A forecast F of a value whose truth is y is calibrated when its probability integral transform (PIT) F(y) is uniform: a
histogram bulging in the middle tells of a spread too wide, one with heaps at the ends of one too narrow. The coverage
of the central interval of probability p is the share of PIT values within ½ ± p/2, and should be p.

Values are in levels, 0–255 whatever the bit depth.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["LEVELS", "PIT_BINS", "SPREAD_EDGES", "Calibration", "Marginals"]

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
            variances, sum of squared errors of the mean.
    """

    n_values: int
    histogram: list[float]
    crps_sum: float
    variance_sum: float
    squared_error_sum: float
    spread: list[list[float]]

    @classmethod
    def empty(cls, bins: int) -> "Marginals":
        """Nothing tallied yet."""
        return cls(0, [0.0] * bins, 0.0, 0.0, 0.0, [[0.0] * len(SPREAD_EDGES) for _ in range(3)])

    def __add__(self, other: "Marginals") -> "Marginals":
        """Both together; ValueError where histograms differ in their number of bins."""
        if len(self.histogram) != len(other.histogram):
            raise ValueError(
                f"tallies of {len(self.histogram)} and of {len(other.histogram)} bins cannot be added: "
                "use the same number of samples for every image"
            )
        numbers = [a + b for a, b in zip(self.numbers(), other.numbers(), strict=True)]
        return self.from_numbers(numbers, len(self.histogram))

    def numbers(self) -> list[float]:
        """All tallies in one list; `from_numbers` is the way back."""
        sums = [self.n_values, self.crps_sum, self.variance_sum, self.squared_error_sum]
        return [*sums, *self.histogram, *(v for row in self.spread for v in row)]

    @classmethod
    def from_numbers(cls, numbers: list[float], bins: int) -> "Marginals":
        """From `numbers` of a tally with so many bins."""
        rest = numbers[4 + bins :]
        rows = [rest[i : i + len(SPREAD_EDGES)] for i in range(0, len(rest), len(SPREAD_EDGES))]
        return cls(round(numbers[0]), numbers[4 : 4 + bins], numbers[1], numbers[2], numbers[3], rows)

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
        """Spread–skill ratio in [0, ∞]; 1 is calibrated, below 1 over-confident."""
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
        if not 0 <= level <= 1:
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
        samples: the marginals as the samples tell; `Marginals.histogram` is the rank histogram, n + 1 bins.
        energy_sum: sum over images of the energy score of the whole image, in levels.
        patch_energy_sum, n_patches: sum of the energy scores of patches of 8×8 pixels, those cut by a border left out.
        gaussian: the marginals of the closed-form Gaussian; None where there is none.
    """

    n_samples: int
    n_images: int
    samples: Marginals
    energy_sum: float
    patch_energy_sum: float
    n_patches: int
    gaussian: Marginals | None = None

    @classmethod
    def empty(cls, n_samples: int, gaussian: bool = False) -> "Calibration":
        """Nothing tallied yet."""
        none = Marginals.empty(PIT_BINS) if gaussian else None
        return cls(n_samples, 0, Marginals.empty(n_samples + 1), 0.0, 0.0, 0, none)

    def __add__(self, other: "Calibration") -> "Calibration":
        """Both together; ValueError where the number of samples differs or only one has a Gaussian."""
        if self.n_samples != other.n_samples or (self.gaussian is None) != (other.gaussian is None):
            raise ValueError(
                f"tallies of {self.n_samples} samples {'without' if self.gaussian is None else 'with'} a Gaussian "
                f"and of {other.n_samples} {'without' if other.gaussian is None else 'with'} cannot be added"
            )
        numbers = [a + b for a, b in zip(self.numbers(), other.numbers(), strict=True)]
        return self.from_numbers(numbers, self.n_samples)

    def numbers(self) -> list[float]:
        """All tallies in one list; `from_numbers` is the way back."""
        own = [self.n_images, self.energy_sum, self.patch_energy_sum, self.n_patches]
        return [*own, *self.samples.numbers(), *(self.gaussian.numbers() if self.gaussian else [])]

    @classmethod
    def from_numbers(cls, numbers: list[float], n_samples: int) -> "Calibration":
        """From `numbers` of a tally of so many samples."""
        middle = 4 + len(Marginals.empty(n_samples + 1).numbers())
        samples = Marginals.from_numbers(numbers[4:middle], n_samples + 1)
        gaussian = Marginals.from_numbers(numbers[middle:], PIT_BINS) if len(numbers) > middle else None
        return cls(n_samples, round(numbers[0]), samples, numbers[1], numbers[2], round(numbers[3]), gaussian)

    @property
    def energy_score(self) -> float:
        """Mean energy score of whole images, in levels (root mean square); lower is better."""
        return _ratio(self.energy_sum, self.n_images)

    @property
    def patch_energy_score(self) -> float:
        """Mean energy score of 8×8 patches, in levels (root mean square); lower is better. Sees local structure."""
        return _ratio(self.patch_energy_sum, self.n_patches)

    def to_json(self) -> dict[str, Any]:
        """Tallies as finite numbers for JSON; `from_json` is the way back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        """From what `to_json` gave."""
        gaussian = data["gaussian"] and Marginals(**data["gaussian"])
        return cls(**{**data, "samples": Marginals(**data["samples"]), "gaussian": gaussian})


def _ratio(a: float, b: float) -> float:
    if b:
        return a / b
    return math.inf if a > 0 else math.nan
