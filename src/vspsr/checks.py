"""Arguments of public functions, checked once: types, images, numbers, seeds, temperatures, bits."""

import sys
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def check_types(**arguments: tuple[object, Any]) -> None:
    """ValueError that names the first argument that is not of its type or union: ``check_types(x=(x, Tensor))``."""
    for name, (value, kind) in arguments.items():
        if not isinstance(value, kind):
            named = kind.__name__ if isinstance(kind, type) else kind
            wanted = {Tensor: "a torch.Tensor", bool: "true or false"}.get(kind, named)
            raise ValueError(f"`{name}` must be {wanted}, got {value_text(value)}")


def check_choice(value: object, name: str, choices: Collection[object]) -> None:
    """ValueError unless the value is one of those offered."""
    if not isinstance(value, str | Integral) or value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, choices))}, got {value_text(value)}")


def check_image(x: Tensor, name: str, low: float | None = None, high: float | None = None) -> None:
    """ValueError that names the argument if an image is not floating point, not finite or out of [low, high]."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.element_size() < 2 or x.ndim < 3:
        raise ValueError(f"`{name}` must be a floating-point image (..., C, H, W), got {tensor_text(x)}")
    if x.numel() == 0:
        raise ValueError(f"`{name}` must have at least one pixel, got shape {tuple(x.shape)}")
    least, most = (float(v) for v in x.detach().aminmax())
    if not (abs(least) < float("inf") and abs(most) < float("inf")):  # NaN fails every comparison
        raise ValueError(f"`{name}` has values that are not finite (NaN or infinity): mend the image first")
    if (low is not None and least < low) or (high is not None and most > high):
        raise ValueError(f"`{name}` must lie in [{low:g}, {high:g}], got values from {least:g} to {most:g}")


def check_leading_axes(a: Tensor, b: Tensor, names: tuple[str, str]) -> torch.Size:
    """What the leading axes of two images (..., C, H, W) broadcast to; ValueError unless they do."""
    try:
        return torch.broadcast_shapes(a.shape[:-3], b.shape[:-3])
    except RuntimeError:
        raise ValueError(
            f"the leading axes of `{names[0]}` {tuple(a.shape[:-3])} and `{names[1]}` {tuple(b.shape[:-3])} must "
            "broadcast: be equal, or 1 in one of them"
        ) from None


def check_rgb(y: Tensor, name: str = "y") -> None:
    """ValueError that names the argument unless it is a batch of RGB images (B, 3, h, w) in [0, 1]."""
    if not isinstance(y, Tensor) or y.ndim != 4 or y.shape[1] != 3:
        raise ValueError(f"`{name}` must be RGB images of shape (B, 3, h, w), got {tensor_text(y)}")
    check_image(y, name, 0.0, 1.0)


def check_integer(value: object, name: str, low: int, high: int) -> int:
    """The value as an int; ValueError unless it is an integer of low … high (2.0 is one, True is not)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < low:
        raise ValueError(f"`{name}` must be an integer of at least {low}, got {value_text(value)}")
    if int(value) > high:
        raise ValueError(f"`{name}` must be an integer of at most {high}, got {value_text(value)}")
    return int(value)


def check_number(value: object, name: str, low: float = 0.0, high: float = sys.float_info.max) -> float:
    """The value as a float; ValueError unless it is a finite number of low … high."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not low <= value <= sys.float_info.max:  # type: ignore[operator]
        raise ValueError(f"`{name}` must be a finite number of at least {low:g}, got {value_text(value)}")
    if value > high:  # type: ignore[operator]
        raise ValueError(f"`{name}` must be at most {high:g}, got {value_text(value)}")
    return float(value)  # type: ignore[arg-type]


def check_seed(seed: object, name: str = "seed") -> int:
    """The seed as an int; ValueError unless it is an integer of 0 … 2^64 − 1."""
    return check_integer(seed, name, 0, 2**64 - 1)


def check_temperature(temperature: object) -> float:
    """The temperature as a float; ValueError unless it is 0 … 10⁶, at which images are far from overflowing."""
    return check_number(temperature, "temperature", 0.0, 1e6)


def check_bits_and_rounding(bits: int, rounding: str) -> int:
    """The peak value 2^bits − 1; ValueError if an argument is not one of those offered."""
    check_choice(bits, "bits", (8, 16))
    check_choice(rounding, "rounding", ("per-pass", "single"))
    return int(2**bits) - 1


def value_text(value: object) -> str:
    """A value in an error: one line, not too long; of tensors and arrays type and shape."""
    text = " ".join(repr(value).split())
    if (shape := getattr(value, "shape", None)) and isinstance(shape, tuple) and hasattr(value, "dtype"):
        kind = "" if isinstance(value, Tensor) else f"a {type(value).__module__}.{type(value).__name__} of "
        text = f"{kind}{value.dtype} {tuple(shape)}"
    return text if len(text) <= 60 else f"{text[:60]}…"


def tensor_text(value: object) -> str:
    """`value_text`, which says of anything but a tensor that it is none."""
    return value_text(value) + ("" if isinstance(value, Tensor) else ", not a torch.Tensor")


def check_image_keys(keys: Sequence[int], count: int) -> tuple[int, ...]:
    """One integer of 0 … 2^64 − 1 for each of so many images; ValueError otherwise."""
    check_types(keys=(keys, Iterable))
    if len(checked := tuple(check_seed(key, "keys") for key in keys)) != count:
        raise ValueError(f"`keys` must be one for each of {count} images, got {len(checked)}")
    return checked
