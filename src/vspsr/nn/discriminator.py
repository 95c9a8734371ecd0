"""Discriminators: images (B, 3, H, W) in [0, 1] → how real they look."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["PatchDiscriminator", "UNetDiscriminator"]


class PatchDiscriminator(nn.Module):
    """The discriminator of the authors' code: two 4×4 convolutions of stride 2, then 1×1 convolutions.

    Widths 64, 128, 256, 512, 1, with batch normalisation and leaky ReLU (0.01); a sigmoid gives each patch of 10×10
    pixels a probability, and their mean is returned.

    Shapes: (B, 3, H, W), H and W ≥ 10 → (B,) in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (i, o) in enumerate(pairwise((3, 64, 128, 256, 512))):
            convolution = nn.Conv2d(i, o, 4, stride=2) if index < 2 else nn.Conv2d(i, o, 1)
            layers += [convolution, nn.BatchNorm2d(o), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(512, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x).mean((1, 2, 3))  # type: ignore[no-any-return]


class UNetDiscriminator(nn.Module):
    """A U-Net with spectral normalisation that judges every pixel in its surroundings.

    Three times down (4×4 convolution, stride 2) and up (bilinear, 3×3 convolution) with skips added, after Schönfeld
    et al. 2020 and Wang et al. 2021 (Real-ESRGAN). Its judgement is local, so it cannot tell images by their content
    as a global one does; spectral normalisation keeps its gradient bounded, and without batch normalisation an
    image's judgement does not depend on the batch.

    Args:
        channels: width of the first layer.

    Shapes: (B, 3, H, W), H and W ≥ 8 → logits (B, 1, H, W).
    """

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        widths = [channels, 2 * channels, 4 * channels, 8 * channels]
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1, bias=False)) for i, o in pairwise(widths)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(o, i, 3, padding=1, bias=False)) for i, o in reversed(list(pairwise(widths)))
        )
        self.tail = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, channels, 3, padding=1, bias=False)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out = F.leaky_relu(self.head(2 * x - 1), 0.2)
        skips = []
        for layer in self.down:
            skips.append(out)
            out = F.leaky_relu(layer(out), 0.2)
        for layer in self.up:
            skip = skips.pop()
            out = F.interpolate(out, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            out = F.leaky_relu(layer(out), 0.2) + skip
        return self.tail(out)  # type: ignore[no-any-return]
