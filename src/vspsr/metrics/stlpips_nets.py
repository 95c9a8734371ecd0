"""Shift-tolerant LPIPS: anti-aliased AlexNet and VGG-16 (Ghildyal & Liu, ECCV 2022).

Against LPIPS, every step of stride 2 becomes one of stride 1 and a blur: the binomial filter [1 2 1]ᵀ[1 2 1]/16 on the
image mirrored by two pixels, every second value kept. AlexNet's first convolution (stride 4) has stride 1 with one blur
before its ReLU and one after the pooling. The module tree is named as the keys of the published weights are.

A convolution followed by a blur is one linear map: away from the borders one convolution of 13×13 and stride 2. That
takes a third of the time and a quarter of the memory of the two steps, so `ShiftTolerantLPIPS.fuse` replaces them.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class BlurPool(nn.Module):
    """The blur and decimation: (B, C, H, W), sides ≥ 3 → (B, C, ⌊(H+1)/2⌋ + 1, ⌊(W+1)/2⌋ + 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.filt: Tensor
        self.register_buffer("filt", torch.outer(taps, taps).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), self.filt, stride=2, groups=x.shape[1])


class SlidingMaximum(nn.Module):
    """``nn.MaxPool2d(size, stride=1)``, one axis after the other: the same values in a fraction of the time."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H − size + 1, W − size + 1)."""
        for dim in (-2, -1):
            n = x.shape[dim] - self.size + 1
            out = torch.maximum(x.narrow(dim, 0, n), x.narrow(dim, 1, n))
            for k in range(2, self.size):
                torch.maximum(out, x.narrow(dim, k, n), out=out)
            x = out
        return x


class BlurredConv(nn.Module):
    """A convolution of stride 1 and the `BlurPool` after it, in one."""

    def __init__(self, conv: nn.Conv2d, blur: BlurPool) -> None:
        super().__init__()
        self.conv, self.blur = conv, blur
        channels, inputs, size, _ = conv.weight.shape
        planes = conv.weight.detach().double().reshape(-1, 1, size, size)
        weight = F.conv2d(planes, blur.filt[:1].double(), padding=2)  # the filter is symmetric: no flip
        self.weight: Tensor
        self.register_buffer("weight", weight.reshape(channels, inputs, size + 2, size + 2).to(conv.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``blur(conv(x))`` up to rounding."""
        pad = self.conv.padding[0]
        assert isinstance(pad, int)
        size = self.conv.weight.shape[-1]
        height, width = (n + 2 * pad - size + 1 for n in x.shape[-2:])  # of the convolution's result
        if min(height, width) < 6:
            return self.blur(self.conv(x))
        out = F.conv2d(x, self.weight, self.conv.bias, stride=2, padding=pad + 2)
        # The blur mirrors the convolution's result, which a convolution of padded pixels does not. The last row and
        # column are made in the two steps from the end of the image; the first equal the second, by symmetry.
        top, left = ((n - 4) // 2 * 2 for n in (height, width))
        out[..., -1, :] = self.blur(self.conv(x[..., top:, :]))[..., -1, :]
        out[..., -1] = self.blur(self.conv(x[..., left:]))[..., -1]
        out[..., 0, :] = out[..., 1, :]
        out[..., 0] = out[..., 1]
        return out


class ShiftTolerantLPIPS(nn.Module):
    """The network of ``alex_shift_tolerant.pth`` ("alex") or ``vgg_shift_tolerant.pth`` ("vgg"), weights to be loaded.

    As `vspsr.metrics.perceptual.Backend` needs it: ``net.slice1`` …, each fed with what the one before returns, and
    ``lin0`` …, the weights of their channels.
    """

    def __init__(self, net: str) -> None:
        super().__init__()
        self.scaling_layer = nn.Module()
        self.scaling_layer.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.scaling_layer.register_buffer("scale", torch.ones(1, 3, 1, 1))
        slices, channels = {"alex": _alexnet, "vgg": _vgg16}[net]()
        self.net = nn.Module()
        position = 0
        for number, layers in enumerate(slices, 1):
            named = OrderedDict((str(position + i), layer) for i, layer in enumerate(layers))
            self.net.add_module(f"slice{number}", nn.Sequential(named))
            position += len(layers)
        for number, count in enumerate(channels):
            linear = nn.Module()
            linear.add_module("model", nn.Sequential(OrderedDict({"1": nn.Conv2d(count, 1, 1, bias=False)})))
            self.add_module(f"lin{number}", linear)

    def fuse(self) -> None:
        """Put `BlurredConv` in place of a first convolution that a blur follows; keys change, values do not."""
        first = self.net.get_submodule("slice1")
        layers = list(first.children())
        if isinstance(layers[1], BlurPool):
            assert isinstance(layers[0], nn.Conv2d)
            self.net.add_module("slice1", nn.Sequential(BlurredConv(layers[0], layers[1]), *layers[2:]))


def _alexnet() -> tuple[list[list[nn.Module]], Sequence[int]]:
    """Five slices, ending in the five ReLUs, and their channels."""
    slices: list[list[nn.Module]] = [
        [nn.Conv2d(3, 64, 11, padding=2), BlurPool(64), nn.ReLU(inplace=True)],
        [SlidingMaximum(3), BlurPool(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)],
        [SlidingMaximum(3), BlurPool(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)],
        [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)],
        [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)],
    ]
    return slices, (64, 192, 384, 256, 256)


def _vgg16() -> tuple[list[list[nn.Module]], Sequence[int]]:
    """Five slices, ending in the last ReLU before each pooling, and their channels."""
    slices: list[list[nn.Module]] = []
    before = 3
    for widths in _VGG16:
        layers: list[nn.Module] = [SlidingMaximum(2), BlurPool(before)] if slices else []
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
        slices.append(layers)
    return slices, [widths[-1] for widths in _VGG16]
