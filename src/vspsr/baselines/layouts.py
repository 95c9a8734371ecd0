"""Which keys the published checkpoints have, and which parameters of our networks they are.

A layout says how a release names the layers of a network. Depth, width and scale are read off the keys and shapes. Keys
must be exactly the release's: one that is missing, unknown or of another shape is an error that names it as the
checkpoint does.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vspsr.baselines.networks import EDSR, MSRResNet, SRResNet
from vspsr.errors import ModelError
from vspsr.state_dicts import check_finite, check_keys

State = Mapping[str, Tensor]
Names = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Layout:
    """How one release names its keys.

    Attributes:
        release: whose.
        baseline: "edsr" or "srgan".
        signature: layers, separated by blanks, that no other layout has.
        block, stage: patterns of one layer of each residual block, and of each sub-pixel convolution.
        names: (depth, stages) → pairs (layer of our network, layer in the checkpoint), all of them.
        make: (state, width, depth, factors) → the network.
        implied: layers of our network that the release computes with but does not store.
    """

    release: str
    baseline: str
    signature: str
    block: str
    stage: str
    names: Callable[[int, int], Names]
    make: Callable[[State, int, int, list[int]], nn.Module]
    implied: tuple[str, ...] = ()

    def matches(self, state: State) -> bool:
        """Whether a state dict looks like one of this layout."""
        return all(f"{layer}.weight" in state for layer in self.signature.split())


def layout_of(state: State) -> Layout | None:
    """The layout that a state dict looks like."""
    return next((layout for layout in LAYOUTS if layout.matches(state)), None)


def build(state: State, layout: Layout, name: str) -> nn.Module:
    """The network of a checkpoint, in evaluation mode, single precision.

    Args:
        state: keys as published.
        layout: of the keys.
        name: of the checkpoint, for messages.

    Raises:
        ModelError: keys are missing or unknown, shapes do not fit together, values are not finite.
    """
    depth, stages = (_count(pattern, state) for pattern in (layout.block, layout.stage))
    pairs = dict(layout.names(depth, stages))
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


def _count(pattern: str, state: State) -> int:
    return sum(re.fullmatch(pattern + r"\.weight", key) is not None for key in state)


def _factor(weight: Tensor, layer: str, name: str) -> int:
    out, into = weight.shape[:2]
    factor = math.isqrt(out // max(into, 1))
    if factor < 1 or factor**2 * into != out:
        raise ModelError(f"{name}: {layer}.weight has shape {tuple(weight.shape)}: no sub-pixel convolution")
    return factor


def _edsr_authors(depth: int, stages: int) -> Names:
    yield from (("sub_mean", "sub_mean"), ("add_mean", "add_mean"), ("head", "head.0"))
    for n in range(depth):
        yield from ((f"blocks.{n}.first", f"body.{n}.body.0"), (f"blocks.{n}.second", f"body.{n}.body.2"))
    yield "trunk_end", f"body.{depth}"
    yield from ((f"upsample.{k}", f"tail.0.{2 * k}") for k in range(stages))
    yield "tail", "tail.1"


def _edsr_basicsr(upsample: str) -> Callable[[int, int], Names]:
    def names(depth: int, stages: int) -> Names:
        yield from (("head", "conv_first"), ("trunk_end", "conv_after_body"), ("tail", "conv_last"))
        for n in range(depth):
            yield from ((f"blocks.{n}.first", f"body.{n}.conv1"), (f"blocks.{n}.second", f"body.{n}.conv2"))
        yield from ((f"upsample.{k}", upsample.format(k, 2 * k)) for k in range(stages))

    return names


def _msrresnet(blocks: str, upsample: str, hr: str) -> Callable[[int, int], Names]:
    def names(depth: int, stages: int) -> Names:
        yield from (("head", "conv_first"), ("hr", hr), ("tail", "conv_last"))
        for n in range(depth):
            yield from ((f"blocks.{n}.first", f"{blocks}.{n}.conv1"), (f"blocks.{n}.second", f"{blocks}.{n}.conv2"))
        yield from ((f"upsample.{k}", upsample.format(k + 1)) for k in range(stages))

    return names


_IN_BLOCK = ("first", "first_norm", "activation", "second", "second_norm")


def _srresnet_lornatang(conv: str) -> Callable[[int, int], Names]:
    def names(depth: int, stages: int) -> Names:
        yield from (("head", f"{conv}1.0"), ("head_activation", f"{conv}1.1"), ("tail", f"{conv}3"))
        for n in range(depth):
            yield from ((f"blocks.{n}.{layer}", f"trunk.{n}.rcb.{i}") for i, layer in enumerate(_IN_BLOCK))
        yield from (("trunk_end", f"{conv}2.0"), ("trunk_norm", f"{conv}2.1"))
        for k in range(stages):
            stage = f"upsampling.{k}.upsample_block"
            yield from ((f"upsample.{k}", f"{stage}.0"), (f"upsample_activation.{k}", f"{stage}.2"))

    return names


def _srresnet_leftthomas(depth: int, stages: int) -> Names:
    yield from (("head", "block1.0"), ("head_activation", "block1.1"))
    for n in range(depth):
        published = ("conv1", "bn1", "prelu", "conv2", "bn2")
        yield from ((f"blocks.{n}.{a}", f"block{n + 2}.{b}") for a, b in zip(_IN_BLOCK, published, strict=True))
    yield from (("trunk_end", f"block{depth + 2}.0"), ("trunk_norm", f"block{depth + 2}.1"))
    for k in range(stages):
        stage = f"block{depth + 3}.{k}"
        yield from ((f"upsample.{k}", f"{stage}.conv"), (f"upsample_activation.{k}", f"{stage}.prelu"))
    yield "tail", f"block{depth + 3}.{stages}"


def _edsr(value_range: float) -> Callable[[State, int, int, list[int]], nn.Module]:
    return lambda state, width, depth, factors: EDSR(width, depth, factors, value_range)


def _edsr_from_shift(state: State, width: int, depth: int, factors: list[int]) -> nn.Module:
    """The range is 255 or 1, as the mean that is subtracted shows."""
    bias = state.get("sub_mean.bias")
    return EDSR(width, depth, factors, 255.0 if bias is None or float(bias.abs().max()) > 1 else 1.0)


def _msr(activated: bool) -> Callable[[State, int, int, list[int]], nn.Module]:
    return lambda state, width, depth, factors: MSRResNet(width, depth, factors, activated)


def _sr(bias: bool, tanh: bool) -> Callable[[State, int, int, list[int]], nn.Module]:
    return lambda state, width, depth, factors: SRResNet(width, depth, factors, bias, tanh)


_MEAN = ("sub_mean", "add_mean")
_CONV1 = r"\.\d+\.conv1"

LAYOUTS = (
    Layout(
        "EDSR-PyTorch",
        "edsr",
        "head.0 body.0.body.0 body.0.body.2 tail.0.0",
        r"body\.\d+\.body\.0",
        r"tail\.0\.\d+",
        _edsr_authors,
        _edsr_from_shift,
    ),
    Layout(
        "BasicSR (EDSR)",
        "edsr",
        "conv_first body.0.conv1 conv_after_body upsample.0",
        "body" + _CONV1,
        r"upsample\.\d+",
        _edsr_basicsr("upsample.{1}"),
        _edsr(255.0),
        _MEAN,
    ),
    Layout(
        "OpenMMLab (EDSR)",
        "edsr",
        "conv_first body.0.conv1 conv_after_body upsample.0.upsample_conv",
        "body" + _CONV1,
        r"upsample\.\d+\.upsample_conv",
        _edsr_basicsr("upsample.{0}.upsample_conv"),
        _edsr(1.0),
        _MEAN,
    ),
    Layout(
        "BasicSR (MSRResNet)",
        "srgan",
        "conv_first body.0.conv1 upconv1 conv_hr",
        "body" + _CONV1,
        r"upconv\d+",
        _msrresnet("body", "upconv{}", "conv_hr"),
        _msr(activated=True),
    ),
    Layout(
        "KAIR (MSRResNet)",
        "srgan",
        "conv_first recon_trunk.0.conv1 upconv1 HRconv",
        "recon_trunk" + _CONV1,
        r"upconv\d+",
        _msrresnet("recon_trunk", "upconv{}", "HRconv"),
        _msr(activated=True),
    ),
    Layout(
        "OpenMMLab (MSRResNet)",
        "srgan",
        "conv_first trunk_net.0.conv1 upsample1.upsample_conv conv_hr",
        "trunk_net" + _CONV1,
        r"upsample\d+\.upsample_conv",
        _msrresnet("trunk_net", "upsample{}.upsample_conv", "conv_hr"),
        _msr(activated=False),
    ),
    *(
        Layout(
            f"Lornatang's SRGAN-PyTorch ({conv}1)",
            "srgan",
            f"{conv}1.0 trunk.0.rcb.0 upsampling.0.upsample_block.0 {conv}3",
            r"trunk\.\d+\.rcb\.0",
            r"upsampling\.\d+\.upsample_block\.0",
            _srresnet_lornatang(conv),
            _sr(bias=False, tanh=False),
        )
        for conv in ("conv", "conv_block")
    ),
    Layout(
        "leftthomas's SRGAN",
        "srgan",
        "block1.0 block2.conv1 block2.bn1",
        r"block\d+\.conv1",
        r"block\d+\.\d+\.conv",
        _srresnet_leftthomas,
        _sr(bias=True, tanh=True),
    ),
)
"""The accepted layouts of EDSR and SRGAN; those of ESRGAN and RCAN are in `vspsr.nn.pretrained`."""
