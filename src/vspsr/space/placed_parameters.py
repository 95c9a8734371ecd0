"""Parameters of the space of a large picture, computed where they are needed first, and kept.

A network of convolutions gives the parameters of a part of a picture from that part and its receptive field. Tensors
for the whole picture are allocated, which takes memory only where they are written, and filled in cells of 16×16 LR
pixels. What is computed at a place does not depend on what was computed before.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import groupby, pairwise, product
from operator import itemgetter
from typing import Any, ClassVar

import torch
from torch import Tensor

from vspsr.consistency.progress import report_progress
from vspsr.degradation.banded import lasting_tensors
from vspsr.space.parameters import SpaceParameters

_CELL = 16  # LR pixels
_LARGEST = 256  # LR pixels of a side of what is computed at once: bounds the memory, and the time to the next pause

Compute = Callable[[slice, slice], SpaceParameters]
"""LR rows and columns of a picture → their parameters."""


@dataclass(frozen=True)
class _Places:
    """Where parameters are known.

    Attributes:
        compute: gives the parameters of a part.
        size: (h, w) of the picture.
        scale: s.
        known: cells whose values have been written.
    """

    compute: Compute
    size: tuple[int, int]
    scale: int
    known: Tensor
    lock: threading.Lock


@dataclass(frozen=True)
class PlacedParameters(SpaceParameters):
    """`SpaceParameters` of one picture that are computed where `crop` asks for them. Threads may share them."""

    by_place: ClassVar[bool] = True
    places: _Places = field(kw_only=True)

    @classmethod
    def build(cls, compute: Compute, size: tuple[int, int], scale: int) -> "PlacedParameters":
        """Parameters of a picture of (h, w) LR pixels at scale s, none of them computed yet."""

        def enlarged(t: Tensor, n: int) -> Tensor:
            shape = (*t.shape[:-2], n * size[0], n * size[1])
            order = sorted(range(t.ndim), key=lambda axis: (-t.stride()[axis], axis))  # as the network lays it out
            out = torch.empty([shape[axis] for axis in order], dtype=t.dtype, device=t.device)
            return out.permute([order.index(axis) for axis in range(t.ndim)])

        with lasting_tensors():
            # More than one pixel, because the strides of an axis of one pixel say nothing.
            first = compute(*(slice(0, min(2, n)) for n in size)).map_planes(enlarged, scale)
            known = torch.zeros([-(-n // _CELL) for n in size], dtype=torch.bool)
        return cls(**_fields(first), places=_Places(compute, size, scale, known, threading.Lock()))

    def crop(self, rows: slice, columns: slice, scale: int) -> SpaceParameters:
        """See `SpaceParameters`; they are computed if they were not before."""
        self._fill(rows, columns)
        return self._plain.crop(rows, columns, scale)

    def whole(self) -> SpaceParameters:
        """See `SpaceParameters`."""
        h, w = self.places.size
        return self.crop(slice(0, h), slice(0, w), self.places.scale)

    def grey(self) -> "PlacedParameters":
        """See `SpaceParameters`."""
        places = self.places
        return self.build(lambda *part: places.compute(*part).grey(), places.size, places.scale)

    @property
    def _plain(self) -> SpaceParameters:
        """The tensors, whether they are filled or not."""
        return SpaceParameters(**_fields(self))

    def _fill(self, rows: slice, columns: slice) -> None:
        places = self.places
        cells = [slice(part.start // _CELL, -(-part.stop // _CELL)) for part in (rows, columns)]
        pieces = list(_rectangles(~places.known[tuple(cells)], _LARGEST // _CELL))
        for i, piece in enumerate(pieces):
            report_progress(i, len(pieces))
            own = [slice(c.start + p.start, c.start + p.stop) for c, p in zip(cells, piece, strict=True)]
            lr = [slice(_CELL * p.start, min(_CELL * p.stop, n)) for p, n in zip(own, places.size, strict=True)]
            made, to = places.compute(lr[0], lr[1]), self._plain.crop(lr[0], lr[1], places.scale)
            with places.lock:
                if not bool(places.known[tuple(own)].all()):  # another thread may have been faster
                    for into, values in zip(_planes(to), _planes(made), strict=True):
                        into.copy_(values)
                    places.known[tuple(own)] = True


def _fields(parameters: SpaceParameters) -> dict[str, Any]:
    return {f.name: getattr(parameters, f.name) for f in fields(SpaceParameters)}


def _planes(parameters: SpaceParameters) -> list[Tensor]:
    """The tensors that have a value for each pixel."""
    found: list[Tensor] = []
    parameters.map_planes(lambda t, _: found.append(t) or t, 1)  # type: ignore[func-returns-value]
    return found


def _rectangles(missing: Tensor, most: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles of at most ``most``×``most`` that cover the true entries of a matrix, and no others."""
    for pattern, equal in groupby(enumerate(missing.tolist()), itemgetter(1)):
        rows = [row for row, _ in equal]
        for wanted, run in groupby(enumerate(pattern), itemgetter(1)):
            if wanted:
                columns = [column for column, _ in run]
                yield from product(_parts(rows, most), _parts(columns, most))


def _parts(places: list[int], most: int) -> list[slice]:
    """A run of places in parts of about equal length, at most ``most``."""
    count = -(-len(places) // most)
    ends = [places[0] + len(places) * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]
