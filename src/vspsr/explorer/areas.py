"""Strokes of a brush as masks."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vspsr.explorer.messages import Area, Rect


def area_mask(area: Area, size: tuple[int, int]) -> Tensor:
    """The pixels whose centres the strokes cover, (H, W) bool: those within a radius of a path, one after the other."""
    mask = np.zeros(size, bool)
    for stroke in area.strokes:
        path = np.asarray(stroke.points, float).reshape(-1, 2)
        for start, end in zip(path, path[1:] if len(path) > 1 else path, strict=False):
            _draw(mask, start, end, stroke.radius, not stroke.erase)
    return torch.from_numpy(mask)


def _draw(mask: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], radius: float, value: bool) -> None:
    """Set the pixels within a radius of the segment a–b, each (x, y)."""
    height, width = mask.shape
    left, top = np.maximum(np.floor(np.minimum(a, b) - radius), 0).astype(int)
    right, bottom = np.minimum(np.ceil(np.maximum(a, b) + radius), (width, height)).astype(int)
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5
    (dx, dy), length2 = b - a, float(((b - a) ** 2).sum())
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / length2, 0, 1) if length2 else np.zeros(())
    near = (x - a[0] - t * dx) ** 2 + (y - a[1] - t * dy) ** 2 <= radius**2
    mask[top:bottom, left:right][near] = value


def rect_mask(rect: Rect, size: tuple[int, int]) -> Tensor:
    """(H, W) bool; ValueError unless the rectangle lies within the picture."""
    left, top, width, height = rect
    if top + height > size[0] or left + width > size[1]:
        raise ValueError(f"the area {left}, {top}, {width}×{height} leaves the picture of {size[1]}×{size[0]} pixels")
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask
