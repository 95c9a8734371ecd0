"""Frozen feature networks: torchvision's and timm's by name, with their weights or from a local safetensors file."""

from collections.abc import Sequence
from typing import Self

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn
from torchvision.models import get_model  # type: ignore[import-untyped]

from vspsr.errors import ModelError, did_you_mean
from vspsr.files import one_line
from vspsr.state_dicts import load, read_state

_TAPS = {
    "vgg16": [f"features.{i}" for i in (3, 8, 15, 22, 29)],
    "vgg19": ["features.34"],
    "alexnet": [f"features.{i}" for i in (1, 4, 7, 9, 11)],
    "squeezenet1_1": [f"features.{i}" for i in (1, 4, 7, 9, 10, 11, 12)],
    # widened features at an eighth (one) and a sixteenth (three) of the size
    "timm/tf_efficientnet_lite0": ["blocks.2.1.bn1", "blocks.3.1.bn1", "blocks.4.0.bn1", "blocks.5.0.bn1"],
}
_FIRE = {f"fire{n}": i for n, i in zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True)}
"""Modules of SqueezeNet v1.1 as its authors name them → indices into torchvision's `features`."""
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE = (122.679 / 255, 116.669 / 255, 104.006 / 255), (1 / 255, 1 / 255, 1 / 255)


class FeatureNetwork(nn.Module):
    """Layers of a frozen network, its input normalised as it was trained on.

    Args:
        network: a torchvision network (vgg19, squeezenet1_1, …), or "timm/" and the name of one of timm's
            (timm/tf_efficientnet_lite0).
        weights: None for the library's own (downloaded once), "random", or a safetensors file with the library's keys.
            For squeezenet1_1 also the authors' Caffe model (Iandola et al. 2016): keys ``conv1.weight``,
            ``fire2.squeeze1x1.weight``, …, input channels in the order B, G, R.
        layers: what to return, in order: names of modules ("features.12"; in timm an activation is often part of the
            normalisation before it). By default vgg19's last convolution, of vgg16, alexnet and squeezenet1_1 the
            layers that LPIPS uses, of tf_efficientnet_lite0 four of those with the most channels.
        layer_weights: how much each counts in a loss; by default all the same.

    Shapes: (B, 3, H, W) RGB in [0, 1] → [(B, C, h, w), …].

    Raises:
        ModelError: an unknown network or layer, weights that cannot be had, or of another number than layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: str,
        weights: str | None = None,
        layers: Sequence[str] | None = None,
        layer_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        state = None if weights in (None, "random") else read_state(str(weights))
        try:
            whole, normalisation = _network(network, weights is None)
        except (OSError, RuntimeError) as error:
            why = f"{network}: its weights cannot be downloaded ({one_line(error)[:120]})"
            raise ModelError(f"{why}: give a safetensors file (`--set features.NAME.weights=FILE`)") from error
        names = sorted(name for name, _ in whole.named_modules() if name)
        layers = layers or _TAPS.get(network)
        if not layers:
            raise ModelError(f"`layers`: name the layers of {network} to compare, for example {min(names)!r}")
        if unknown := set(layers) - set(names):
            raise ModelError(f"`layers`: {network} has no {(wrong := min(unknown))!r}: {did_you_mean(wrong, names)}")
        if network == "squeezenet1_1" and state is not None and "conv1.weight" in state:
            state, normalisation = _torchvision_keys(state), _CAFFE
            whole.get_submodule("features.0").padding = (1, 1)  # type: ignore[assignment]
        for module in whole.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # it would overwrite the convolution's output, which may be asked for
        self.layers, self.layer_weights = tuple(layers), tuple(layer_weights or [1.0] * len(layers))
        if len(self.layer_weights) != len(layers):
            raise ModelError(f"`layer_weights`: {len(self.layer_weights)} of them for {len(layers)} layers")
        self.features = timm.models.create_feature_extractor(whole.eval(), dict(zip(layers, layers, strict=True)))
        if state is not None:
            places = self.features.state_dict()
            used = {k: v for k, v in state.items() if k in places}
            load(self.features, used, "`weights`", f"not those of {network}:")
        for name, value in zip(("mean", "std"), normalisation, strict=True):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = self.features((x - self.mean) / self.std)
        return [found[layer] for layer in self.layers]


def _network(network: str, pretrained: bool) -> tuple[nn.Module, tuple[Sequence[float], Sequence[float]]]:
    """A network by name; mean and standard deviation of its input's channels. ModelError for an unknown name."""
    name = network.removeprefix("timm/")
    if name == network:
        try:
            return get_model(name, weights="DEFAULT" if pretrained else None), _IMAGENET
        except ValueError as error:
            raise ModelError(f"`network` {name!r}: no network of torchvision's by this name") from error
    if not timm.is_model(name):
        raise ModelError(f"`network` {name!r}: no network of timm's by this name")
    whole = timm.create_model(name, pretrained=pretrained)
    trained_on = resolve_model_data_config(whole)
    return whole, (trained_on["mean"], trained_on["std"])


def _torchvision_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the authors' Caffe model of SqueezeNet with torchvision's keys and channels in R, G, B."""
    found = {}
    for key, value in state.items():
        layer, _, rest = key.partition(".")
        if layer == "conv1":
            found[f"features.0.{rest}"] = value.flip(1) if value.ndim == 4 else value
        elif layer in _FIRE:
            found[f"features.{_FIRE[layer]}.{rest.replace('squeeze1x1', 'squeeze')}"] = value
    return found
