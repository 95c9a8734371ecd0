"""Any SR network that spandrel reads, ESRGAN and RCAN among them, as one module from [0, 1] to [0, 1].

spandrel recognises an architecture by its keys and infers its size from the tensors. Files are read by
`vspsr.state_dicts.read_state`, so that spandrel's own unpickler is never reached.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.files import one_line
from vspsr.state_dicts import check_finite, check_keys, read_state

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K's training images, which EDSR and RCAN subtract (RGB in [0, 1])."""

State = Mapping[str, Tensor]


class PretrainedSR(nn.Module):
    """A network that spandrel loaded, always in evaluation mode, frozen or not.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`.
        trainable: whether its weights take part in training.

    Attributes:
        architecture: spandrel's name of it.
        scale: s.

    Shapes: (B, 3, h, w) in [0, 1] → (B, 3, s·h, s·w), in [0, 1] unless gradients are wanted.
    """

    def __init__(self, descriptor: Any, trainable: bool = False) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.module: nn.Module = descriptor.model  # registered, so that it follows .to(device)
        self.architecture, self.scale = str(descriptor.architecture.name), int(descriptor.scale)
        self.trainable = trainable
        self.module.requires_grad_(trainable)
        self.module.eval()

    def train(self, mode: bool = True) -> "PretrainedSR":
        """Stays in evaluation mode: no batch statistics are learned anew."""
        return super().train(False)

    def forward(self, y: Tensor) -> Tensor:
        # A copy goes in, because some networks scale their input in place.
        if self.trainable and torch.is_grad_enabled():
            h, w = y.shape[-2:]
            right, below = self.descriptor.size_requirements.get_padding(w, h)
            padded = F.pad(y, (0, right, 0, below), mode="replicate") if right or below else y.clone()
            return self.module(padded)[..., : self.scale * h, : self.scale * w]  # type: ignore[no-any-return]
        out: Tensor = self.descriptor(y.clone())  # pads to the sizes that the network needs
        return out.clone()  # tensors made in inference mode, as spandrel does, cannot take part in training

    def check_trainable(self) -> None:
        """ModelError if the bare network is not what spandrel evaluates, so that it cannot be fine-tuned."""
        y = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        with torch.no_grad():
            bare = self.module(y.clone())
        if not isinstance(bare, Tensor) or not torch.allclose(bare.clamp(0, 1), self.descriptor(y.clone()), atol=1e-4):
            raise ModelError(f"`deterministic.trainable`: {self.architecture} can only be used frozen")


def load_pretrained(path: Path, scale: int, trainable: bool = False) -> PretrainedSR:
    """The SR network of a checkpoint, to be a part of a model: see `read_state` for the kinds of files.

    Raises:
        ModelError: as `read_state` and `pretrained_from_state`; a network of another scale; one that cannot be
            trained, or that would not be recognised again once it is saved with a model.
    """
    network = pretrained_from_state(read_state(path), str(path), trainable)
    if network.scale != scale:
        raise ModelError(f"{path}: upscales by {network.scale}, the model by {scale}")
    if trainable:
        network.check_trainable()
    pretrained_from_state(network.module.state_dict(), f"{path}, saved anew,")
    return network


def pretrained_part(state: State, name: str) -> PretrainedSR:
    """`pretrained_from_state` of the deterministic part of a model, from the model's state."""
    prefix = "network.deterministic.module."
    return pretrained_from_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, name)


def pretrained_from_state(state: State, name: str, trainable: bool = False) -> PretrainedSR:
    """The network of a state dict, recognised by its keys and shapes, in single precision.

    Args:
        state: as `read_state` gives it; RCAN also with BasicSR's keys.
        name: of the checkpoint, for messages.
        trainable: as in `PretrainedSR`.

    Raises:
        ModelError: spandrel is not installed or does not know the keys, they are incomplete or unknown, values are
            not finite, or the network does not map RGB images to RGB images.
    """
    try:
        import spandrel  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ModelError(f"{name}: reading it needs spandrel: pip install spandrel") from error
    check_finite(state, name)
    if "body.0.residual_group.0.rcab.0.weight" in state:
        state = _rcan_from_basicsr(state, name)
    for names in _NEW_ESRGAN:
        _check_new_esrgan(state, names, name)
    try:
        descriptor = spandrel.MAIN_REGISTRY.load(dict(state))
    except spandrel.UnsupportedModelError as error:
        keys = ", ".join(sorted(state)[:3])
        raise ModelError(f"{name}: not a checkpoint of an SR network that is known (its keys: {keys}, …)") from error
    except Exception as error:  # incomplete keys make spandrel raise whatever comes of it
        raise ModelError(f"{name}: cannot be loaded: {_reason(error)}") from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise ModelError(f"{name}: {descriptor.architecture.name} needs a mask beside the image: no SR network")
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise ModelError(
            f"{name}: maps {descriptor.input_channels} channels to {descriptor.output_channels}: not an RGB network"
        )
    if descriptor.architecture.id == "RCAN":
        mean = getattr(descriptor.model.sub_mean, "bias", None)
        if mean is not None and float(mean.detach().abs().max()) <= 1:
            descriptor.model.rgb_range = 1  # spandrel takes 255 for granted
    return PretrainedSR(descriptor.float().eval(), trainable)


def _reason(error: Exception) -> str:
    """What load_state_dict complains of, without its heading."""
    text = one_line(error)
    found = re.search(r"(Missing|Unexpected) key\(s\).*|size mismatch.*", text)
    return (found.group() if found else f"its keys are incomplete ({type(error).__name__} {text})")[:150]


_NEW_ESRGAN = (
    ("RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv"),
    ("body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr"),
)
"""Layers in the newer layouts of ESRGAN: xinntao/ESRGAN's second and KAIR's; BasicSR's and OpenMMLab's."""


def _check_new_esrgan(state: State, names: tuple[str, str, str, str], name: str) -> None:
    """spandrel renames these keys, drops those it does not know and names those missing as the oldest layout did."""
    dense, trunk_end, up, hr = names
    if f"{dense.format(0, 1, 1)}.weight" not in state:
        return
    depth = _length(state, dense.format("#", 1, 1))
    layers = [dense.format(n, d, c) for n in range(depth) for d in (1, 2, 3) for c in range(1, 6)]
    layers += [up.format(k) for k in range(1, _length(state, up.format("#")))]
    layers += ["conv_first", trunk_end, hr, "conv_last"]
    check_keys(state, _weights_and_biases(layers), f"{name}: looks like an ESRGAN, but")


def _length(state: State, layer: str) -> int:
    """1 + the largest number that stands for ``#`` in a layer's name."""
    pattern = re.escape(layer).replace(r"\#", r"(\d+)") + r"\.(?:weight|bias)"
    return max((1 + int(m.group(1)) for key in state if (m := re.fullmatch(pattern, key))), default=0)


def _weights_and_biases(layers: Iterable[str]) -> dict[str, Tensor | None]:
    return {f"{layer}.{parameter}": None for layer in layers for parameter in ("weight", "bias")}


def _rcan_from_basicsr(state: State, name: str) -> dict[str, Tensor]:
    """RCAN with BasicSR's keys, with those of its authors; the mean colour, which BasicSR does not store, added."""
    groups = _length(state, "body.#.residual_group.0.rcab.0")
    blocks = _length(state, "body.0.residual_group.#.rcab.0")
    layers = {"conv_first": "head.0", "conv_after_body": f"body.{groups}", "conv_last": "tail.1"}
    layers |= {f"upsample.{k}": f"tail.0.{k}" for k in range(0, _length(state, "upsample.#"), 2)}
    layers |= {f"body.{g}.conv": f"body.{g}.body.{blocks}" for g in range(groups)}
    in_block = {"0": "0", "2": "2", "3.attention.1": "3.conv_du.0", "3.attention.3": "3.conv_du.2"}
    layers |= {
        f"body.{g}.residual_group.{b}.rcab.{theirs}": f"body.{g}.body.{b}.body.{authors}"
        for g in range(groups)
        for b in range(blocks)
        for theirs, authors in in_block.items()
    }
    check_keys(state, _weights_and_biases(layers), f"{name}: looks like BasicSR's RCAN, but")
    out = {f"{layers[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": tensor for k, tensor in state.items()}
    for layer, sign in (("sub_mean", -1), ("add_mean", 1)):
        out[f"{layer}.weight"] = torch.eye(3, dtype=torch.float32)[:, :, None, None]
        out[f"{layer}.bias"] = sign * 255.0 * torch.tensor(DIV2K_MEAN, dtype=torch.float32)
    return out
