"""From pictures to pictures and from files to files, by the space of a model."""

from vspsr.upscaling.comparison import Comparison, compare, degrade
from vspsr.upscaling.consistent import ConsistentPictures, Exactness
from vspsr.upscaling.pictures import PictureSpace, Upscaled, upscale

__all__ = ["Comparison", "ConsistentPictures", "Exactness", "PictureSpace", "Upscaled", "compare", "degrade", "upscale"]
