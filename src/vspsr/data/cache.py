"""Decoded images, kept within a memory limit."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from vspsr.images.io import read_image
from vspsr.images.picture import to_bits

__all__ = ["ImageCache", "read_rgb"]


def read_rgb(path: Path) -> Tensor:
    """An image file as (3, H, W) uint8: grey is repeated, 16 bits are rounded to 8, alpha is dropped.

    Raises:
        ImageFileError: as in `read_image`.
    """
    picture = read_image(path)
    pixels = to_bits(picture.pixels, picture.bits, 8)
    return pixels.to(torch.uint8).expand(3, -1, -1).contiguous()


class ImageCache:
    """path → (3, H, W) uint8. If the images do not all fit, the least recently used are dropped and decoded again.

    Args:
        limit: bytes of pixels to keep, ≥ 0.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._images: OrderedDict[Path, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._images)

    def get(self, path: Path) -> Tensor:
        """The image of a file. ImageFileError as in `read_image`."""
        image = self._images.get(path)
        if image is not None:
            self._images.move_to_end(path)
            return image
        image = read_rgb(path)
        if image.numel() <= self.limit:
            self._images[path] = image
            self.used += image.numel()
            while self.used > self.limit:
                self.used -= self._images.popitem(last=False)[1].numel()
        return image
