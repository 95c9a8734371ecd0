"""A decoded image as tensors, independent of file formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vspsr.checks import check_choice, check_types, value_text
from vspsr.degradation.resize import imresize, round_to_range

Metadata = Mapping[str, bytes | str | int | float]

_METADATA = {
    **dict.fromkeys(("icc-profile-data", "exif-data", "xmp-data", "iptc-data"), bytes),
    **dict.fromkeys(("xres", "yres"), Real),
    "resolution-unit": str,
}


@dataclass(frozen=True)
class Header:
    """What a file states about its image.

    Attributes:
        size: (H, W), upright.
        channels: 1 or 3.
        bits: 8 or 16.
        alpha: whether it has alpha.
        profile: its ICC profile, None where it has none.
        orientation: how it is stored, 1 … 8 as in EXIF.
    """

    size: tuple[int, int]
    channels: int
    bits: int
    alpha: bool
    profile: bytes | None = None
    orientation: int = 1


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright image of 8 or 16 bits, with the metadata of its file.

    Make a changed copy with `dataclasses.replace(picture, pixels=…, alpha=…)`: metadata and mode go along.

    Attributes:
        pixels: (C, H, W) int32, C = 1 (grey) or 3 (RGB), 0 … `white`.
        bits: 8 or 16.
        alpha: (1, H, W) int32, 0 (transparent) … `white` (opaque), not premultiplied; None without.
        metadata: what is carried over to files written, by libvips' names: `icc-profile-data`, `exif-data`,
            `xmp-data`, `iptc-data` (bytes), `xres`, `yres` (pixels per millimetre), `resolution-unit`.
        mode: what the file held, in the words of docs/image-modes.md.

    Raises:
        ValueError: a tensor has the wrong shape, type or range, `bits` is neither 8 nor 16, metadata of another type.
    """

    pixels: Tensor
    bits: int = 8
    alpha: Tensor | None = None
    metadata: Metadata = field(default_factory=dict)
    mode: str = "RGB"

    def __post_init__(self) -> None:
        check_choice(self.bits, "bits", (8, 16))
        check_types(
            pixels=(self.pixels, Tensor),
            alpha=(self.alpha, Tensor | None),
            metadata=(self.metadata, Mapping),
            mode=(self.mode, str),
        )
        if self.pixels.ndim != 3 or self.pixels.shape[0] not in (1, 3):
            raise ValueError(f"`pixels` must be (1, H, W) or (3, H, W), got {tuple(self.pixels.shape)}")
        if self.alpha is not None and self.alpha.shape != (1, *self.size):
            raise ValueError(f"`alpha` must be {(1, *self.size)}, got {tuple(self.alpha.shape)}")
        for name, value in self.metadata.items():
            if not isinstance(value, kind := _METADATA.get(name, object)):
                wanted = "a number" if kind is Real else kind.__name__
                raise ValueError(f"`metadata` must have {wanted} as {name!r}, got {value_text(value)}")
        for name, plane in (("pixels", self.pixels), ("alpha", self.alpha)):
            if plane is None:
                continue
            if plane.dtype != torch.int32 or not plane.numel():
                raise ValueError(f"`{name}` must be int32 and not empty, got {plane.dtype}, {tuple(plane.shape)}")
            low, high = (int(bound) for bound in torch.aminmax(plane))
            if low < 0 or high > self.white:
                raise ValueError(f"`{name}` must lie in 0 … {self.white}, got {low} … {high}")

    @property
    def n_values(self) -> int:
        """How many values it has: pixels × channels, alpha included."""
        return self.pixels.numel() + (0 if self.alpha is None else self.alpha.numel())

    @property
    def white(self) -> int:
        """The largest value: 255 or 65535."""
        return (1 << self.bits) - 1

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def is_grey(self) -> bool:
        """Whether there is one colour channel."""
        return self.pixels.shape[0] == 1

    def to_float(self) -> Tensor:
        """The colours as a batch of one: (1, C, H, W) float32 in [0, 1]."""
        return (self.pixels.to(torch.float32) / self.white).unsqueeze(0)

    def to_array(self) -> NDArray[np.unsignedinteger[Any]]:
        """The samples as a file holds them, uint8 or uint16, as `PIL.Image.fromarray` and `vspsr.upscale` take them.

        (H, W, bands), one band per channel and one for alpha; (H, W) for grey without alpha.
        """
        both = self.pixels if self.alpha is None else torch.cat([self.pixels, self.alpha])
        bands = both[0] if len(both) == 1 else both.movedim(0, -1)
        return np.array(bands.cpu().numpy(), np.uint8 if self.bits == 8 else np.uint16, order="C")


def to_bits(values: Tensor, bits: int, out_bits: int) -> Tensor:
    """Integers of one depth in another: 8 to 16 bits exactly (times 257), 16 to 8 bits to the nearest.

    Args:
        values: integers in 0 … 2^bits − 1, any shape.
        bits, out_bits: 8 or 16.

    Returns:
        The same shape, in 0 … 2^out_bits − 1: `values` itself where the depth stays, otherwise int32.
    """
    if bits == out_bits:
        return values
    return values.int() * 257 if out_bits == 16 else (values.int() + 128) // 257  # no value lies half-way between two


def bicubic(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture enlarged to (H, W) as MATLAB's `imresize` does on floating point, then rounded; without its alpha."""
    x = imresize(picture.pixels.double() / picture.white, size=size)
    return replace(picture, pixels=round_to_range(x * picture.white, picture.white).int(), alpha=None)


def bleed(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Replace the colour under fully transparent pixels by that of the nearest visible pixel.

    What lies under alpha = 0 is arbitrary (often black) and would shine through as a halo after upscaling.
    Distance counts steps along rows and columns; of equally near pixels the first in reading order wins.

    Args:
        pixels: (C, H, W), any type.
        alpha: (1, H, W), 0 where fully transparent.

    Returns:
        (C, H, W): `pixels` itself where every pixel is visible; otherwise a new tensor, equal to it wherever
        alpha > 0; 0 where no pixel is visible.

    Raises:
        ValueError: the shapes do not fit.
    """
    if alpha.shape != (1, *pixels.shape[1:]):
        raise ValueError(f"`alpha` must be {(1, *pixels.shape[1:])}, got {tuple(alpha.shape)}")
    visible = (alpha[0] > 0).cpu().numpy()
    if visible.all():
        return pixels
    if not visible.any():
        return torch.zeros_like(pixels)
    # One integer holds a distance (high 32 bits) and the pixel it leads to (low 32 bits): minima carry both.
    key = np.arange(visible.size, dtype=np.int64).reshape(visible.shape) + np.where(visible, 0, 1 << 62)
    nearest = _shorten(_shorten(key, axis=1), axis=0) & 0xFFFFFFFF
    index = torch.from_numpy(nearest.ravel()).to(pixels.device)
    return pixels.flatten(1)[:, index].view_as(pixels)


def _shorten(key: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Shortest distances if every pixel may take that of another in its row or column, plus the steps to it."""
    steps = np.expand_dims(np.arange(key.shape[axis], dtype=np.int64) << 32, 1 - axis)
    ahead: NDArray[np.int64] = np.minimum.accumulate(key - steps, axis) + steps
    behind = np.flip(np.minimum.accumulate(np.flip(key + steps, axis), axis), axis) - steps
    np.minimum(ahead, behind, out=ahead)
    return ahead
