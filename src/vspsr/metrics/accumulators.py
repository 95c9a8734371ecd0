"""A metric over many images: `update` with its values, `compute` over all of them, `merge` what other processes saw."""

import math
from collections.abc import Iterable

from torch import Tensor


class Accumulator:
    """The values of one metric, one for each image or sample. They may come in any order and in any number of parts.

    Args:
        higher_is_better: which end of the values is the worst: True for PSNR, False for a distance.
    """

    def __init__(self, higher_is_better: bool) -> None:
        self.higher_is_better = higher_is_better
        self.values: list[float | None] = []

    def update(self, values: Tensor | Iterable[float | None] | float | None) -> None:
        """Add what a metric returned: one value or several. NaN and None stand for undefined values."""
        if isinstance(values, Tensor):
            values = values.detach().flatten().tolist()
        found = [values] if values is None or isinstance(values, int | float) else list(values)
        self.values += [None if v is None or math.isnan(v) else float(v) for v in found]

    def merge(self, other: "Accumulator") -> None:
        """Add the values of another accumulator of the same metric."""
        self.values += other.values

    def compute(self) -> dict[str, float | int | None]:
        """The figures of all values; sums are rounded once, so that the order of the values does not matter.

        Returns:
            mean: of the defined values, infinite if one is; None without any.
            finite_mean: of the finite values; None without any.
            worst: of the defined values; None without any.
            finite, infinite, undefined: the number of values of each kind.
        """
        defined = [v for v in self.values if v is not None]
        finite = [v for v in defined if math.isfinite(v)]
        worst = min if self.higher_is_better else max
        return {
            "mean": mean(defined),
            "finite_mean": mean(finite),
            "worst": worst(defined, default=None),
            "finite": len(finite),
            "infinite": len(defined) - len(finite),
            "undefined": len(self.values) - len(defined),
        }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the defined values, infinite if one is; None without any. The sum is rounded once."""
    defined = [v for v in values if v is not None]
    return math.fsum(defined) / len(defined) if defined else None
