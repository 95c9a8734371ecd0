"""How numbers are written for people: a true minus, thousands set apart, ∞, and a dash for what is not known."""

import math

__all__ = ["number"]


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits}f}" if abs(value) >= 10_000 else f"{value:.{digits}f}"
    return text.replace("-", "−").replace(",", "\N{NARROW NO-BREAK SPACE}")
