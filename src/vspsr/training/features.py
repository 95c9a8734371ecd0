"""A frozen SqueezeNet v1.1 as a feature extractor, from a local safetensors file."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["SqueezeNetFeatures"]

_SQUEEZE = {"fire2": 16, "fire3": 16, "fire4": 32, "fire5": 32, "fire6": 48, "fire7": 48}
_EXPAND = {"fire2": 64, "fire3": 64, "fire4": 128, "fire5": 128, "fire6": 192, "fire7": 192}
_TAPS = ("conv1", "fire3", "fire5", "fire6", "fire7")


class SqueezeNetFeatures(nn.Module):
    """Images → unit-length features after conv1, fire3, fire5, fire6, fire7 (Iandola et al. 2016, v1.1, Caffe's).

    Args:
        path: safetensors file with keys ``conv1.weight``, ``fire2.squeeze1x1.weight``, … (channels in B, G, R order).

    Shapes: (B, 3, H, W) RGB in [0, 1] → five tensors (B, C, h, w), of length 1 over C.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        state = load_file(path)
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1)
        channels = 64
        for name, squeeze in _SQUEEZE.items():
            expand = _EXPAND[name]
            self.add_module(f"{name}_squeeze1x1", nn.Conv2d(channels, squeeze, 1))
            self.add_module(f"{name}_expand1x1", nn.Conv2d(squeeze, expand, 1))
            self.add_module(f"{name}_expand3x3", nn.Conv2d(squeeze, expand, 3, padding=1))
            channels = 2 * expand
        wanted = self.state_dict().keys()
        renamed = {k.replace(".", "_", 1) if k.startswith("fire") else k: v for k, v in state.items()}
        self.load_state_dict({k: renamed[k] for k in wanted})
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor([104.006, 116.669, 122.679])[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        out = F.relu(self.conv1(255 * x.flip(1) - self.mean))
        taps = [out]
        for name in _SQUEEZE:
            if name in ("fire2", "fire4", "fire6"):
                out = F.max_pool2d(out, 3, 2, ceil_mode=True)
            squeezed = F.relu(self.get_submodule(f"{name}_squeeze1x1")(out))
            expand = [self.get_submodule(f"{name}_expand{n}")(squeezed) for n in ("1x1", "3x3")]
            out = F.relu(torch.cat(expand, 1))
            if name in _TAPS:
                taps.append(out)
        return [f * torch.rsqrt(f.square().sum(1, keepdim=True) + 1e-8) for f in taps]
