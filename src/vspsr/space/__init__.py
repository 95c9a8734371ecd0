"""The super-resolution space of an image: a distribution over HR images that all downscale to it."""

from vspsr.space.noise import image_key
from vspsr.space.parameters import SpaceParameters, StochasticBasis
from vspsr.space.sr_space import NotGaussianError, SRSpace

__all__ = ["NotGaussianError", "SRSpace", "SpaceParameters", "StochasticBasis", "image_key"]
