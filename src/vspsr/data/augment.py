"""How a crop is made to look like another photo.

Images are (3, H, W) tensors of 8-bit integers throughout.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ROTATED", "extent", "recoloured", "rotated", "sharpened", "shrunk", "unsharp_masked"]

ROTATED = 1.25
"""Factor of shrinking from which a rotation's interpolation costs no visible detail."""


def shrunk(image: Tensor, side: int) -> Tensor:
    """The image shrunk to side×side by antialiased bicubic interpolation."""
    return _rounded(F.interpolate(image[None].float(), (side, side), mode="bicubic", antialias=True)[0])


def extent(angle: float) -> float:
    """Side of the upright square around a square of side 1 that is turned by ``angle`` radians."""
    return abs(math.cos(angle)) + abs(math.sin(angle))


def rotated(image: Tensor, angle: float, side: int) -> Tensor:
    """The square of ``side`` pixels in the middle of the image, turned by ``angle`` radians; bicubic interpolation."""
    steps = torch.arange(side) - (side - 1) / 2
    x, y = steps[None, :], steps[:, None]
    columns, rows = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
    grid = torch.stack([2 * columns / image.shape[2], 2 * rows / image.shape[1]], -1)
    return _rounded(F.grid_sample(image[None].float(), grid[None], "bicubic", "border", align_corners=False)[0])


def recoloured(image: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """The image with another tone curve, white balance and saturation, drawn from ``rng``; the same at strength 0.

    At strength 1 the logarithms of γ and of the three gains are normal with standard deviations of 0.2 and 0.06, and
    the saturation is between 0.6 and 1.3.
    """
    gamma = math.exp(strength * rng.normal(0, 0.2))
    gains = torch.from_numpy(np.exp(strength * rng.normal(0, 0.06, 3))).float()
    saturation = max(0.0, 1 + strength * rng.uniform(-0.4, 0.3))
    curve = 255 * (torch.arange(256) / 255) ** gamma
    out = curve[image.long()] * gains[:, None, None]
    return _rounded(out.mean(0, keepdim=True).lerp(out, saturation))


def unsharp_masked(image: Tensor, sigma: float, strength: float) -> Tensor:
    """The image plus ``strength`` times what a Gaussian of standard deviation ``sigma`` (in pixels) blurs away."""
    reach = math.ceil(4 * sigma)
    kernel = torch.softmax(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2, 0)
    smooth = F.pad(image.float(), (reach,) * 4, "replicate")[:, None]
    smooth = F.conv2d(F.conv2d(smooth, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]
    return _rounded(image + strength * (image - smooth))


def sharpened(image: Tensor, rng: np.random.Generator, most: float) -> Tensor:
    """The image sharpened as cameras and scanners do, with probability ½.

    An unsharp mask whose standard deviation is log-uniform between 0.6 and 1.5 pixels, its strength uniform up to
    ``most``.
    """
    if rng.integers(2) == 0:
        return image
    return unsharp_masked(image, 0.6 * 2.5 ** rng.random(), most * rng.random())


def _rounded(image: Tensor) -> Tensor:
    return image.round_().clamp_(0, 255).to(torch.uint8)
