"""The deterministic part μ(y): interpolation, interpolation with convolutions (the authors' code), or a residual
network on LR features."""

import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.checks import check_choice, check_integer
from vspsr.degradation.resize import imresize

MAX_WIDTH, MAX_BLOCKS = 65_536, 1_000
"""Channels and blocks that networks may have: bounds what a configuration from elsewhere can ask for."""


class Interpolation(nn.Module):
    """Interpolation of the LR image, optionally followed by two convolutions as in the authors' code.

    Args:
        scale: s.
        mode: "bilinear" or "bicubic" (a = −0.75, PyTorch's), pixel centres aligned as in `imresize`.
        convolutions: add 3×3 convolutions 3 → 16 → 3 with ReLU between.

    Shapes: (B, 3, h, w) in [0, 1] → (B, 3, s·h, s·w).

    Raises:
        ValueError: unknown mode.
    """

    def __init__(self, scale: int, mode: str, convolutions: bool = False) -> None:
        super().__init__()
        check_choice(mode, "mode", ("bilinear", "bicubic"))
        self.scale, self.mode = scale, mode
        self.convolutions: nn.Module = nn.Identity()
        if convolutions:
            layers = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))
            self.convolutions = nn.Sequential(*layers)

    def forward(self, y: Tensor) -> Tensor:
        up = F.interpolate(y, scale_factor=float(self.scale), mode=self.mode, align_corners=False)
        return self.convolutions(up)  # type: ignore[no-any-return]


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=1e-2 / channels**0.5)  # a deep trunk starts near the identity

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class ResidualTrunk(nn.Module):
    """Features of the LR image: a convolution, residual blocks without normalisation (Lim et al., EDSR, 2017).

    Shapes: (B, inputs, h, w), about 0 → (B, channels, h, w). Receptive field: 2·blocks + 2 pixels to each side.

    Raises:
        ValueError: no channels or too many, too many blocks.
    """

    def __init__(self, channels: int, blocks: int, inputs: int = 3) -> None:
        super().__init__()
        channels = check_integer(channels, "channels", 1, MAX_WIDTH)
        blocks = check_integer(blocks, "blocks", 0, MAX_BLOCKS)
        self.head = nn.Conv2d(inputs, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_ResidualBlock(channels) for _ in range(blocks)))
        self.tail = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        head = self.head(y)
        return head + self.tail(self.blocks(head))  # type: ignore[no-any-return]


class ResidualUpsampler(nn.Module):
    """Bicubic interpolation (a = −0.5) plus a residual read off LR features by sub-pixel convolution.

    Shapes: features (B, channels, h, w), y (B, 3, h, w) in [0, 1] → (B, 3, s·h, s·w).
    """

    def __init__(self, scale: int, channels: int) -> None:
        super().__init__()
        self.scale = scale
        self.residual = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def forward(self, features: Tensor, y: Tensor) -> Tensor:
        return imresize(y, scale=self.scale) + F.pixel_shuffle(self.residual(features), self.scale)
