"""The super-resolution space of an image: a distribution over HR images that all downscale to it."""

from vspsr.space.base import NotGaussianError
from vspsr.space.conditioning import ConditionedSpace
from vspsr.space.jpeg_space import JpegDetailSpace, JpegSpace
from vspsr.space.nearest import LikelihoodRatio, Nearest
from vspsr.space.noise import image_key
from vspsr.space.noisy_space import NoisySpace
from vspsr.space.observations import Average, Conflict, Linear, Observation, Pixels, Same
from vspsr.space.parameters import SpaceParameters, StochasticBasis
from vspsr.space.principal_components import PrincipalComponents
from vspsr.space.region import Region
from vspsr.space.sr_space import SRSpace

__all__ = [
    "Average",
    "ConditionedSpace",
    "Conflict",
    "JpegDetailSpace",
    "JpegSpace",
    "LikelihoodRatio",
    "Linear",
    "Nearest",
    "NoisySpace",
    "NotGaussianError",
    "Observation",
    "Pixels",
    "PrincipalComponents",
    "Region",
    "SRSpace",
    "Same",
    "SpaceParameters",
    "StochasticBasis",
    "image_key",
]
