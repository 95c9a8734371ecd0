"""How crops are made to look like other photographs, in batches, on any device.

Images are (B, 3, H, W) float32 in 0 … 255 throughout; what is drawn at random comes as (B,) tensors.
"""

import torch
from torch import Tensor

from vspsr.degradation import KERNELS


def shrunk(windows: Tensor, factor: Tensor, side: int) -> Tensor:
    """The upper left ``factor``·side pixels of each window, made smaller to side×side.

    Antialiased bicubic interpolation (a = −0.5); at factor 1 the pixels themselves.

    Args:
        windows: (B, 3, S, S), S at least factor·side.
        factor: (B,), at least 1.
        side: of the result.
    """
    place = torch.arange(windows.shape[-1], device=windows.device)
    centre = (torch.arange(side, device=windows.device) + 0.5) * factor[:, None] - 0.5
    distance = (place - centre[..., None]).abs() / factor[:, None, None]
    weights = KERNELS["bicubic"][0](distance)
    # The window ends where the part does: what the kernel would see beyond is left out of the sum.
    weights = torch.where(place < factor[:, None, None] * side, weights, 0.0)
    weights = weights / weights.sum(-1, keepdim=True)
    return weights[:, None] @ windows @ weights[:, None].mT


def unsharp_masked(image: Tensor, sigma: Tensor, strength: Tensor) -> Tensor:
    """The image plus ``strength`` times what a Gaussian of standard deviation ``sigma`` (in pixels) blurs away."""

    def blur(n: int) -> Tensor:
        place = torch.arange(n, device=image.device, dtype=image.dtype)
        return torch.softmax(-(((place[:, None] - place) / sigma[:, None, None]) ** 2) / 2, -1)[:, None]

    smooth = blur(image.shape[-2]) @ image @ blur(image.shape[-1]).mT
    return image + strength[:, None, None, None] * (image - smooth)


def recoloured(image: Tensor, gamma: Tensor, gains: Tensor, saturation: Tensor) -> Tensor:
    """Another tone curve (B,), white balance (B, 3) and saturation (B,), each 1 for no change."""
    toned = 255 * (image / 255).clamp_min(0) ** gamma[:, None, None, None] * gains[:, :, None, None]
    return toned.mean(1, keepdim=True).lerp(toned, saturation[:, None, None, None])


def dihedral(image: Tensor, kind: Tensor) -> Tensor:
    """Each square image flipped or turned in one of eight ways: ``kind`` (B,), 0 … 7; 0 leaves it as it is."""
    shape = (-1, 1, 1, 1)
    image = torch.where((kind & 1).bool().view(shape), image.flip(-1), image)
    image = torch.where((kind & 2).bool().view(shape), image.flip(-2), image)
    return torch.where((kind & 4).bool().view(shape), image.transpose(-1, -2), image)
