"""Photographs of any size as 8-bit values in one tensor, so that crops of many of them are one indexing operation."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vspsr.data.files import ImagePair
from vspsr.errors import ImageFileError
from vspsr.images.io import read_image
from vspsr.images.picture import to_bits


def read_rgb(path: Path) -> Tensor:
    """An image file as (3, H, W) uint8: grey is repeated, 16 bits are rounded to 8, alpha is dropped.

    Raises:
        ImageFileError: as in `read_image`.
    """
    picture = read_image(path)
    pixels = to_bits(picture.pixels, picture.bits, 8)
    return pixels.to(torch.uint8).expand(3, -1, -1).contiguous()


class Photographs:
    """RGB images of different sizes on one device.

    Args:
        images: (3, H, W) uint8 each.
        device: where they are kept.

    Attributes:
        sizes: (N, 2) int64 on the CPU, H and W of each.
    """

    def __init__(self, images: Sequence[Tensor], device: torch.device | str = "cpu") -> None:
        for image in images:
            if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
                raise ValueError(f"`images` must be (3, H, W) uint8, got {image.dtype} {tuple(image.shape)}")
        self.device = torch.device(device)
        self.sizes = torch.tensor([image.shape[1:] for image in images], dtype=torch.int64)
        counts = self.sizes.prod(1)
        starts = counts.cumsum(0) - counts
        self._values = torch.empty(int(counts.sum()), 3, dtype=torch.uint8, device=self.device)
        for image, start in zip(images, starts.tolist(), strict=True):
            pixels = image.flatten(1).T
            self._values[start : start + len(pixels)].copy_(pixels)
        # Of each image: where it starts, H, W.
        self._table = torch.cat([starts[:, None], self.sizes], 1).to(self.device)

    def __len__(self) -> int:
        return len(self.sizes)

    def windows(self, index: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
        """Squares of the images: (B, 3, side, side) uint8. What lies beyond an image repeats its border.

        Args:
            index, top, left: (B,) int64 on the photographs' device.
            side: in pixels.
        """
        start, height, width = self._table[index].unbind(1)
        step = torch.arange(side, device=self.device)
        rows = torch.minimum((top[:, None] + step).clamp_min(0), height[:, None] - 1)
        columns = torch.minimum((left[:, None] + step).clamp_min(0), width[:, None] - 1)
        place = start[:, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        return self._values[place].permute(0, 3, 1, 2)


def decode_pairs(
    pairs: Sequence[ImagePair], memory_gb: float, device: torch.device | str, report: Callable[[str], None]
) -> tuple[list[ImagePair], Photographs, Photographs | None]:
    """Decode HR images, and the LR images of paired data, onto a device.

    Args:
        pairs: all with an LR file or all without, at least one.
        memory_gb: the most memory that the decoded HR images may take, in GB.
        device: where they are kept.
        report: is given a line for each pair that cannot be decoded.

    Returns:
        The pairs that were decoded, their HR and their LR images (None where LR is made on the fly).

    Raises:
        ImageFileError: the images need more memory than ``memory_gb``, or not one can be decoded.
    """
    needed = sum(3 * math.prod(pair.size) for pair in pairs) / 1e9
    if needed > memory_gb:
        raise ImageFileError(
            f"`data.memory_gb` {memory_gb:g}: {len(pairs)} images take {needed:.1f} GB decoded: give more, or fewer "
            "images"
        )
    kept: list[ImagePair] = []
    images: list[list[Tensor]] = []
    for pair in pairs:
        try:
            images.append([read_rgb(path) for path in (pair.hr, pair.lr) if path is not None])
            kept.append(pair)
        except ImageFileError as error:
            report(f"{error}: left out")
    if not kept:
        raise ImageFileError(f"{pairs[0].hr.parent}: not one of the training images can be decoded")
    hr, *lr = (Photographs(column, device) for column in zip(*images, strict=True))
    return kept, hr, lr[0] if lr else None
