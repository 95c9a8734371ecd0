"""Networks that map an LR image to the parameters of its SR space."""

from vspsr.nn.correlated import CorrelatedVSpM
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.vspm import VSpM

__all__ = ["CorrelatedVSpM", "OverlappingVSpM", "VSpM"]
