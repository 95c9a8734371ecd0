"""Frozen feature networks: torchvision's and timm's by name, with their weights or from a local safetensors file.

Nothing in them is ever trained.
"""

import re
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from vspsr.errors import ModelError, VSpSRError, did_you_mean
from vspsr.files import one_line
from vspsr.state_dicts import load, read_state

__all__ = ["TimmFeatures", "TorchvisionFeatures", "feature_network"]

_TORCHVISION_TAPS = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    "vgg19": ("conv5_4",),
    "alexnet": ("1", "4", "7", "9", "11"),
    "squeezenet1_1": ("1", "4", "7", "9", "10", "11", "12"),
}
_SQUEEZENET = {"conv1": 1, **{f"fire{n}": i for n, i in zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True)}}
"""Layers of SqueezeNet v1.1 as its authors name them → indices into torchvision's `features`, after the ReLU."""
_CAFFE_MEAN = (122.679, 116.669, 104.006)  # of R, G, B in 0 … 255, which the authors' model subtracts
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
            squeezenet1_1, those of the original Caffe model; "random" for tests of speed.
        layers: what to return, in order; by default vgg19 conv5_4, of other torchvision networks the layers that LPIPS
            uses, of tf_efficientnet_lite0 four of those with the most channels. For timm's others they must be given.

    Raises:
        ModelError: an unknown network or layer, weights that cannot be had.
    """
    if weights is not None and weights != "random":
        source: dict[str, Tensor] | str | None = read_state(weights)
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


class TorchvisionFeatures(_Frozen):
    """Layers of a torchvision network's `features`, its input normalised as it was trained on (ImageNet).

    Args:
        network: its name in torchvision.
        weights: None for torchvision's default weights, a state dict with torchvision's keys, or "random". For
            squeezenet1_1 also the authors' Caffe model (Iandola et al. 2016): keys ``conv1.weight``,
            ``fire2.squeeze1x1.weight``, …, input channels in the order B, G, R.
        layers: indices into `features` ("12"), for VGG "conv5_4", "relu3_3" and the like, for SqueezeNet "conv1",
            "fire2" to "fire9".

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
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        if isinstance(weights, dict):
            if network == "squeezenet1_1" and "conv1.weight" in weights:
                weights = _torchvision_keys(weights)
                first = self.features[0]
                assert isinstance(first, nn.Conv2d)
                first.padding = (1, 1)
                mean, std = [m / 255 for m in _CAFFE_MEAN], [1 / 255] * 3
            _fill(self, weights, network)
        self._freeze(mean, std)

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
    """Names of layers → indices: the index itself, and what SqueezeNet's and VGG's authors call them."""
    names = {str(i): i for i in range(len(features))}
    if network == "squeezenet1_1":
        names |= _SQUEEZENET
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


def _torchvision_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the authors' Caffe model of SqueezeNet with torchvision's keys and channels in R, G, B."""
    found = {}
    for key, value in state.items():
        layer, _, rest = key.partition(".")
        if layer == "conv1":
            found[f"features.0.{rest}"] = value.flip(1) if value.ndim == 4 else value
        elif layer in _SQUEEZENET:
            found[f"features.{_SQUEEZENET[layer]}.{rest.replace('squeeze1x1', 'squeeze')}"] = value
    return found


def _fill(module: nn.Module, state: dict[str, Tensor], name: str) -> None:
    places = module.state_dict()
    load(module, {k: v for k, v in state.items() if k in places}, "`weights`", f"not those of {name}:")
