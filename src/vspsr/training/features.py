"""Frozen feature networks: torchvision's and timm's by name, with their weights or from a local safetensors file.

Nothing in them is ever trained.
"""

import re
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.errors import ModelError, VSpSRError, did_you_mean
from vspsr.files import one_line
from vspsr.state_dicts import load, read_state

__all__ = ["SqueezeNetFeatures", "TimmFeatures", "TorchvisionFeatures", "feature_network"]

_SQUEEZE = {"fire2": 16, "fire3": 16, "fire4": 32, "fire5": 32, "fire6": 48, "fire7": 48, "fire8": 64, "fire9": 64}
_EXPAND = {
    "fire2": 64,
    "fire3": 64,
    "fire4": 128,
    "fire5": 128,
    "fire6": 192,
    "fire7": 192,
    "fire8": 256,
    "fire9": 256,
}
_TAPS = ("conv1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9")
_TORCHVISION_TAPS = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    "vgg19": ("conv5_4",),
    "alexnet": ("1", "4", "7", "9", "11"),
    "squeezenet1_1": ("1", "4", "7", "9", "10", "11", "12"),
}
_TIMM = "timm/"
_TIMM_TAPS = {  # widened features at an eighth (one) and a sixteenth (three) of the size
    "tf_efficientnet_lite0": ("blocks.2.1.bn1", "blocks.3.1.bn1", "blocks.4.0.bn1", "blocks.5.0.bn1"),
}


def feature_network(network: str, weights: str | None = None, layers: Sequence[str] | None = None) -> nn.Module:
    """A frozen network from images (B, 3, H, W) in [0, 1] to a list of features (B, C, h, w), one per layer.

    Args:
        network: a torchvision network with `features` (vgg19, vgg16, alexnet, squeezenet1_1, …), or "timm/" and the
            name of one of timm's (timm/tf_efficientnet_lite0).
        weights: None for the library's own (downloaded once), or a safetensors file: with the library's keys, or, for
            squeezenet1_1, with the keys of the original Caffe model; "random" for tests of speed.
        layers: what to return, in order; by default vgg19 conv5_4, of other torchvision networks the layers that LPIPS
            uses, of tf_efficientnet_lite0 four of those with the most channels. Of timm's others they must be given.

    Raises:
        ModelError: an unknown network or layer, weights that cannot be had.
    """
    if weights is not None and weights != "random":
        state = read_state(weights)
        if network == "squeezenet1_1" and "conv1.weight" in state:
            return SqueezeNetFeatures(state, layers or _TAPS)
        source: dict[str, Tensor] | str | None = state
    else:
        source = weights
    if network.startswith(_TIMM):
        return TimmFeatures(network.removeprefix(_TIMM), source, layers)
    return TorchvisionFeatures(network, source, layers)


def _library(name: str) -> Any:
    """A library that only the extra `train` brings."""
    try:
        return import_module(name)
    except ImportError as error:
        raise VSpSRError(f"feature networks need the extra `train` (pip install 'vspsr[train]'): {error}") from error


def _not_downloaded(network: str, library: str, error: Exception) -> ModelError:
    why = f"{library}'s weights cannot be downloaded ({one_line(error)[:120]})"
    return ModelError(f"{network}: {why}: give a safetensors file as `weights`")


class _Frozen(nn.Module):
    """In evaluation mode and untrained for good; with what its input is normalised by."""

    mean: Tensor
    std: Tensor

    def _freeze(self, mean: Sequence[float], std: Sequence[float]) -> None:
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode."""
        return super().train(False)


class SqueezeNetFeatures(_Frozen):
    """SqueezeNet v1.1 as published (Iandola et al. 2016, the Caffe model): features after conv1, fire2, … fire9.

    Args:
        state: a safetensors file or its tensors, with keys ``conv1.weight``, ``fire2.squeeze1x1.weight``, …
            (channels in B, G, R order).
        layers: what to return.

    Shapes: (B, 3, H, W) RGB in [0, 1] → [(B, C, h, w), …].

    Raises:
        ModelError: an unknown layer, weights of another network.
    """

    def __init__(self, state: str | Path | dict[str, Tensor], layers: Sequence[str] = _TAPS) -> None:
        super().__init__()
        state = state if isinstance(state, dict) else read_state(state)
        names = ["conv1", *_SQUEEZE]
        if unknown := set(layers) - set(names):
            raise ModelError(f"`layers`: squeezenet1_1 has no {min(unknown)!r}, only {', '.join(names)}")
        self.layers = tuple(layers)
        self.names = names[1 : max(names.index(layer) for layer in layers) + 1]
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1)
        channels = 64
        for name in self.names:
            squeeze, expand = _SQUEEZE[name], _EXPAND[name]
            self.add_module(f"{name}_squeeze1x1", nn.Conv2d(channels, squeeze, 1))
            self.add_module(f"{name}_expand1x1", nn.Conv2d(squeeze, expand, 1))
            self.add_module(f"{name}_expand3x3", nn.Conv2d(squeeze, expand, 3, padding=1))
            channels = 2 * expand
        renamed = {k.replace(".", "_", 1) if k.startswith("fire") else k: v for k, v in state.items()}
        _fill(self, renamed, "squeezenet1_1")
        self._freeze([104.006, 116.669, 122.679], [1.0, 1.0, 1.0])  # of B, G, R, 0 to 255

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        out = F.relu(self.conv1(255 * x.flip(1) - self.mean))
        found = {"conv1": out}
        for name in self.names:
            if name in ("fire2", "fire4", "fire6"):
                out = F.max_pool2d(out, 3, 2, ceil_mode=True)
            squeezed = F.relu(self.get_submodule(f"{name}_squeeze1x1")(out))
            expand = [self.get_submodule(f"{name}_expand{n}")(squeezed) for n in ("1x1", "3x3")]
            found[name] = out = F.relu(torch.cat(expand, 1))
        return [found[layer] for layer in self.layers]


class TorchvisionFeatures(_Frozen):
    """Layers of a torchvision network's `features`, its input normalised as it was trained on (ImageNet).

    Args:
        network: its name in torchvision.
        weights: None for torchvision's default weights, a state dict with torchvision's keys, or "random".
        layers: indices into `features` ("12"), or for VGG "conv5_4", "relu3_3" and the like.

    Shapes: (B, 3, H, W) RGB in [0, 1] → [(B, C, h, w), …].

    Raises:
        ModelError: an unknown network or layer, weights that cannot be had.
    """

    def __init__(
        self,
        network: str,
        weights: dict[str, Tensor] | str | None = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        models = _library("torchvision.models")
        try:
            whole = models.get_model(network, weights=None if weights is not None else "DEFAULT")
            features = whole.features
        except (ValueError, AttributeError) as error:
            raise ModelError(f"`network` {network!r}: no torchvision network with `features` by this name") from error
        except (OSError, RuntimeError) as error:
            raise _not_downloaded(network, "torchvision", error) from error
        names = _torchvision_layers(network, features)
        layers = layers or _TORCHVISION_TAPS.get(network, (str(len(features) - 1),))
        if unknown := set(layers) - set(names):
            raise ModelError(f"`layers`: {network} has no {min(unknown)!r}, only {', '.join(names)}")
        self.taps = [names[layer] for layer in layers]
        self.features = nn.Sequential(*list(features)[: max(self.taps) + 1])
        for module in self.features.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # it would overwrite the convolution's output, which may be asked for
        if isinstance(weights, dict):
            _fill(self, weights, network)
        self._freeze([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        out = (x - self.mean) / self.std
        found = {}
        for index, layer in enumerate(self.features):
            out = layer(out)
            if index in self.taps:
                found[index] = out
        return [found[tap] for tap in self.taps]


class TimmFeatures(_Frozen):
    """Layers of a network of timm's, its input normalised as it was trained on.

    Args:
        network: its name in timm.
        weights: None for timm's default weights, a state dict with timm's keys, or "random".
        layers: names of modules ("blocks.2.1.bn1"; in timm an activation is often part of the normalisation before it).

    Shapes: (B, 3, H, W) RGB in [0, 1] → [(B, C, h, w), …].

    Raises:
        ModelError: an unknown network or layer, weights that cannot be had.
    """

    def __init__(
        self,
        network: str,
        weights: dict[str, Tensor] | str | None = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        timm = _library("timm")
        if not timm.is_model(network):
            raise ModelError(f"`network` {network!r}: no network of timm's by this name")
        try:
            whole = timm.create_model(network, pretrained=weights is None)
        except (OSError, RuntimeError) as error:
            raise _not_downloaded(network, "timm", error) from error
        if isinstance(weights, dict):
            _fill(whole, weights, network)
        names = {name for name, module in whole.named_modules() if name and not isinstance(module, nn.Sequential)}
        layers = layers or _TIMM_TAPS.get(network)
        if not layers:
            raise ModelError(f"`layers`: which of {network}'s are to be looked at? For example {min(names)!r}")
        if unknown := set(layers) - names:
            wrong = min(unknown)
            raise ModelError(f"`layers`: {network} has no {wrong!r}: {did_you_mean(wrong, sorted(names))}")
        self.features = timm.models.create_feature_extractor(whole.eval(), dict(zip(layers, layers, strict=True)))
        self.layers = tuple(layers)
        trained_on = timm.data.resolve_model_data_config(whole)
        self._freeze(trained_on["mean"], trained_on["std"])

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        found = self.features((x - self.mean) / self.std)
        return [found[layer] for layer in self.layers]


def _torchvision_layers(network: str, features: nn.Sequential) -> dict[str, int]:
    """Names of layers → indices: the index itself, and for VGG (without batch normalisation) block and number."""
    names = {str(i): i for i in range(len(features))}
    if re.fullmatch(r"vgg\d+", network):
        block, number = 1, 0
        for index, (layer, following) in enumerate(pairwise([*features, None])):
            if isinstance(layer, nn.Conv2d):
                number += 1
                names[f"conv{block}_{number}"] = index
                names[f"relu{block}_{number}"] = index + isinstance(following, nn.ReLU)
            elif isinstance(layer, nn.MaxPool2d):
                block, number = block + 1, 0
    return names


def _fill(module: nn.Module, state: dict[str, Tensor], name: str) -> None:
    places = module.state_dict()
    load(module, {k: v for k, v in state.items() if k in places}, "`weights`", f"not those of {name}:")
