"""What a JPEG file holds: quantised DCT coefficients, their tables and the subsampling of the colours."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vspsr.degradation.jpeg import quantisation_map

# Whether an upright picture is transposed, and along which axes it is then flipped, to give the stored one.
_STORED: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()),
    2: (False, (-1,)),
    3: (False, (-2, -1)),
    4: (False, (-2,)),
    5: (True, ()),
    6: (True, (-2,)),
    7: (True, (-2, -1)),
    8: (True, (-1,)),
}


@dataclass(frozen=True, eq=False)
class JpegCoefficients:
    """The content of a JPEG file before it is decoded to pixels.

    Attributes:
        size: (h, w) of the picture as it is stored, before `orientation` turns it.
        coefficients: for each component (Y, or Y, Cb and Cr) the quantised coefficients of its blocks, integers
            (rows, columns, 8, 8), (vertical, horizontal) frequency.
        tables: the quantisation steps of each component, integers (8, 8), at least 1.
        sampling: (vertical, horizontal) pixels for each value of Cb and Cr: (1, 1) is 4:4:4, (2, 2) 4:2:0.
        orientation: 1 … 8 as in EXIF.
        progressive: how the file is coded; of no consequence.

    Raises:
        ValueError: parts that do not fit together.
    """

    size: tuple[int, int]
    coefficients: Sequence[Tensor]
    tables: Sequence[Tensor]
    sampling: tuple[int, int] = (1, 1)
    orientation: int = 1
    progressive: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.orientation not in _STORED:
            raise ValueError(f"`orientation` must be 1 … 8, got {self.orientation}")
        if len(self.coefficients) not in (1, 3) or len(self.tables) != len(self.coefficients):
            raise ValueError(
                f"`coefficients` must be of 1 or 3 components with a table each, got {len(self.coefficients)} and "
                f"{len(self.tables)} `tables`"
            )
        for part, (values, table) in enumerate(zip(self.coefficients, self.tables, strict=True)):
            blocks = self.blocks(part)
            if values.shape != (*blocks, 8, 8):
                raise ValueError(f"`coefficients` [{part}] must be {(*blocks, 8, 8)}, got {tuple(values.shape)}")
            if table.shape != (8, 8) or int(table.min()) < 1:
                raise ValueError(f"`tables` [{part}] must be (8, 8) of steps ≥ 1, got {tuple(table.shape)}")

    @property
    def is_grey(self) -> bool:
        """Whether there is no colour."""
        return len(self.coefficients) == 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(h, w) of the picture as it is shown."""
        return self.size[::-1] if _STORED[self.orientation][0] else self.size

    @property
    def subsampling(self) -> str:
        """The usual name of `sampling`, "4:2:0" for instance; "grey" without colour."""
        if self.is_grey:
            return "grey"
        names = {(1, 1): "4:4:4", (1, 2): "4:2:2", (2, 2): "4:2:0", (2, 1): "4:4:0", (1, 4): "4:1:1"}
        return names.get(self.sampling, f"{self.sampling[1]}x{self.sampling[0]}")

    def blocks(self, component: int) -> tuple[int, int]:
        """(rows, columns) of blocks of a component."""
        pixels = self.sampling if component else (1, 1)
        rows, columns = (-(-n // (8 * s)) for n, s in zip(self.size, pixels, strict=True))
        return rows, columns

    @property
    def n_coefficients(self) -> int:
        """How many there are."""
        return sum(values.numel() for values in self.coefficients)

    @property
    def luminance(self) -> "JpegCoefficients":
        """Y alone, as of a grey file."""
        return replace(self, coefficients=self.coefficients[:1], tables=self.tables[:1], sampling=(1, 1))

    def description(self) -> dict[str, Any]:
        """What a report says of the file: JSON values."""
        return {
            "subsampling": self.subsampling,
            "progressive": self.progressive,
            "orientation": self.orientation,
            "tables": [table.flatten().tolist() for table in self.tables],
        }

    def stored(self, image: Tensor) -> Tensor:
        """An upright image (..., h, w) as it lies in the file."""
        turn, flipped = _STORED[self.orientation]
        return (image.transpose(-1, -2) if turn else image).flip(flipped)

    def upright(self, image: Tensor) -> Tensor:
        """The inverse of `stored`."""
        turn, flipped = _STORED[self.orientation]
        image = image.flip(flipped)
        return image.transpose(-1, -2) if turn else image

    def part(self, rows: slice, columns: slice) -> tuple["JpegCoefficients", slice, slice]:
        """The MCUs that hold rows × columns of the upright picture; the upright rows and columns that they cover."""
        turn, flipped = _STORED[self.orientation]

        def mirrored(parts: Sequence[slice]) -> list[slice]:
            triples = zip(parts, self.size, (-2, -1), strict=True)
            return [slice(n - p.stop, n - p.start) if axis in flipped else p for p, n, axis in triples]

        stored, covered = mirrored((columns, rows) if turn else (rows, columns)), []
        for part, sampling, n in zip(stored, self.sampling, self.size, strict=True):
            mcu = 8 * sampling
            covered.append(slice(part.start // mcu * mcu, min(-(-part.stop // mcu) * mcu, n)))
        coefficients = []
        for component, values in enumerate(self.coefficients):
            pixels = [8 * s if component else 8 for s in self.sampling]
            blocks = [slice(c.start // p, -(-c.stop // p)) for c, p in zip(covered, pixels, strict=True)]
            coefficients.append(values[blocks[0], blocks[1]])
        height, width = (c.stop - c.start for c in covered)
        upright = mirrored(covered)
        return replace(self, size=(height, width), coefficients=coefficients), upright[turn], upright[not turn]

    def quantisation_map(self) -> Tensor:
        """`vspsr.degradation.jpeg.quantisation_map` of the upright picture: (1, 3, h, w)."""
        tables = torch.stack([self.tables[0], self.tables[-1]])[None]
        subsampled = torch.tensor([self.sampling != (1, 1)])
        return self.upright(quantisation_map(tables.float(), subsampled, *self.size))
