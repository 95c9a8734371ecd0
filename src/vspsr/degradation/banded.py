"""Banded matrices applied along one axis of an image: cost and memory linear in the number of pixels.

A resampling of one axis is a matrix A (n_out, n_in) whose row i is non-zero only in a short run of columns that
begins at ``start[i]``. Rows are grouped into blocks; a block is a small dense matrix over the run of columns that
its rows touch, so that the product is a handful of dense matrix products whatever the device.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import torch
from torch import Tensor

_ROWS_PER_BLOCK = 64


@contextmanager
def lasting_tensors() -> Iterator[None]:
    """Context for tensors that are cached: ordinary CPU tensors, whatever modes the caller has switched on.

    A tensor made under `torch.inference_mode` could never take part in autograd again, one made under another default
    device would stay there.
    """
    with torch.inference_mode(False), torch.no_grad(), cpu_by_default():
        yield


def cpu_by_default() -> AbstractContextManager[object]:
    """Context in which tensors are made on the CPU if nothing else is said."""
    # A default device is a mode that slows every call: none is set without need.
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def apply_passes(x: Tensor, passes: Iterable[tuple["Banded", int]], name: str = "x") -> Tensor:
    """Apply banded matrices one after the other, each along its axis (−1 or −2); same dtype as x, differentiable.

    Neither autocast nor the memory layout of x changes the result; half precision is computed in float32.

    Args:
        x: (..., H, W), floating point.
        passes: pairs (matrix, axis).
        name: of x in errors.

    Raises:
        ValueError: x is not floating point or has fewer than two axes.
    """
    if not x.is_floating_point() or x.ndim < 2:
        raise ValueError(f"`{name}` must be floating point (..., H, W), got {x.dtype} {tuple(x.shape)}")
    out = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).contiguous()
    with torch.autocast(x.device.type, enabled=False):
        for matrix, dim in passes:
            out = matrix.apply(out, dim)
    return out.to(x.dtype)


class Banded:
    """A matrix (n_out, n_in) given by the first column and the weights of each row.

    Args:
        start: (n_out,) int64, first column of each row.
        weights: (n_out, K) float64; entry k of row i belongs to column ``start[i] + k``. Entries that would fall
            beyond the last column must be zero.
        n_in: number of columns.
    """

    def __init__(self, start: Tensor, weights: Tensor, n_in: int) -> None:
        self.start, self.weights = start, weights
        self.shape = (weights.shape[0], n_in)
        self._parts: dict[tuple[int, int], tuple[int, Banded]] = {}
        self._blocks: dict[tuple[torch.dtype, torch.device], list[tuple[int, int, Tensor]]] = {}

    @classmethod
    @lasting_tensors()
    def from_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> "Banded":
        """Sum of single entries: ``rows``, ``columns``, ``values`` are flat and of equal length."""
        n_out, n_in = shape
        start = torch.full((n_out,), n_in).scatter_reduce_(0, rows, columns, "amin")
        stop = torch.full((n_out,), -1).scatter_reduce_(0, rows, columns, "amax")
        start = torch.where(stop < 0, 0, start)  # an empty row
        width = int((stop - start).max()) + 1
        weights = torch.zeros(n_out, width, dtype=torch.float64)
        weights.index_put_((rows, columns - start[rows]), values, accumulate=True)
        return cls(start, weights, n_in)

    @lasting_tensors()
    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """The non-zero entries as flat (rows, columns, values)."""
        rows, offset = self.weights.nonzero(as_tuple=True)
        return rows, self.start[rows] + offset, self.weights[rows, offset]

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The entries at broadcast (rows, columns), 0 outside of the matrix."""
        rows, columns = torch.broadcast_tensors(rows, columns)
        inner, width = rows.clamp(0, self.shape[0] - 1), self.weights.shape[1]
        offset = columns - self.start[inner]
        outside = (rows != inner) | (offset < 0) | (offset >= width)
        return torch.nn.functional.pad(self.weights, (0, 1))[inner, offset.masked_fill(outside, width)]

    @cached_property
    def transposed(self) -> "Banded":
        """The transposed matrix (n_in, n_out)."""
        rows, columns, values = self.entries()
        return Banded.from_entries(columns, rows, values, (self.shape[1], self.shape[0]))

    @lasting_tensors()
    def compose(self, other: "Banded", tolerance: float = 0.0) -> "Banded":
        """The matrix product ``self @ other``, entries below ``tolerance`` left out."""
        rows, middle, values = self.entries()
        columns = other.start[middle, None] + torch.arange(other.weights.shape[1])
        products = values[:, None] * other.weights[middle]
        rows = rows[:, None].expand_as(columns)
        # Padding entries may point beyond the last column; they weigh nothing, and must not widen the band.
        keep = products != 0
        shape = (self.shape[0], other.shape[1])
        product = Banded.from_entries(rows[keep], columns[keep], products[keep], shape)
        rows, columns, values = product.entries()
        keep = values.abs() >= tolerance
        return Banded.from_entries(rows[keep], columns[keep], values[keep], shape)

    def squared(self) -> "Banded":
        """The matrix of the squares of the entries."""
        return Banded(self.start, self.weights.square(), self.shape[1])

    def part(self, rows: slice) -> "tuple[int, Banded]":
        """Some rows as a matrix of their own, over the columns they touch: (first column, matrix)."""
        first, last, _ = rows.indices(self.shape[0])
        if (first, last) not in self._parts:
            with lasting_tensors():
                start, weights = self.start[first:last], self.weights[first:last]
                left = int(start.min())
                right = min(int(start.max()) + weights.shape[1], self.shape[1])
                self._parts[first, last] = left, Banded(start - left, weights, right - left)
        return self._parts[first, last]

    @lasting_tensors()
    def dense(self, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """The part (rows, columns) as a dense float64 matrix on the CPU."""
        first, last, _ = rows.indices(self.shape[0])
        out = torch.zeros(last - first, self.shape[1] + self.weights.shape[1], dtype=torch.float64)
        index = self.start[first:last, None] + torch.arange(self.weights.shape[1])
        out.scatter_add_(1, index, self.weights[first:last])
        return out[:, : self.shape[1]][:, columns]

    def apply(self, x: Tensor, dim: int) -> Tensor:
        """``A x`` along the last (``dim=-1``) or the last but one (``dim=-2``) axis of x (..., n, m)."""
        if x.shape[dim] != self.shape[1]:
            raise ValueError(f"`x` must have {self.shape[1]} entries along axis {dim}, got {x.shape[dim]}")
        if (key := (x.dtype, x.device)) not in self._blocks:
            rows = (slice(row, row + _ROWS_PER_BLOCK) for row in range(0, self.shape[0], _ROWS_PER_BLOCK))
            with lasting_tensors():
                self._blocks[key] = [
                    (first, first + part.shape[1], part.dense().to(x.device, x.dtype).contiguous())
                    for first, part in map(self.part, rows)
                ]
        blocks = self._blocks[key]
        if dim == -1:
            flat = x.reshape(-1, x.shape[-1])
            parts = [flat[:, first:last] @ block.T for first, last, block in blocks]
            out = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
            return out.reshape(*x.shape[:-1], self.shape[0])
        parts = [block @ x[..., first:last, :] for first, last, block in blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)
