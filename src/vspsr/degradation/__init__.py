"""How an LR image arises from an HR image: the degradation D, its adjoint and its exact pseudo-inverse."""

from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import KERNELS, imresize

__all__ = ["KERNELS", "Degradation", "imresize"]
