"""Networks by name."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from vspsr.checks import check_choice
from vspsr.errors import did_you_mean
from vspsr.nn.correlated import CorrelatedVSpM
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.pretrained import PretrainedSR
from vspsr.nn.vspm import VSpM

NETWORKS: dict[str, type[VSpM] | type[OverlappingVSpM] | type[CorrelatedVSpM]] = {
    "vspm": VSpM,
    "overlapping": OverlappingVSpM,
    "correlated": CorrelatedVSpM,
}


def build_network(network: str, options: Mapping[str, Any]) -> nn.Module:
    """A network by name; ValueError for an unknown name or option, or an option out of its range."""
    check_choice(network, "network", NETWORKS)
    known = inspect.signature(NETWORKS[network]).parameters
    if unknown := [str(name) for name in options if name not in known]:
        raise ValueError(f"`options` of the network {network!r}: {unknown[0]!r}: {did_you_mean(unknown[0], known)}")
    made = NETWORKS[network](**options)
    part = options.get("deterministic")
    if isinstance(part, PretrainedSR) and part.scale != made.scale:
        raise ValueError(f"`deterministic` upscales by {part.scale}, the model by {made.scale}")
    return made
