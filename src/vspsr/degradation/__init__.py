"""How an LR image arises from an HR image: the degradation D, its adjoint and its exact pseudo-inverse."""

from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.jpeg_set import JpegSet
from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import KERNELS, imresize

__all__ = ["KERNELS", "Degradation", "JpegCoefficients", "JpegSet", "imresize"]
