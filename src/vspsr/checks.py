"""Arguments of public functions, checked once: images, seeds, temperatures, bits."""

import math

from torch import Tensor

__all__ = ["check_bits_and_rounding", "check_image", "check_seed", "check_temperature"]


def check_image(x: Tensor, name: str, low: float | None = None, high: float | None = None) -> None:
    """ValueError naming the argument where an image is not floating point, not finite or out of [low, high]."""
    if not x.is_floating_point() or x.ndim < 3:
        raise ValueError(f"`{name}` must be a floating-point image (..., C, H, W), got {x.dtype} {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"`{name}` must have at least one pixel, got shape {tuple(x.shape)}")
    least, most = (float(v) for v in x.detach().aminmax())
    if not (abs(least) < float("inf") and abs(most) < float("inf")):  # NaN fails every comparison
        raise ValueError(f"`{name}` has values that are not finite (NaN or infinity): mend the image first")
    if (low is not None and least < low) or (high is not None and most > high):
        raise ValueError(f"`{name}` must lie in [{low:g}, {high:g}], got values from {least:g} to {most:g}")


def check_seed(seed: int, name: str = "seed") -> int:
    """The seed as an int; ValueError unless it is an integer of 0 … 2^64 − 1."""
    if isinstance(seed, bool) or int(seed) != seed or not 0 <= seed < 2**64:
        raise ValueError(f"`{name}` must be an integer of at least 0 (and below 2^64), got {seed}")
    return int(seed)


def check_temperature(temperature: float) -> float:
    """The temperature as a float; ValueError unless it is finite and ≥ 0."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"`temperature` must be a finite number of at least 0, got {temperature}")
    return float(temperature)


def check_bits_and_rounding(bits: int, rounding: str) -> int:
    """The peak value 2^bits − 1; ValueError where an argument is not one of those offered."""
    if bits not in (8, 16):
        raise ValueError(f"`bits` must be 8 or 16, got {bits}")
    if rounding not in ("per-pass", "single"):
        raise ValueError(f'`rounding` must be "per-pass" or "single", got {rounding!r}')
    return int(2**bits) - 1
