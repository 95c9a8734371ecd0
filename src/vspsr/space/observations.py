"""What can be asked of a picture as linear equations: G x = v up to a standard deviation.

Each observation is resolved against the shape of a picture into a linear map G: see `vspsr.space.linear_maps`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vspsr.checks import check_number, check_types, tensor_text, value_text
from vspsr.space.linear_maps import LinearMap, OperatorMap, SparseMap

_ONE_LEVEL, _FEW_LEVELS = 1 / 255, 4 / 255
_LEAST = 1e-6  # standard deviation: S and its solves stay far from singular


class Observation(ABC):
    """A condition on pictures: see `Pixels`, `Average`, `Same` and `Linear`."""

    @abstractmethod
    def resolve(self, like: Tensor) -> tuple[LinearMap, Tensor, Tensor]:
        """G, its values (n,) and their standard deviations (n,), for images like (1, channels, H, W).

        Raises:
            ValueError: a mask or values that do not fit the image.
        """

    def copied(self) -> Self:
        """The same condition with numbers of its own, without a gradient: the caller's may change."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                vars(other)[name] = value.detach().clone()
            elif not callable(value):
                vars(other)[name] = copy.deepcopy(value)
        return other


@dataclass(frozen=True)
class Conflict:
    """How a condition agrees with the space before it.

    Attributes:
        observation: the condition.
        distance: root mean square distance of its values from the space, in σ: about 1 for a true one.
        missed: largest distance of a value from the conditional mean, in the condition's own σ: large where the
            condition contradicts the LR image or another condition.
        where: (H, W), that distance at each HR pixel, 0 elsewhere; None for a `Linear` condition.
    """

    observation: Observation
    distance: float
    missed: float
    where: Tensor | None


@dataclass(frozen=True)
class Pixels(Observation):
    """Pixels of a mask have given values: a scribble, or a patch of another picture.

    Args:
        mask: (H, W) bool.
        values: (channels, H, W), of which those in the mask count; or (channels,), one colour.
        stddev: how exactly, in units of the image, ≥ 1e-6.
    """

    mask: Tensor
    values: Tensor
    stddev: float = _FEW_LEVELS

    def resolve(self, like: Tensor) -> tuple[LinearMap, Tensor, Tensor]:
        places = _places(self.mask, like, "mask")
        values = as_numbers(self.values, "values", like)
        channels = like.shape[1]
        if values.shape not in (like.shape[1:], like.shape[1:2]):
            raise ValueError(f"`values` must be ({channels},) or {tuple(like.shape[1:])}, got {tuple(values.shape)}")
        if values.ndim == 1:
            values = values[:, None, None].expand(like.shape[1:])
        chosen = values[:, places[:, 0], places[:, 1]].flatten()
        rows = torch.arange(len(chosen), device=like.device)
        g = _each_channel(like, places, rows, torch.ones_like(chosen), len(rows))
        return g, _finite(chosen, "values"), _stddev(self.stddev, chosen)


@dataclass(frozen=True)
class Average(Observation):
    """An area has a given colour, or brightness, on average.

    Args:
        mask: (H, W) bool, or weights ≥ 0.
        value: (channels,), the colour; or one number, the mean over channels.
        stddev: how exactly, in units of the image, ≥ 1e-6.
    """

    mask: Tensor
    value: Tensor | float
    stddev: float = _ONE_LEVEL

    def resolve(self, like: Tensor) -> tuple[LinearMap, Tensor, Tensor]:
        places = _places(self.mask, like, "mask")
        weights = self.mask.to(like)[places[:, 0], places[:, 1]]
        if bool((weights < 0).any()) or not bool(weights.isfinite().all()):
            raise ValueError("`mask` must have weights of at least 0, all finite")
        value, channels = as_numbers(self.value, "value", like), like.shape[1]
        if value.shape not in ((), (channels,)):
            raise ValueError(f"`value` must be one number or ({channels},), got {tuple(value.shape)}")
        weights = (weights / weights.sum()).repeat(channels)
        rows = torch.arange(channels, device=like.device).repeat_interleave(len(places))
        if value.ndim == 0:
            rows, weights = torch.zeros_like(rows), weights / channels
        value = value.reshape(-1)
        g = _each_channel(like, places, rows, weights, len(value))
        return g, _finite(value, "value"), _stddev(self.stddev, value)


@dataclass(frozen=True)
class Same(Observation):
    """An area repeats another, pixel by pixel.

    Args:
        mask_a, mask_b: (H, W) bool, one the other moved.
        stddev: of the difference, in units of the image, ≥ 1e-6.
    """

    mask_a: Tensor
    mask_b: Tensor
    stddev: float = _FEW_LEVELS

    def resolve(self, like: Tensor) -> tuple[LinearMap, Tensor, Tensor]:
        a, b = _places(self.mask_a, like, "mask_a"), _places(self.mask_b, like, "mask_b")
        if len(a) != len(b) or bool((b - a != (b - a)[0]).any()):
            raise ValueError(f"`mask_b` must be `mask_a` moved, got masks of {len(b)} and {len(a)} pixels")
        if bool((a == b).all()):
            raise ValueError("`mask_b` must lie elsewhere than `mask_a`")
        zero = like.new_zeros(like.shape[1], len(a))
        rows = torch.arange(zero.numel(), device=like.device).view_as(zero)
        weights = torch.cat([zero - 1, zero + 1], 1)
        g = _each_channel(like, torch.cat([a, b]), rows.repeat(1, 2).flatten(), weights.flatten(), zero.numel())
        return g, zero.flatten(), _stddev(self.stddev, zero.flatten())


@dataclass(frozen=True)
class Linear(Observation):
    """Any linear function of the picture has given values.

    It looks at the whole picture, so that its cost grows with the picture.

    Args:
        operator: a differentiable linear function, (channels, H, W) → any shape.
        value: what it should give, of that shape.
        stddev: how exactly, ≥ 1e-6; one number or of that shape.
    """

    operator: Callable[[Tensor], Tensor]
    value: Tensor
    stddev: float | Tensor = _ONE_LEVEL

    def resolve(self, like: Tensor) -> tuple[LinearMap, Tensor, Tensor]:
        value = as_numbers(self.value, "value", like)
        check_types(operator=(self.operator, Callable))
        shape = (like.shape[1], like.shape[2], like.shape[3])
        with torch.inference_mode(False), torch.enable_grad():
            generator = torch.Generator().manual_seed(0)
            some = torch.randn(shape, generator=generator, dtype=like.dtype, device="cpu").to(like.device)
            of_zero, once = self.operator(torch.zeros_like(some)), self.operator(some.requires_grad_())
            if not isinstance(once, Tensor) or once.shape != value.shape or not once.requires_grad:
                got = f"{tensor_text(once)}{'' if getattr(once, 'requires_grad', True) else ' without a gradient'}"
                raise ValueError(
                    f"`operator` must give a tensor of the shape of `value` {tuple(value.shape)}, and be "
                    f"differentiable, got {got}"
                )
            opposite = self.operator(-2 * some)
        allowed = 1e3 * torch.finfo(like.dtype).eps * float(once.detach().abs().max())
        if bool(of_zero.any()) or not float((opposite + 2 * once).detach().abs().max()) <= allowed:
            raise ValueError(
                "`operator` must be linear: of zeros it must give zeros, of −2 times a picture −2 times as much"
            )
        g = OperatorMap(shape, value.numel(), self.operator)
        return g, _finite(value.flatten(), "value"), _stddev(self.stddev, value).flatten()


def _places(mask: Tensor, like: Tensor, name: str) -> Tensor:
    """(row, column) of the pixels of a mask, (count, 2), row by row."""
    if not isinstance(mask, Tensor) or mask.shape != like.shape[-2:]:
        raise ValueError(f"`{name}` must be a mask of shape {tuple(like.shape[-2:])}, got {tensor_text(mask)}")
    places = mask.to(like.device).nonzero()
    if len(places) == 0:
        raise ValueError(f"`{name}` must have at least one pixel")
    return places


def _each_channel(like: Tensor, places: Tensor, rows: Tensor, weights: Tensor, count: int) -> SparseMap:
    """A map that looks at the same places of every channel."""
    shape = (like.shape[1], like.shape[2], like.shape[3])
    channels = torch.arange(shape[0], device=like.device).repeat_interleave(len(places))
    return SparseMap(shape, count, rows, channels, places.repeat(shape[0], 1), weights)


def as_numbers(values: Any, name: str, like: Tensor) -> Tensor:
    """Numbers as a tensor of the dtype and device of another; ValueError if they are something else."""
    try:
        own = values.copy() if isinstance(values, np.ndarray) else values  # torch takes no negative strides
        return torch.as_tensor(own, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises each of them
        raise ValueError(f"`{name}` must be numbers, got {value_text(values)}") from error


def _finite(values: Tensor, name: str) -> Tensor:
    if not bool(values.isfinite().all()):
        raise ValueError(f"`{name}` must be finite")
    return values


def _stddev(stddev: float | Tensor, like: Tensor) -> Tensor:
    """As many standard deviations as values; ValueError unless they are finite and at least 1e-6."""
    if not isinstance(stddev, Tensor):
        stddev = torch.tensor(check_stddev(stddev), dtype=torch.float64, device=like.device)
    if stddev.shape not in ((), like.shape) or not bool((stddev >= _LEAST).all()) or not bool(stddev.isfinite().all()):
        raise ValueError(f"`stddev` must be one number or {tuple(like.shape)}, each at least {_LEAST:g}")
    return stddev.to(like).expand(like.shape)


def check_stddev(stddev: float) -> float:
    """The standard deviation of an observed value; ValueError unless it is at least 1e-6."""
    return check_number(stddev, "stddev", _LEAST)
