"""From pictures to pictures and from files to files, by the space of a model."""

from vspsr.upscaling.pictures import PictureSpace, Upscaled, compare, degrade, upscale

__all__ = ["PictureSpace", "Upscaled", "compare", "degrade", "upscale"]
