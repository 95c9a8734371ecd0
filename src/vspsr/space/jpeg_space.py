"""The super-resolution space of a JPEG: x = Π(μ + z; y*), y* the LR image nearest to D(μ + z) that gives the file.

A JPEG does not say what the LR image is, only in which set it lies (`vspsr.degradation.JpegSet`). So each sample has an
LR image of its own in this set. What D does not see, (I − D⁺D)(μ + z), is the same Gaussian as in the space of an exact
LR image. y* is not Gaussian, since its coefficients are clipped to intervals. So the closed forms of `SRSpace` do not
hold here. They hold for `JpegSpace.gaussian`, the space that takes the decoded pixels as exact.

A network that was trained behind Π only, on exact LR images, states nothing by D μ, which its training never saw. Of
such a network μ is replaced by Π(μ; decoded pixels).
"""

from typing import NoReturn

import torch
from torch import Tensor

from vspsr.checks import check_types
from vspsr.consistency.projection import project_unchecked
from vspsr.degradation.jpeg_set import JpegSet
from vspsr.space.base import NotGaussianError
from vspsr.space.estimates import ESTIMATE_SAMPLES, ESTIMATE_SEED, RELATIVE_ERROR, sampled_stddev
from vspsr.space.sr_space import SRSpace


class JpegSpace(SRSpace):
    """Distribution over HR images (1, C, H, W), each of which downscales to an LR image that gives a JPEG file.

    Made by `from_space`. Samples have the LR images of real numbers in the set; `vspsr.consistency.JpegMembers` and
    `quantize` lead to integers. `y` holds the decoded pixels, which samples do not downscale to.

    Attributes:
        jpeg_set: the LR images that give the file.
    """

    jpeg_set: JpegSet
    _offset: Tensor

    @classmethod
    def from_space(cls, space: SRSpace, jpeg_set: JpegSet, trained: bool = False) -> "JpegSpace":
        """The space of a JPEG from that of its decoded pixels.

        Args:
            space: of one image.
            jpeg_set: the LR images that give the file.
            trained: whether the network was trained on JPEGs, so that D μ means what the LR image was.

        Raises:
            ValueError: more than one image, or another size or number of channels than the file's.
        """
        check_types(space=(space, SRSpace), jpeg_set=(jpeg_set, JpegSet), trained=(trained, bool))
        if len(space.y) != 1:
            raise ValueError(f"`space` must be of one image, got {len(space.y)}")
        jpeg_set.check_size(space.y, "space")
        with torch.no_grad():
            below = space.y if trained else space.degradation.down(space._centre)
        return space._as(cls, jpeg_set=jpeg_set, _offset=space.y - below, _cache={})

    @property
    def gaussian(self) -> SRSpace:
        """The space that takes the decoded pixels as exact, with the same settings; its closed forms hold."""
        return self._as(SRSpace)

    @property
    def is_gaussian(self) -> bool:
        """False: y* is no linear function of the noise."""
        return False

    @property
    def centre(self) -> Tensor:
        """The sample at temperature 0, (1, C, H, W): near the mean, but not the mean."""
        return next(self.iter_samples(1, 0, 0.0))

    @property
    def stddev(self) -> Tensor:
        """Standard deviation times the calibration, (1, C, H, W), estimated from 100 samples: see `stddev_error`."""

        def estimate() -> Tensor:
            samples = self.iter_samples(ESTIMATE_SAMPLES, ESTIMATE_SEED, 1.0)
            return sampled_stddev(lambda _: next(samples), self.centre, subtract_mean=True)

        return self.calibration * self._cached("jpeg stddev", estimate, gradient=False)

    @property
    def stddev_error(self) -> Tensor:
        """Standard error of `stddev`: σ/√200."""
        return RELATIVE_ERROR * self.stddev

    def rsample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> NoReturn:
        """Not available: clipping to intervals is not differentiated. Use that of `gaussian`."""
        self._require_gaussian("rsample")
        raise AssertionError

    def _require_gaussian(self, what: str) -> None:
        raise NotGaussianError(
            f"`{what}` has no closed form in the space of a JPEG, whose intervals end the Gaussian: estimate it from "
            "`sample`, or use `gaussian`, the space before they are applied"
        )

    def _project(self, x: Tensor, b: int) -> Tensor:
        y = self.jpeg_set.project(self.degradation.down(x[None]) + self._offset.to(x))
        return project_unchecked(x[None], y, self.degradation)
