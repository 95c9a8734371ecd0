"""Numbers as text for people: a true minus, groups of thousands, ∞, and a dash for unknown values."""

import math
from typing import Any


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits}f}" if abs(value) >= 10_000 else f"{value:.{digits}f}"
    return text.replace("-", "−").replace(",", "\N{NARROW NO-BREAK SPACE}")


def mean_number(figures: dict[str, Any], digits: int) -> tuple[str, str]:
    """A mean of `metrics.aggregate` and a note. If only some values are infinite, the mean is that of the others."""
    finite, infinite = figures["finite"], figures["infinite"]
    if finite and infinite:
        return number(figures["finite_mean"], digits), f"of {finite} finite; ∞ in {infinite} of {finite + infinite}"
    return number(figures["mean"], digits), ""
