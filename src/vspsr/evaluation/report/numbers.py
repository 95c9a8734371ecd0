"""How numbers are written for people: a true minus, ∞, and a dash for what is not known."""

import math

__all__ = ["number"]


def number(value: float | None, digits: int) -> str:
    """A number with so many decimals."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}f}".replace("-", "−")
