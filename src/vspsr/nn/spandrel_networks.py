"""Everything that spandrel reads, ESRGAN and RCAN among it, as networks from [0, 1] to [0, 1].

spandrel recognises an architecture by its keys and infers its size. Reading files is left to `checkpoint.read_state`,
so that spandrel's own unpickler is never reached.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.files import one_line
from vspsr.state_dicts import require

__all__ = ["DIV2K_MEAN", "SpandrelNetwork", "from_state"]

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K's training images, which EDSR and RCAN subtract (RGB in [0, 1])."""

State = Mapping[str, Tensor]


class SpandrelNetwork(nn.Module):
    """A network that spandrel loaded. Shapes: (B, 3, h, w) in [0, 1] → (B, 3, s·h, s·w) in [0, 1]; no gradients.

    Attributes:
        architecture: spandrel's name of it.
        scale: s.
        descriptor: spandrel's `ImageModelDescriptor`.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.architecture: str = descriptor.architecture.name
        self.scale: int = descriptor.scale
        self.network: nn.Module = descriptor.model  # registered, so that it follows .to(device)
        self.descriptor = descriptor

    def forward(self, y: Tensor) -> Tensor:
        """See the class."""
        # A copy goes in, because some networks scale their input in place; a copy comes out, because tensors made in
        # inference mode are of little use outside of it. The descriptor pads to the sizes that the network needs.
        out: Tensor = self.descriptor(y.clone())
        return out.clone()


def from_state(state: State, name: str) -> SpandrelNetwork:
    """The network of a state dict.

    Args:
        state: as `checkpoint.read_state` gives it; RCAN also with BasicSR's keys.
        name: of the checkpoint, for messages.

    Raises:
        ModelError: spandrel is not installed or does not know the keys, they are incomplete or unknown, or the
            network does not map RGB images to RGB images.
    """
    try:
        import spandrel  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ModelError(f"{name}: reading it needs spandrel: pip install spandrel") from error
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
        _set_rcan_range(descriptor.model)
    return SpandrelNetwork(descriptor.float().eval())


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
    require(state, _weights_and_biases(layers), name, "an ESRGAN")


def _length(state: State, layer: str) -> int:
    """1 + the largest number that stands for ``#`` in a layer's name."""
    pattern = re.escape(layer).replace(r"\#", r"(\d+)") + r"\.(?:weight|bias)"
    return max((1 + int(m.group(1)) for key in state if (m := re.fullmatch(pattern, key))), default=0)


def _weights_and_biases(layers: Iterable[str]) -> dict[str, torch.Size | None]:
    return {f"{layer}.{parameter}": None for layer in layers for parameter in ("weight", "bias")}


def _set_rcan_range(network: Any) -> None:
    """spandrel takes 255 for granted; the mean that is subtracted tells 255 from 1."""
    mean: Any = getattr(network.sub_mean, "bias", None)
    if mean is not None and float(mean.detach().abs().max()) <= 1:
        network.rgb_range = 1


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
    require(state, _weights_and_biases(layers), name, "BasicSR's RCAN")
    out = {f"{layers[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": tensor for k, tensor in state.items()}
    for layer, sign in (("sub_mean", -1), ("add_mean", 1)):
        out[f"{layer}.weight"] = torch.eye(3)[:, :, None, None]
        out[f"{layer}.bias"] = sign * 255.0 * torch.tensor(DIV2K_MEAN)
    return out
