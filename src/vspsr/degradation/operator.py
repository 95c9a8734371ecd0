"""How an LR image arises from an HR image: y = D x, with D separable, D = D_v x D_hᵀ.

D is MATLAB's antialiased, symmetric-border downscaling by an integer. Its exact pseudo-inverse
D⁺ = Dᵀ(D Dᵀ)⁻¹ is separable too. D Dᵀ of one axis is banded, and for a well-conditioned kernel its inverse decays
exponentially away from the diagonal, so D⁺ is banded to machine precision and every operator here costs time and
memory linear in the number of pixels, borders and all.
"""

import math
import sys
from collections.abc import Sequence
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from vspsr.checks import check_bits_and_rounding, check_integer, check_number, check_types, tensor_text, value_text
from vspsr.degradation.banded import Banded, apply_passes, lasting_tensors
from vspsr.degradation.resize import KERNELS, LARGEST, axis_operator, check_size, image_size, mirrored, round_to_range

MAX_SCALE = 1024
MAX_CONDITION = 100.0
"""Largest condition number of D (one axis) for which the pseudo-inverse is offered: beyond it, float32 images
could not be projected to better than about 1e-4."""

_REFERENCE = 192  # LR length up to which an axis is inverted densely; longer ones are put together from such parts
_LONG = 512  # HR pixels of an axis of which few are kept
_NEGLIGIBLE = 1e-16  # entries of an inverse below this fraction of the largest are rounding noise


class Degradation:
    """Downscaling by an integer with a separable kernel, its adjoint and its exact pseudo-inverse.

    Args:
        scale: integer of 2 … 1024.
        kernel: "bicubic" (MATLAB's `imresize`, the default), "bilinear", "lanczos3", "box", all antialiased; or
            the taps of a 1-D kernel in HR pixels, used along both axes and normalised to sum 1. Tap 0 of LR pixel
            j lies at HR pixel s·j + ⌊(s − taps)/2⌋, so an odd kernel at an even scale sits half a pixel to the left.

    Raises:
        ValueError: a scale out of range, an unknown kernel name, taps that are not finite or sum to 0.
    """

    def __init__(self, scale: int, kernel: str | Sequence[float] | Tensor = "bicubic") -> None:
        self.scale = check_integer(scale, "scale", 2, MAX_SCALE)
        self.kernel: str | tuple[float, ...]
        values = kernel.tolist() if hasattr(kernel, "tolist") else kernel
        if not isinstance(values, Sequence) or not values or (isinstance(values, str) and values not in KERNELS):
            raise ValueError(f"`kernel` must be one of {', '.join(KERNELS)} or 1-D taps, got {value_text(kernel)}")
        if isinstance(values, str):
            self.kernel = values
        else:
            taps = [check_number(tap, "kernel", -sys.float_info.max) for tap in values]
            try:
                total = math.fsum(taps)
            except OverflowError:
                raise ValueError(f"`kernel` must have a finite sum, got {value_text(kernel)}") from None
            if abs(total) < 1e-9:
                raise ValueError(f"`kernel` must have a sum other than 0, got {kernel!r}")
            self.kernel = tuple(tap / total for tap in taps)

    def __repr__(self) -> str:
        kernel = repr(self.kernel) if isinstance(self.kernel, str) else f"<{len(self.kernel)} taps>"
        return f"Degradation(scale={self.scale}, kernel={kernel})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Degradation) and (self.scale, self.kernel) == (other.scale, other.kernel)

    def __hash__(self) -> int:
        return hash((self.scale, self.kernel))

    def lr_size(self, height: int, width: int) -> tuple[int, int]:
        """LR size of an HR image: ceil(size / scale), as in MATLAB."""
        sides = check_integer(height, "height", 0, LARGEST), check_integer(width, "width", 0, LARGEST)
        return -(-sides[0] // self.scale), -(-sides[1] // self.scale)

    def axis(self, n: int) -> Banded:
        """D of one axis of n HR pixels: (ceil(n/scale), n)."""
        return self._axis(n).down

    def axis_pseudo_inverse(self, n: int, dtype: torch.dtype = torch.float64) -> Banded:
        """D⁺ of one axis of n HR pixels: (n, ceil(n/scale)), as accurate as ``dtype`` can hold.

        Raises:
            ValueError: D is too ill conditioned for an inverse of any use (see `MAX_CONDITION`).
        """
        check_types(dtype=(dtype, torch.dtype))
        condition = self.condition_number(n)
        if not condition <= MAX_CONDITION:
            raise ValueError(
                f"`kernel` {self} is too ill conditioned to be inverted on an axis of {n} pixels "
                f"(condition number {condition:.3g}, at most {MAX_CONDITION:g}): use a less blurring kernel"
            )
        axis = self._axis(n)
        return axis.pseudo_inverse if dtype == torch.float64 else axis.pseudo_inverse_float32

    def condition_number(self, n: int) -> float:
        """Condition number of D along an axis of n HR pixels (that of the whole image is a product of two)."""
        return self._axis(_short_length(check_integer(n, "n", 1, LARGEST), self.scale)).condition

    def reach(self, tolerance: float) -> int:
        """LR pixels beyond which a change of an image has no effect on D⁺D x above a relative ``tolerance``.

        Raises:
            ValueError: a tolerance above 1, an ill-conditioned kernel (see `axis_pseudo_inverse`).
        """
        n, tolerance = _REFERENCE * self.scale, check_number(tolerance, "tolerance", 0.0, 1.0)
        self.axis_pseudo_inverse(n)
        return _reach(self._axis(n), tolerance)

    def down(self, x: Tensor) -> Tensor:
        """y = D x. x: (..., H, W) floating point, any range → (..., ceil(H/s), ceil(W/s)). Differentiable."""
        height, width = image_size(x)
        return apply_passes(x, [(self.axis(height), -2), (self.axis(width), -1)])

    def adjoint(self, u: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Dᵀ u. u: (..., h, w) → (..., H, W); ``size`` = (H, W) defaults to (s·h, s·w). Differentiable."""
        height, width = self._hr_size(u, size)
        return apply_passes(u, [(self.axis(height).transposed, -2), (self.axis(width).transposed, -1)], "u")

    def pseudo_inverse(self, u: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """D⁺ u = Dᵀ(D Dᵀ)⁻¹ u, so that D D⁺ u = u. Shapes as in `adjoint`; differentiable.

        Raises:
            ValueError: an ill-conditioned kernel (see `axis_pseudo_inverse`).
        """
        height, width = self._hr_size(u, size)
        rows, columns = (self.axis_pseudo_inverse(n, u.dtype) for n in (height, width))
        return apply_passes(u, [(rows, -2), (columns, -1)], "u")

    def pseudo_inverse_adjoint(self, x: Tensor) -> Tensor:
        """D⁺ᵀ x = (D Dᵀ)⁻¹ D x. x: (..., H, W) → (..., ceil(H/s), ceil(W/s)). Differentiable.

        Raises:
            ValueError: an ill-conditioned kernel (see `axis_pseudo_inverse`).
        """
        rows, columns = (self.axis_pseudo_inverse(n, x.dtype).transposed for n in image_size(x))
        return apply_passes(x, [(rows, -2), (columns, -1)])

    def down_uint8(self, x: Tensor) -> Tensor:
        """MATLAB's `imresize` of a uint8 image (..., H, W), rounded after each axis, rows first."""
        if not isinstance(x, Tensor) or x.dtype != torch.uint8:
            raise ValueError(f"`x` must be uint8, got {tensor_text(x)}: use `down` for floating-point images")
        return self.down_integers(x, bits=8).to(torch.uint8)

    def down_integers(self, x: Tensor, bits: int = 8, rounding: str = "per-pass") -> Tensor:
        """The LR integers of an HR image of integers 0 … 2^bits − 1, clipped to that range.

        Args:
            x: (..., H, W), any integer or floating dtype holding integers.
            bits: 8 or 16.
            rounding: "per-pass" rounds and clips after each axis, rows first (MATLAB); "single" once at the end.

        Returns:
            (..., ceil(H/s), ceil(W/s)) int32.
        """
        peak = check_bits_and_rounding(bits, rounding)
        height, width = image_size(x)
        rows = self.axis(height).apply(x.double().contiguous(), -2)
        if rounding == "per-pass":
            rows = round_to_range(rows, peak)
        return round_to_range(self.axis(width).apply(rows, -1), peak).int()

    def _axis(self, n: int) -> "_Axis":
        return _axis(check_integer(n, "n", 1, LARGEST), self.scale, self.kernel)

    def _hr_size(self, u: Tensor, size: tuple[int, int] | None) -> tuple[int, int]:
        h, w = image_size(u, "u")
        height, width = (self.scale * h, self.scale * w) if size is None else check_size(size)
        if self.lr_size(height, width) != (h, w):
            raise ValueError(f"`size` {(height, width)} does not downscale to {(h, w)} at scale {self.scale}")
        return height, width


def fitting_scales(hr_size: tuple[int, int], lr_size: tuple[int, int]) -> list[int]:
    """The scales at which an HR size (height, width) downscales to an LR size: an exact multiple alone, if one does."""
    sides = list(zip(hr_size, lr_size, strict=True))
    fitting = [s for s in range(2, MAX_SCALE + 1) if all(-(-n // s) == m for n, m in sides)]
    return [s for s in fitting if all(n == s * m for n, m in sides)] or fitting


def _short_length(n: int, scale: int, reference: int = _REFERENCE) -> int:
    """Length of a short axis with the same right border (n modulo scale): it conditions and inverts like the long."""
    limit = reference * scale
    return n if n <= limit + scale else limit + n % scale


@lru_cache(maxsize=64)
def _reach(axis: "_Axis", tolerance: float) -> int:
    """See `Degradation.reach`: how far D⁺ takes to decay in the middle of an axis, plus what D overlaps."""
    middle = axis.n // axis.scale // 2
    rows = slice(axis.scale * middle, axis.scale * (middle + 1))
    inverse = axis.pseudo_inverse.dense(rows).abs().amax(0)
    decay = int((inverse >= tolerance * inverse.max()).nonzero().sub(middle).abs().max())
    return decay + -(-axis.down.weights.shape[1] // (2 * axis.scale))


class _Axis:
    """D along one axis of n HR pixels and its pseudo-inverse, each computed when it is first needed."""

    def __init__(self, n: int, scale: int, kernel: str | tuple[float, ...]) -> None:
        self.n, self.scale, self.kernel = n, scale, kernel

    @cached_property
    @lasting_tensors()
    def down(self) -> Banded:
        """D, (ceil(n/scale), n)."""
        n_out, taps = -(-self.n // self.scale), self.kernel
        if isinstance(taps, str):
            return axis_operator(self.n, n_out, 1 / self.scale, taps)
        left = self.scale * torch.arange(n_out)[:, None] + math.floor((self.scale - len(taps)) / 2)
        index = left + torch.arange(len(taps))
        rows = torch.arange(n_out)[:, None].expand_as(index)
        values = torch.tensor(taps, dtype=torch.float64).expand(index.shape)
        shape = (n_out, self.n)
        return Banded.from_entries(rows.flatten(), mirrored(index, self.n).flatten(), values.flatten(), shape)

    @cached_property
    @lasting_tensors()
    def condition(self) -> float:
        """Condition number of D."""
        singular = torch.linalg.svdvals(self.down.dense())
        return float(singular[0] / singular[-1])

    @cached_property
    def pseudo_inverse(self) -> Banded:
        """D⁺, (n, ceil(n/scale)), as accurate as float64."""
        return self._pseudo_inverse(1e-18)

    @cached_property
    def pseudo_inverse_float32(self) -> Banded:
        """D⁺ without the entries that float32 cannot show."""
        return self._pseudo_inverse(1e-10)

    @lasting_tensors()
    def _pseudo_inverse(self, tolerance: float) -> Banded:
        inverse, reach = self._gram_inverse()
        n_lr, m = -(-self.n // self.scale), inverse.shape[0]
        # Rows near a border come from the short axis' borders, the others all equal its middle row.
        index = torch.arange(n_lr)
        source = torch.where(index < m // 2, index, torch.where(index >= n_lr - m // 2, index - (n_lr - m), m // 2))
        offset = torch.arange(-reach, reach + 1)
        columns, sources = index[:, None] + offset, source[:, None] + offset
        keep = (columns >= 0) & (columns < n_lr) & (sources >= 0) & (sources < m)
        rows = index[:, None].expand_as(columns)
        values = inverse[source[:, None].expand_as(sources)[keep], sources[keep]]
        banded = Banded.from_entries(rows[keep], columns[keep], values, (n_lr, n_lr))
        return self.down.transposed.compose(banded, tolerance)

    def _gram_inverse(self) -> tuple[Tensor, int]:
        """(D Dᵀ)⁻¹, or that of a short axis in its place, and how far its entries reach off the diagonal."""
        for reference in (_REFERENCE, 2 * _REFERENCE, 4 * _REFERENCE):
            short = _short_length(self.n, self.scale, reference)
            dense = _axis(short, self.scale, self.kernel).down.dense()
            inverse = torch.linalg.inv(dense @ dense.T)
            m = inverse.shape[0]
            if short == self.n:
                return inverse, m - 1
            # Borders may reach farther than the middle.
            rows, columns = torch.nonzero(inverse.abs() > _NEGLIGIBLE * inverse.abs().max(), as_tuple=True)
            reach = int((rows - columns).abs().max())
            if reach < m // 4:
                return inverse, reach
        raise ValueError(
            f"`kernel` {self.kernel}: the inverse of D Dᵀ decays too slowly for an axis of {self.n} pixels"
        )


_short_axis = lru_cache(maxsize=256)(_Axis)
_long_axis = lru_cache(maxsize=8)(_Axis)  # 2 kB a pixel, and a folder may have pictures of many sizes


def _axis(n: int, scale: int, kernel: str | tuple[float, ...]) -> _Axis:
    return (_short_axis if n <= _LONG else _long_axis)(n, scale, kernel)
