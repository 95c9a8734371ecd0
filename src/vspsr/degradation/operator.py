"""How an LR image arises from an HR image: y = D x, with D separable, D = D_v x D_hᵀ.

D is MATLAB's antialiased, symmetric-border downscaling by an integer. Its exact pseudo-inverse
D⁺ = Dᵀ(D Dᵀ)⁻¹ is separable too. D Dᵀ of one axis is banded, and for a well-conditioned kernel its inverse decays
exponentially away from the diagonal, so D⁺ is banded to machine precision and every operator here costs time and
memory linear in the number of pixels, borders and all.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from vspsr.checks import check_bits_and_rounding
from vspsr.degradation.banded import Banded
from vspsr.degradation.resize import KERNELS, axis_operator, mirrored, round_to_range

__all__ = ["Degradation"]

MAX_CONDITION = 100.0
"""Largest condition number of D (one axis) for which the pseudo-inverse is offered: beyond it, float32 images
could not be projected to better than about 1e-4."""

_REFERENCE = 192  # LR length up to which an axis is inverted densely; longer ones are put together from such parts
_NEGLIGIBLE = 1e-16  # entries of an inverse below this fraction of the largest are rounding noise


class Degradation:
    """Downscaling by an integer with a separable kernel, its adjoint and its exact pseudo-inverse.

    Args:
        scale: integer ≥ 2.
        kernel: "bicubic" (MATLAB's `imresize`, the default), "bilinear", "lanczos3", "box", all antialiased; or
            the taps of a 1-D kernel in HR pixels, used along both axes and normalised to sum 1. Tap 0 of LR pixel
            j lies at HR pixel s·j + ⌊(s − taps)/2⌋, so an odd kernel at an even scale sits half a pixel to the left.

    Raises:
        ValueError: a scale that is no integer ≥ 2, an unknown kernel name, taps that are not finite or sum to 0.
    """

    def __init__(self, scale: int, kernel: str | Sequence[float] | Tensor = "bicubic") -> None:
        if isinstance(scale, bool) or int(scale) != scale or scale < 2:
            raise ValueError(f"`scale` must be an integer of at least 2, got {scale}")
        self.scale = int(scale)
        self.kernel: str | tuple[float, ...]
        if isinstance(kernel, str):
            if kernel not in KERNELS:
                raise ValueError(f"`kernel` must be one of {', '.join(KERNELS)} or 1-D taps, got {kernel!r}")
            self.kernel = kernel
        else:
            taps = torch.as_tensor(kernel, dtype=torch.float64)
            if taps.ndim != 1 or taps.numel() == 0 or not taps.isfinite().all() or taps.sum().abs() < 1e-9:
                raise ValueError(f"`kernel` must be finite 1-D taps with a sum other than 0, got {kernel}")
            self.kernel = tuple((taps / taps.sum()).tolist())

    def __repr__(self) -> str:
        kernel = repr(self.kernel) if isinstance(self.kernel, str) else f"<{len(self.kernel)} taps>"
        return f"Degradation(scale={self.scale}, kernel={kernel})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Degradation) and (self.scale, self.kernel) == (other.scale, other.kernel)

    def __hash__(self) -> int:
        return hash((self.scale, self.kernel))

    def lr_size(self, height: int, width: int) -> tuple[int, int]:
        """LR size of an HR image: ceil(size / scale), as in MATLAB."""
        return -(-height // self.scale), -(-width // self.scale)

    def axis(self, n: int) -> Banded:
        """D of one axis of n HR pixels: (ceil(n/scale), n)."""
        return _down(n, self.scale, self.kernel)

    def axis_pseudo_inverse(self, n: int, dtype: torch.dtype = torch.float64) -> Banded:
        """D⁺ of one axis of n HR pixels: (n, ceil(n/scale)), as accurate as ``dtype`` can hold.

        Raises:
            ValueError: D is too ill conditioned for an inverse of any use (see `MAX_CONDITION`).
        """
        condition = self.condition_number(n)
        if not condition <= MAX_CONDITION:
            raise ValueError(
                f"`kernel` {self} is too ill conditioned to be inverted on an axis of {n} pixels "
                f"(condition number {condition:.3g}, at most {MAX_CONDITION:g}): use a less blurring kernel"
            )
        return _up(n, self.scale, self.kernel, 1e-18 if dtype == torch.float64 else 1e-10)

    def condition_number(self, n: int) -> float:
        """Condition number of D along an axis of n HR pixels (that of the whole image is a product of two)."""
        return _condition(_short_axis(n, self.scale), self.scale, self.kernel)

    def down(self, x: Tensor) -> Tensor:
        """y = D x. x: (..., H, W) floating point, any range → (..., ceil(H/s), ceil(W/s)). Differentiable."""
        return _separable(x, self.axis(x.shape[-2]), self.axis(x.shape[-1]))

    def adjoint(self, u: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Dᵀ u. u: (..., h, w) → (..., H, W); ``size`` = (H, W) defaults to (s·h, s·w). Differentiable."""
        height, width = self._hr_size(u, size)
        return _separable(u, _transposed(height, self.scale, self.kernel), _transposed(width, self.scale, self.kernel))

    def pseudo_inverse(self, u: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """D⁺ u = Dᵀ(D Dᵀ)⁻¹ u, so that D D⁺ u = u. Shapes as in `adjoint`; differentiable.

        Raises:
            ValueError: an ill-conditioned kernel (see `axis_pseudo_inverse`).
        """
        height, width = self._hr_size(u, size)
        return _separable(u, self.axis_pseudo_inverse(height, u.dtype), self.axis_pseudo_inverse(width, u.dtype))

    def down_uint8(self, x: Tensor) -> Tensor:
        """MATLAB's `imresize` of a uint8 image (..., H, W), rounded after each axis, rows first."""
        if x.dtype != torch.uint8:
            raise ValueError(f"`x` must be uint8, got {x.dtype}: use `down` for floating-point images")
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
        rows = self.axis(x.shape[-2]).apply(x.double(), -2)
        if rounding == "per-pass":
            rows = round_to_range(rows, peak)
        return round_to_range(self.axis(x.shape[-1]).apply(rows, -1), peak).int()

    def _hr_size(self, u: Tensor, size: tuple[int, int] | None) -> tuple[int, int]:
        h, w = u.shape[-2:]
        height, width = size or (self.scale * h, self.scale * w)
        if self.lr_size(height, width) != (h, w):
            raise ValueError(f"`size` {height}×{width} does not downscale to {h}×{w} at scale {self.scale}")
        return height, width


def _separable(x: Tensor, rows: Banded, columns: Banded) -> Tensor:
    if not x.is_floating_point():
        raise ValueError(f"`x` must be floating point, got {x.dtype}: use `down_integers` for integers")
    # Half precision would spoil the exactness that the operators are for.
    work = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    with torch.autocast(x.device.type, enabled=False):
        return columns.apply(rows.apply(work, -2), -1).to(x.dtype)


def _short_axis(n: int, scale: int, reference: int = _REFERENCE) -> int:
    """A short axis with the same right border (n modulo scale): it conditions and inverts like the long one."""
    limit = reference * scale
    return n if n <= limit + scale else limit + n % scale


@lru_cache(maxsize=256)
def _down(n: int, scale: int, kernel: str | tuple[float, ...]) -> Banded:
    if n < 1:
        raise ValueError(f"an image axis must have at least 1 pixel, got {n}")
    n_out = -(-n // scale)
    if isinstance(kernel, str):
        return axis_operator(n, n_out, 1 / scale, kernel)
    taps = torch.tensor(kernel, dtype=torch.float64)
    index = scale * torch.arange(n_out)[:, None] + math.floor((scale - len(kernel)) / 2) + torch.arange(len(kernel))
    rows = torch.arange(n_out)[:, None].expand_as(index)
    values = taps.expand(index.shape)
    return Banded.from_entries(rows.flatten(), mirrored(index, n).flatten(), values.flatten(), (n_out, n))


@lru_cache(maxsize=256)
def _transposed(n: int, scale: int, kernel: str | tuple[float, ...]) -> Banded:
    return _down(n, scale, kernel).transpose()


@lru_cache(maxsize=256)
def _condition(n: int, scale: int, kernel: str | tuple[float, ...]) -> float:
    singular = torch.linalg.svdvals(_down(n, scale, kernel).dense())
    return float(singular[0] / singular[-1])


@lru_cache(maxsize=256)
def _up(n: int, scale: int, kernel: str | tuple[float, ...], tolerance: float) -> Banded:
    inverse, reach = _gram_inverse(n, scale, kernel)
    n_lr, m = -(-n // scale), inverse.shape[0]
    # Rows near a border come from the short axis' borders, the others all equal its middle row.
    index = torch.arange(n_lr)
    source = torch.where(index < m // 2, index, torch.where(index >= n_lr - m // 2, index - (n_lr - m), m // 2))
    offset = torch.arange(-reach, reach + 1)
    columns, sources = index[:, None] + offset, source[:, None] + offset
    keep = (columns >= 0) & (columns < n_lr) & (sources >= 0) & (sources < m)
    rows = index[:, None].expand_as(columns)
    values = inverse[source[:, None].expand_as(sources)[keep], sources[keep]]
    banded = Banded.from_entries(rows[keep], columns[keep], values, (n_lr, n_lr))
    return _transposed(n, scale, kernel).compose(banded, tolerance)


def _gram_inverse(n: int, scale: int, kernel: str | tuple[float, ...]) -> tuple[Tensor, int]:
    """(D Dᵀ)⁻¹ of an axis, or of a short one that stands for it, and how far its entries reach off the diagonal."""
    for reference in (_REFERENCE, 2 * _REFERENCE, 4 * _REFERENCE):
        short = _short_axis(n, scale, reference)
        dense = _down(short, scale, kernel).dense()
        inverse = torch.linalg.inv(dense @ dense.T)
        m = inverse.shape[0]
        if short == n:
            return inverse, m - 1
        # Borders may reach farther than the middle.
        rows, columns = torch.nonzero(inverse.abs() > _NEGLIGIBLE * inverse.abs().max(), as_tuple=True)
        reach = int((rows - columns).abs().max())
        if reach < m // 4:
            return inverse, reach
    raise ValueError(f"`kernel` {kernel}: the inverse of D Dᵀ decays too slowly for an axis of {n} pixels")
