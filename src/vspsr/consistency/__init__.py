"""Agreement with the LR image: the projection Π, and integers that downscale to it bit for bit."""

from vspsr.consistency.jpeg_member import JpegMember, JpegMembers
from vspsr.consistency.projection import Consistent, project
from vspsr.consistency.quantize import Quantized, quantize

__all__ = ["Consistent", "JpegMember", "JpegMembers", "Quantized", "project", "quantize"]
