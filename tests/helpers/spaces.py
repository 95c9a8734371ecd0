"""Small models and spaces of random networks."""

from dataclasses import replace
from typing import Any

import torch

from vspsr import Degradation, SRSpace, VSpSR
from vspsr.nn import OverlappingVSpM, VSpM
from vspsr.space import SpaceParameters

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "overlapping": ("overlapping", {"n_atoms": 5, "channels": 8, "blocks": 1, "n_modes": 3}),
    "paper": ("vspm", {"n_atoms": 8, "convolutions": False}),
    "many atoms": ("vspm", {"n_atoms": 36, "convolutions": False}),
    "authors": ("vspm", {"n_atoms": 8, "convolutions": True}),
    "stochastic basis": ("vspm", {"n_atoms": 8, "stochastic_basis": True, "convolutions": False}),
    "deterministic": ("vspm", {"n_atoms": 8, "stochastic_coefficients": False, "convolutions": False}),
}
"""Networks of every kind: those after the third have no closed forms."""


def small_model(kind: str = "overlapping", **arguments: Any) -> VSpSR:
    torch.manual_seed(0)
    network, options = NETWORKS[kind]
    return VSpSR(network, options, **arguments)


def make_space(h: int = 5, w: int = 7, batch: int = 1, scale: int = 4, kind: str = "overlapping") -> SRSpace:
    """A space of a random network, double precision, with variances that differ from place to place."""
    torch.manual_seed(h * 100 + w)
    network: torch.nn.Module
    if kind == "overlapping":
        network = OverlappingVSpM(scale, 5, 8, 1, 2)
    else:
        network = VSpM(scale, 36 if kind == "many atoms" else 8, convolutions=False)
    y = torch.rand(batch, 3, h, w, dtype=torch.float64)
    with torch.no_grad():
        p: SpaceParameters = network.double()(y)
    assert p.coefficient_log_var is not None
    log_var = p.coefficient_log_var + torch.randn_like(p.coefficient_log_var)
    return SRSpace(y, replace(p, coefficient_log_var=log_var), Degradation(scale))
