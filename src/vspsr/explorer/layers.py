"""A picture to look at: its pixels as they are kept, and as tiles of a pyramid for display."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.images.colours import srgb_array
from vspsr.images.picture import Picture, to_bits
from vspsr.images.sheets import coloured, map_levels, png, scale_end
from vspsr.upscaling import degrade

TILE = 512
_SMALLEST = 256  # longer side of the coarsest level

Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Spread:
    """What a map of the standard deviation shows, or a part of one.

    Attributes:
        mean, stddev: (C, H, W) of a space, in units of the full range.
        edited: whether edits are on that the space is given.
        top, left: where the part begins, in HR pixels.
    """

    mean: Tensor
    stddev: Tensor
    edited: bool
    top: int = 0
    left: int = 0

    def at(self, x: int, y: int) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation (C,) at an HR pixel of the picture; None if it is not in the part."""
        row, column = y - self.top, x - self.left
        if not (0 <= row < self.mean.shape[1] and 0 <= column < self.mean.shape[2]):
            return None
        return self.mean[:, row, column], self.stddev[:, row, column]


@dataclass(eq=False)
class Layer:
    """A picture to look at.

    Attributes:
        id: its name in addresses.
        pixels: (C, H, W) uint8 or uint16, as it is exported; for a map, its colours.
        rgb: (H, W, 3), as it is displayed: in sRGB.
        about: what the page shows beside it, JSON values.
        spread: for a map of the standard deviation, the values behind it.
    """

    id: str
    pixels: NDArray[Any]
    rgb: Array
    about: dict[str, Any] = field(default_factory=dict)
    spread: Spread | None = None

    def __post_init__(self) -> None:
        self._levels = [self.rgb]
        while max(self._levels[-1].shape[:2]) > _SMALLEST:
            self._levels.append(_halved(self._levels[-1]))

    @classmethod
    def of(cls, name: str, picture: Picture, **about: Any) -> "Layer":
        """The layer of a picture."""
        kept = picture.pixels.numpy().astype(np.uint8 if picture.bits == 8 else np.uint16)
        return cls(name, kept, srgb_array(picture), about)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.rgb.shape[0], self.rgb.shape[1]

    def report(self) -> dict[str, Any]:
        """What the page needs to show it."""
        height, width = self.size
        return {
            "layer": self.id,
            "width": width,
            "height": height,
            "tile": TILE,
            "levels": len(self._levels),
            **self.about,
        }

    def tile(self, level: int, x: int, y: int) -> bytes:
        """PNG of a tile; level 0 is the coarsest. KeyError if there is none."""
        if not 0 <= level < len(self._levels):
            raise KeyError(level)
        rgb = self._levels[len(self._levels) - 1 - level]
        part = rgb[TILE * y : TILE * (y + 1), TILE * x : TILE * (x + 1)] if x >= 0 and y >= 0 else rgb[:0]
        if part.size == 0:
            raise KeyError((x, y))
        return png(part)

    def thumbnail(self) -> bytes:
        """PNG of the coarsest level."""
        return png(self._levels[-1])

    def picture(self, like: Picture) -> Picture:
        """The pixels as a picture with the metadata of another."""
        pixels = torch.from_numpy(self.pixels.astype(np.int32))
        bits = 8 if self.pixels.dtype == np.uint8 else 16
        return replace(like, pixels=pixels, bits=bits, alpha=None)


def spread_map(stddev: Tensor) -> tuple[Array, float]:
    """A colour map (H, W, 3) of a standard deviation (C, H, W), and the end of its scale in levels of 255."""
    levels = map_levels(stddev)
    end = scale_end(levels)
    return coloured(levels / end), end


def colours_wrong(picture: Picture, lr: Picture, degradation: Degradation) -> int:
    """How many LR values an HR picture without alpha misses: of colours where the LR picture is visible (alpha > 0)."""
    down = degrade(replace(picture, alpha=None), degradation).pixels
    different = down != to_bits(lr.pixels, lr.bits, picture.bits)
    return int((different if lr.alpha is None else different & (lr.alpha > 0)).sum())


def _halved(rgb: Array) -> Array:
    """Means of 2×2 pixels; at an odd end, of the last row and column with themselves."""
    height, width = rgb.shape[:2]
    padded = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    summed = padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return ((summed + 2) // 4).astype(np.uint8)
