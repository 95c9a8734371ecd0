"""The networks that spandrel lacks, from their papers: EDSR, SRResNet (SRGAN's generator) and its modified form.

All are a convolution into features, residual blocks x + f(x) on the LR grid, and sub-pixel convolutions (Shi et al.
2016) up to the HR grid. Depth, width and scale are the constructor's; `vspsr.baselines.layouts` reads them
off a checkpoint. Every network maps RGB images (B, 3, h, w) in [0, 1] to (B, 3, s·h, s·w), nominally in [0, 1] and not
clipped. Networks that compute in another range convert it themselves.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.nn.pretrained import DIV2K_MEAN


def _conv(channels_in: int, channels_out: int, kernel: int = 3, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)


def _subpixel(width: int, factors: Sequence[int]) -> nn.ModuleList:
    """The convolutions before each pixel shuffle."""
    return nn.ModuleList(_conv(width, width * factor**2) for factor in factors)


class _Block(nn.Module):
    """x + r·second(relu(first(x)))."""

    def __init__(self, width: int, residual_scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual_scale * self.second(F.relu(self.first(x)))


class EDSR(nn.Module):
    """EDSR: Lim et al., *Enhanced Deep Residual Networks for Single Image Super-Resolution* (CVPR workshops 2017).

    Residual blocks without normalisation, their residuals scaled by 0.1 in the wide network (section 3.3).

    Args:
        width: channels of the features; 64 in the baseline, 256 in the network of the paper.
        depth: residual blocks; 16 and 32.
        factors: of each sub-pixel convolution; the scale is their product.
        value_range: white inside the network: 255 in the authors' release, 1 in OpenMMLab's.
    """

    def __init__(self, width: int, depth: int, factors: Sequence[int], value_range: float = 255.0) -> None:
        super().__init__()
        self.scale, self.factors, self.value_range = math.prod(factors), tuple(factors), value_range
        # Kept as the 1×1 convolutions that the authors' checkpoints hold.
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        for layer, sign in ((self.sub_mean, -1), (self.add_mean, 1)):
            assert layer.bias is not None
            with torch.no_grad():
                layer.weight.copy_(torch.eye(3)[:, :, None, None])
                layer.bias.copy_(sign * value_range * torch.tensor(DIV2K_MEAN))
        self.head = _conv(3, width)
        # The published wide networks have 256 channels and scale by 0.1, those of 64 channels do not scale; neither
        # writes it into the checkpoint.
        self.blocks = nn.Sequential(*(_Block(width, 0.1 if width >= 256 else 1.0) for _ in range(depth)))
        self.trunk_end = _conv(width, width)
        self.upsample = _subpixel(width, factors)
        self.tail = _conv(width, 3)

    def forward(self, y: Tensor) -> Tensor:
        """See the module."""
        head = self.head(self.sub_mean(self.value_range * y))
        x = head + self.trunk_end(self.blocks(head))
        for layer, factor in zip(self.upsample, self.factors, strict=True):
            x = F.pixel_shuffle(layer(x), factor)
        out: Tensor = self.add_mean(self.tail(x)) / self.value_range
        return out


class MSRResNet(nn.Module):
    """SRResNet as BasicSR and OpenMMLab modify it: no normalisation, leaky ReLU 0.1, a bilinear image added.

    The generator of their SRGAN releases (Wang et al., *ESRGAN*, ECCV workshops 2018, section 4.1).

    Args:
        width: channels of the features.
        depth: residual blocks.
        factors: of each sub-pixel convolution; the scale is their product.
        activated: whether an activation follows each pixel shuffle: in BasicSR and KAIR it does, in OpenMMLab not.
    """

    def __init__(self, width: int, depth: int, factors: Sequence[int], activated: bool = True) -> None:
        super().__init__()
        self.scale, self.factors, self.activated = math.prod(factors), tuple(factors), activated
        self.head = _conv(3, width)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(depth)))
        self.upsample = _subpixel(width, factors)
        self.hr, self.tail = _conv(width, width), _conv(width, 3)

    def forward(self, y: Tensor) -> Tensor:
        """See the module."""
        x = self.blocks(F.leaky_relu(self.head(y), 0.1))
        for layer, factor in zip(self.upsample, self.factors, strict=True):
            x = F.pixel_shuffle(layer(x), factor)
            x = F.leaky_relu(x, 0.1) if self.activated else x
        residual: Tensor = self.tail(F.leaky_relu(self.hr(x), 0.1))
        return residual + F.interpolate(y, scale_factor=float(self.scale), mode="bilinear", align_corners=False)


class _NormalisedBlock(nn.Module):
    """x + norm(second(prelu(norm(first(x)))))."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(width, width, bias=bias), nn.BatchNorm2d(width)
        self.activation = nn.PReLU()
        self.second, self.second_norm = _conv(width, width, bias=bias), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second_norm(self.second(self.activation(self.first_norm(self.first(x)))))
        return out


class SRResNet(nn.Module):
    """SRResNet, the generator of SRGAN: Ledig et al., *Photo-Realistic Single Image Super-Resolution Using a Generative
    Adversarial Network* (CVPR 2017), figure 4.

    Args:
        width: channels of the features; 64.
        depth: residual blocks; 16.
        factors: of each sub-pixel convolution; the scale is their product.
        bias: whether the convolutions before a batch normalisation have a bias.
        tanh: whether the output is (tanh(·) + 1) / 2 instead of the last convolution's.
    """

    def __init__(self, width: int, depth: int, factors: Sequence[int], bias: bool = False, tanh: bool = False) -> None:
        super().__init__()
        self.scale, self.factors, self.tanh = math.prod(factors), tuple(factors), tanh
        self.head, self.head_activation = _conv(3, width, 9), nn.PReLU()
        self.blocks = nn.Sequential(*(_NormalisedBlock(width, bias) for _ in range(depth)))
        self.trunk_end, self.trunk_norm = _conv(width, width, bias=bias), nn.BatchNorm2d(width)
        self.upsample = _subpixel(width, factors)
        self.upsample_activation = nn.ModuleList(nn.PReLU() for _ in factors)
        self.tail = _conv(width, 3, 9)
        self.eval()

    def forward(self, y: Tensor) -> Tensor:
        """See the module."""
        head = self.head_activation(self.head(y))
        x = head + self.trunk_norm(self.trunk_end(self.blocks(head)))
        for layer, activation, factor in zip(self.upsample, self.upsample_activation, self.factors, strict=True):
            x = activation(F.pixel_shuffle(layer(x), factor))
        out: Tensor = self.tail(x)
        return (torch.tanh(out) + 1) / 2 if self.tanh else out
