"""Linear maps G of a picture, with a transpose: what observations are resolved into.

`apply` takes images (N, channels, H, W) to values (N, n), `adjoint` values to images. `bounds` are the HR rows and
columns outside of which G looks at nothing, `crop` is G of a part of the picture that contains them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseMap:
    """Value ``row`` is the sum of ``weight`` · x[channel, y, x] over its entries.

    Attributes:
        shape: (channels, H, W).
        count: n.
        rows, channels, places: (entries,) int64 and (entries, 2) int64.
        weights: (entries,).
    """

    shape: tuple[int, int, int]
    count: int
    rows: Tensor
    channels: Tensor
    places: Tensor
    weights: Tensor

    @property
    def _flat(self) -> Tensor:
        _, h, w = self.shape
        return (self.channels * h + self.places[:, 0]) * w + self.places[:, 1]

    def apply(self, x: Tensor) -> Tensor:
        entries = x.flatten(1)[:, self._flat] * self.weights.to(x)
        return x.new_zeros(len(x), self.count).index_add_(1, self.rows, entries)

    def adjoint(self, u: Tensor) -> Tensor:
        channels, h, w = self.shape
        entries = u[:, self.rows] * self.weights.to(u)
        return u.new_zeros(len(u), channels * h * w).index_add_(1, self._flat, entries).unflatten(1, self.shape)

    def bounds(self) -> tuple[slice, slice]:
        (top, left), (bottom, right) = (self.places.amin(0).tolist(), self.places.amax(0).tolist())
        return slice(top, bottom + 1), slice(left, right + 1)

    def crop(self, rows: slice, columns: slice) -> Self:
        places = self.places - torch.tensor([rows.start, columns.start], device=self.places.device)
        return replace(self, shape=(self.shape[0], rows.stop - rows.start, columns.stop - columns.start), places=places)

    def by_place(self, values: Tensor) -> Tensor:
        """The largest of |values| (n,) that each HR pixel takes part in: (H, W), 0 where it takes part in none."""
        _, h, w = self.shape
        flat = self.places[:, 0] * w + self.places[:, 1]
        out = values.new_zeros(h * w).scatter_reduce_(0, flat, values.abs()[self.rows], "amax")
        return out.view(h, w)


@dataclass(frozen=True)
class OperatorMap:
    """A linear function of the whole image; its transpose by automatic differentiation."""

    shape: tuple[int, int, int]
    count: int
    operator: Callable[[Tensor], Tensor]

    def apply(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return torch.stack([self.operator(image).flatten() for image in x])

    def adjoint(self, u: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(u.device.type, enabled=False):
            x = u.new_zeros(self.shape, requires_grad=True)
            values = self.operator(x).flatten()
            images = [torch.autograd.grad(values, x, one, retain_graph=True)[0] for one in u.clone()]
        return torch.stack(images)

    def bounds(self) -> tuple[slice, slice]:
        return slice(0, self.shape[1]), slice(0, self.shape[2])

    def crop(self, rows: slice, columns: slice) -> Self:
        assert (rows, columns) == self.bounds()
        return self


LinearMap = SparseMap | OperatorMap
