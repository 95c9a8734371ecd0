"""Everything that spandrel reads, ESRGAN and RCAN among it, as networks from [0, 1] to [0, 1].

spandrel recognises an architecture by its keys and infers its size. Reading files is left to `checkpoint.read_state`,
so that spandrel's own unpickler is never reached.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.evaluation.baselines.networks import DIV2K_MEAN
from vspsr.files import one_line

__all__ = ["SpandrelNetwork", "from_state"]

State = Mapping[str, Tensor]

_NEW_ESRGAN = re.compile(
    r"(conv_first|conv_last|trunk_conv|conv_body|HRconv|conv_hr|upconv\d|conv_up\d"
    r"|RRDB_trunk\.\d+\.RDB[123]\.conv[1-5]|body\.\d+\.rdb[123]\.conv[1-5])\.(weight|bias)"
)
"""Keys of the newer layouts of ESRGAN (xinntao/ESRGAN; BasicSR and OpenMMLab): spandrel drops others in silence."""


class SpandrelNetwork(nn.Module):
    """A network that spandrel loaded. Shapes: (B, 3, h, w) in [0, 1] → (B, 3, s·h, s·w) in [0, 1]; no gradients.

    Attributes:
        architecture: spandrel's name of it.
        scale: s.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.architecture: str = descriptor.architecture.name
        self.scale: int = descriptor.scale
        self.network: nn.Module = descriptor.model  # registered, so that it follows .to(device)
        self._descriptor = descriptor

    def forward(self, y: Tensor) -> Tensor:
        """See the class."""
        # A copy goes in, because some networks scale their input in place; a copy comes out, because tensors made in
        # inference mode are of little use outside of it. The descriptor pads to the sizes that the network needs.
        out: Tensor = self._descriptor(y.clone())
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
        raise ModelError(f"{name}: reading it needs spandrel: install `vspsr[eval]`") from error
    basicsr_rcan = "body.0.residual_group.0.rcab.0.weight" in state
    if basicsr_rcan:
        state = _rcan_from_basicsr(state, name)
    _refuse_unknown_keys_of_esrgan(state, name)
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


def _refuse_unknown_keys_of_esrgan(state: State, name: str) -> None:
    new = {"RRDB_trunk.0.RDB1.conv1.weight", "body.0.rdb1.conv1.weight"}
    unknown = [k for k in state if not _NEW_ESRGAN.fullmatch(k)]
    if "conv_first.weight" in state and new & set(state) and unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise ModelError(f"{name}: looks like an ESRGAN, but {unknown[0]} is not known{more}")


def _set_rcan_range(network: Any) -> None:
    """spandrel takes 255 for granted; the mean that is subtracted tells 255 from 1."""
    mean: Any = getattr(network.sub_mean, "bias", None)
    if mean is not None and float(mean.detach().abs().max()) <= 1:
        network.rgb_range = 1


def _rcan_from_basicsr(state: State, name: str) -> dict[str, Tensor]:
    """RCAN with BasicSR's keys, with those of its authors; the mean colour, which BasicSR does not store, added."""
    groups = 1 + max(int(k.split(".")[1]) for k in state if re.match(r"body\.\d+\.", k))
    blocks = 1 + max(int(m.group(1)) for k in state if (m := re.match(r"body\.\d+\.residual_group\.(\d+)\.", k)))
    renames = (
        (r"conv_first", "head.0"),
        (r"conv_after_body", f"body.{groups}"),
        (r"upsample\.(\d+)", r"tail.0.\1"),
        (r"conv_last", "tail.1"),
        (r"body\.(\d+)\.conv", rf"body.\1.body.{blocks}"),
        (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.([02])", r"body.\1.body.\2.body.\3"),
        (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.1", r"body.\1.body.\2.body.3.conv_du.0"),
        (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.3", r"body.\1.body.\2.body.3.conv_du.2"),
    )
    out = {}
    for key, tensor in state.items():
        layer, _, parameter = key.rpartition(".")
        match = next(((p, r) for p, r in renames if re.fullmatch(p, layer)), None)
        if match is None:
            raise ModelError(f"{name}: looks like BasicSR's RCAN, but {key} is not known")
        out[f"{re.sub(*match, layer)}.{parameter}"] = tensor
    for layer, sign in (("sub_mean", -1), ("add_mean", 1)):
        out[f"{layer}.weight"] = torch.eye(3)[:, :, None, None]
        out[f"{layer}.bias"] = sign * 255.0 * torch.tensor(DIV2K_MEAN)
    return out
