"""Which keys the published checkpoints have, and which parameters of our networks they are.

A layout says how a release names the layers of a network. Depth, width and scale are read off the keys and shapes. Keys
must be exactly the release's: one that is missing, unknown or of another shape is an error that names it as the
checkpoint does.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vspsr.baselines.networks import EDSR, MSRResNet, SRResNet
from vspsr.errors import ModelError
from vspsr.state_dicts import check_finite, check_keys

State = Mapping[str, Tensor]

_BLOCK, _UPSAMPLING = "blocks.{n}.first", "upsample.{k}"  # layers that tell depth and scale, and the layout


@dataclass(frozen=True)
class Layout:
    """How one release names its keys.

    Attributes:
        release: whose.
        baseline: "edsr" or "srgan".
        names: layer of our network → layer in the checkpoint, all of them: see `layer_names`.
        make: (state, width, depth, factors) → the network.
        implied: layers of our network that the release computes with but does not store.
    """

    release: str
    baseline: str
    names: Mapping[str, str]
    make: Callable[[State, int, int, list[int]], nn.Module]
    implied: tuple[str, ...] = ()


def layout_of(state: State) -> Layout | None:
    """The layout that a state dict looks like: it has a head, a residual block and an upsampling of these names."""
    found = (x for x in LAYOUTS if all(_count(x.names[layer], state) for layer in ("head", _BLOCK, _UPSAMPLING)))
    return next(found, None)


def build(state: State, layout: Layout, name: str) -> nn.Module:
    """The network of a checkpoint, in evaluation mode, single precision; ``name``: of the checkpoint, for messages.

    Raises:
        ModelError: keys are missing or unknown, shapes do not fit together, values are not finite.
    """
    depth, stages = (_count(layout.names[layer], state) for layer in (_BLOCK, _UPSAMPLING))
    pairs = layer_names(layout.names, depth, stages)
    width = _layer(state, pairs["head"]).shape[0]
    factors = [_factor(_layer(state, pairs[f"upsample.{k}"]), pairs[f"upsample.{k}"], name) for k in range(stages)]
    with torch.device("meta"):  # before memory is allocated for sizes that the file asks for
        whole = layout.make(state, width, depth, factors).state_dict()
    wanted = {k: v for k, v in whole.items() if not k.startswith(layout.implied)}
    published = {k: f"{pairs[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}" for k in wanted}
    # Counters of training steps came to batch normalisation with PyTorch 0.4.1: older files lack them.
    wanted = {k: v for k, v in wanted.items() if published[k] in state or not k.endswith(".num_batches_tracked")}
    check_keys(state, {published[k]: v for k, v in wanted.items()}, f"{name}: looks like {layout.release}, but")
    check_finite(state, name)
    network = layout.make(state, width, depth, factors).float()
    network.load_state_dict({**network.state_dict(), **{k: state[published[k]] for k in wanted}})
    return network.eval()


def _layer(state: State, layer: str) -> Tensor:
    """The weight of a layer; a small one if it is missing or no matrix, which `build` then reports by name."""
    weight = state.get(f"{layer}.weight")
    return torch.zeros(1, 1) if weight is None or weight.ndim < 2 else weight


def _count(name: str, state: State) -> int:
    """How many layers of such a name there are, whatever the numbers in it."""
    pattern = r"\d+".join(map(re.escape, re.split("{[^}]+}", f"{name}.weight")))
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def layer_names(names: Mapping[str, str], depth: int, stages: int) -> dict[str, str]:
    """The names for each residual block, from {n} = 0 on, and each sub-pixel convolution, from {k} = 0 on."""
    pairs = {}
    for ours, published in names.items():
        for i in range(depth if "{n}" in ours else stages if "{k}" in ours else 1):
            numbers = {"n": i, "n+2": i + 2, "k": i, "k+1": i + 1, "2k": 2 * i}
            numbers |= {"depth": depth, "depth+2": depth + 2, "depth+3": depth + 3, "stages": stages}
            pairs[ours.format_map(numbers)] = published.format_map(numbers)
    return pairs


def _factor(weight: Tensor, layer: str, name: str) -> int:
    out, into = weight.shape[:2]
    factor = math.isqrt(out // max(into, 1))
    if factor < 1 or factor**2 * into != out:
        raise ModelError(f"{name}: {layer}.weight has shape {tuple(weight.shape)}: no sub-pixel convolution")
    return factor


def _basicsr(blocks: str, upsample: str, **more: str) -> dict[str, str]:
    return {
        "head": "conv_first",
        "blocks.{n}.first": blocks + ".{n}.conv1",
        "blocks.{n}.second": blocks + ".{n}.conv2",
        "upsample.{k}": upsample,
        "tail": "conv_last",
        **more,
    }


def _srresnet_lornatang(conv: str) -> dict[str, str]:
    return {
        "head": f"{conv}1.0",
        "head_activation": f"{conv}1.1",
        "blocks.{n}.first": "trunk.{n}.rcb.0",
        "blocks.{n}.first_norm": "trunk.{n}.rcb.1",
        "blocks.{n}.activation": "trunk.{n}.rcb.2",
        "blocks.{n}.second": "trunk.{n}.rcb.3",
        "blocks.{n}.second_norm": "trunk.{n}.rcb.4",
        "trunk_end": f"{conv}2.0",
        "trunk_norm": f"{conv}2.1",
        "upsample.{k}": "upsampling.{k}.upsample_block.0",
        "upsample_activation.{k}": "upsampling.{k}.upsample_block.2",
        "tail": f"{conv}3",
    }


def _edsr_from_shift(state: State, width: int, depth: int, factors: list[int]) -> nn.Module:
    """The range is 255 or 1, as the mean that is subtracted shows."""
    bias = state.get("sub_mean.bias")
    return EDSR(width, depth, factors, 255.0 if bias is None or float(bias.abs().max()) > 1 else 1.0)


_MEAN = ("sub_mean", "add_mean")

LAYOUTS = (
    Layout(
        "EDSR-PyTorch",
        "edsr",
        {
            "sub_mean": "sub_mean",
            "add_mean": "add_mean",
            "head": "head.0",
            "blocks.{n}.first": "body.{n}.body.0",
            "blocks.{n}.second": "body.{n}.body.2",
            "trunk_end": "body.{depth}",
            "upsample.{k}": "tail.0.{2k}",
            "tail": "tail.1",
        },
        _edsr_from_shift,
    ),
    Layout(
        "BasicSR (EDSR)",
        "edsr",
        _basicsr("body", "upsample.{2k}", trunk_end="conv_after_body"),
        lambda _, width, depth, factors: EDSR(width, depth, factors, 255.0),
        _MEAN,
    ),
    Layout(
        "OpenMMLab (EDSR)",
        "edsr",
        _basicsr("body", "upsample.{k}.upsample_conv", trunk_end="conv_after_body"),
        lambda _, width, depth, factors: EDSR(width, depth, factors, 1.0),
        _MEAN,
    ),
    Layout(
        "BasicSR (MSRResNet)",
        "srgan",
        _basicsr("body", "upconv{k+1}", hr="conv_hr"),
        lambda _, width, depth, factors: MSRResNet(width, depth, factors, activated=True),
    ),
    Layout(
        "KAIR (MSRResNet)",
        "srgan",
        _basicsr("recon_trunk", "upconv{k+1}", hr="HRconv"),
        lambda _, width, depth, factors: MSRResNet(width, depth, factors, activated=True),
    ),
    Layout(
        "OpenMMLab (MSRResNet)",
        "srgan",
        _basicsr("trunk_net", "upsample{k+1}.upsample_conv", hr="conv_hr"),
        lambda _, width, depth, factors: MSRResNet(width, depth, factors, activated=False),
    ),
    *(
        Layout(
            f"Lornatang's SRGAN-PyTorch ({conv}1)",
            "srgan",
            _srresnet_lornatang(conv),
            lambda _, width, depth, factors: SRResNet(width, depth, factors, bias=False, tanh=False),
        )
        for conv in ("conv", "conv_block")
    ),
    Layout(
        "leftthomas's SRGAN",
        "srgan",
        {
            "head": "block1.0",
            "head_activation": "block1.1",
            "blocks.{n}.first": "block{n+2}.conv1",
            "blocks.{n}.first_norm": "block{n+2}.bn1",
            "blocks.{n}.activation": "block{n+2}.prelu",
            "blocks.{n}.second": "block{n+2}.conv2",
            "blocks.{n}.second_norm": "block{n+2}.bn2",
            "trunk_end": "block{depth+2}.0",
            "trunk_norm": "block{depth+2}.1",
            "upsample.{k}": "block{depth+3}.{k}.conv",
            "upsample_activation.{k}": "block{depth+3}.{k}.prelu",
            "tail": "block{depth+3}.{stages}",
        },
        lambda _, width, depth, factors: SRResNet(width, depth, factors, bias=True, tanh=True),
    ),
)
"""The accepted layouts of EDSR and SRGAN; those of ESRGAN and RCAN are in `vspsr.nn.pretrained`."""
