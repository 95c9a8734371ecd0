"""Photographs of any size as 8-bit values in one tensor, so that crops of many of them are one indexing operation."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

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
