"""From pictures to pictures and from files to files, by the space of a model."""

from vspsr.upscaling.comparison import Comparison, compare, degrade
from vspsr.upscaling.pictures import Exactness, PictureSpace, Upscaled, upscale

__all__ = ["Comparison", "Exactness", "PictureSpace", "Upscaled", "compare", "degrade", "upscale"]
