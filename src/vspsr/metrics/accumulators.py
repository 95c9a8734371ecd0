"""The values of one metric over many images, as figures."""

import math
from collections.abc import Iterable

from vspsr.checks import check_types


def aggregate(values: Iterable[float | None], higher_is_better: bool) -> dict[str, float | int | None]:
    """The figures of all values; sums are rounded once, so that the order of the values does not matter.

    Args:
        values: of one metric, one for each image or sample. NaN and None stand for undefined values.
        higher_is_better: which end of the values is the worst: True for PSNR, False for a distance.

    Returns:
        mean: of the defined values, infinite if one is; None without any.
        finite_mean: of the finite values; None without any.
        worst: of the defined values; None without any.
        finite, infinite, undefined: the number of values of each kind.
    """
    check_types(values=(values, Iterable), higher_is_better=(higher_is_better, bool))
    values = list(values)
    defined = [float(v) for v in values if v is not None and not math.isnan(v)]
    finite = [v for v in defined if math.isfinite(v)]
    worst = min if higher_is_better else max
    return {
        "mean": mean(defined),
        "finite_mean": mean(finite),
        "worst": worst(defined, default=None),
        "finite": len(finite),
        "infinite": len(defined) - len(finite),
        "undefined": len(values) - len(defined),
    }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the defined values, infinite if one is; None without any. The sum is rounded once."""
    defined = [v for v in values if v is not None]
    return math.fsum(defined) / len(defined) if defined else None
