"""The super-resolution space of a JPEG: x = Π(μ + z; y*), y* the LR image nearest to D(μ + z) that gives the file.

A JPEG does not say what the LR image is, only in which set it lies (`vspsr.degradation.JpegSet`). So each sample has an
LR image of its own in this set. What D does not see, the detail (I − D⁺D)(μ + z), is the same Gaussian as in the space
of an exact LR image. y* is not Gaussian, since its coefficients are clipped to intervals. So the closed forms of
`SRSpace` do not hold here. They hold for `JpegSpace.gaussian`, the space that takes the decoded pixels as exact, and
for the detail: see `JpegDetailSpace`.

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
    _stddev_name = "jpeg stddev"
    _decoded: Tensor  # LR image of the whole picture
    _offset: Tensor | None  # of D(μ + z); None if there is none

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
        offset = None
        if not trained:
            with torch.no_grad():
                whole = space._with(parameters=space.parameters.whole())
                offset = space.y - space.degradation.down(whole._centre)
        return space._as(cls, jpeg_set=jpeg_set, _decoded=space.y, _offset=offset, _cache={})

    @property
    def gaussian(self) -> SRSpace:
        """The space that takes the decoded pixels as exact, with the same settings; its closed forms hold."""
        return self._as(SRSpace)

    @property
    def detail(self) -> "JpegDetailSpace":
        """The same space with the closed forms that its detail has, with the same settings."""
        return self._as(JpegDetailSpace)

    @property
    def is_gaussian(self) -> bool:
        """False: y* is no linear function of the noise."""
        return False

    @property
    def centre(self) -> Tensor:
        """The sample at temperature 0, (1, C, H, W): near the mean, but not the mean."""
        return next(self.iter_samples(1, 0, 0.0))

    @property
    def stddev_error(self) -> Tensor:
        """Standard error of `stddev`, which is estimated from 100 samples: σ/√200."""
        return RELATIVE_ERROR * self.stddev

    def rsample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> NoReturn:
        """Not available: clipping to intervals is not differentiated. Use that of `gaussian`."""
        self._require_gaussian("rsample")
        raise AssertionError

    def _unit_stddev(self, temperature: float | Tensor = 1.0) -> Tensor:
        samples = self.iter_samples(ESTIMATE_SAMPLES, ESTIMATE_SEED, temperature)
        return sampled_stddev(lambda _: next(samples), self.centre, subtract_mean=True)

    def _require_gaussian(self, what: str) -> None:
        raise NotGaussianError(
            f"`{what}` has no closed form in the space of a JPEG, whose intervals end the Gaussian: estimate it from "
            "`sample`, or use `gaussian`, the space before they are applied"
        )

    def _project(self, x: Tensor, b: int) -> Tensor:
        y = self.degradation.down(x[None])
        rows, columns = (slice(i, i + n) for i, n in zip(self._origin, y.shape[-2:], strict=True))
        if self._offset is not None:
            y = y + self._offset[..., rows, columns].to(y)
        if y.shape == self._decoded.shape:
            return project_unchecked(x[None], self.jpeg_set.project(y), self.degradation)

        def part() -> tuple[JpegSet, slice, slice]:
            code, down, across = self.jpeg_set.code.part(rows, columns)
            return JpegSet(code), down, across

        # MCUs that the cut crosses have the decoded pixels outside of it.
        mcus, *covered = self._cached("mcus", part)
        around = self._decoded[..., covered[0], covered[1]].to(y).clone()
        own = [slice(p.start - c.start, p.stop - c.start) for p, c in zip((rows, columns), covered, strict=True)]
        around[..., own[0], own[1]] = y
        return project_unchecked(x[None], mcus.project(around)[..., own[0], own[1]], self.degradation)


class JpegDetailSpace(JpegSpace):
    """The space of a JPEG, given the LR image of each member: made by `JpegSpace.detail`.

    Samples are those of `JpegSpace`. Regions and conditions change a member's detail by the detail's covariance and
    leave its LR image as it is, so that every result gives the file. So a condition never uses what the intervals
    leave open of the LR image. Of a likelihood ratio, `detail_nats` alone has a meaning.
    """

    @property
    def is_gaussian(self) -> bool:
        """Whether its detail is."""
        return self.parameters.is_linear

    @property
    def mean(self) -> Tensor:
        """`centre`, whose detail is the mean of the detail: (1, C, H, W)."""
        if self.parameters.by_place:
            return self.centre
        return self._cached("centre of the JPEG", lambda: self.centre).clone()

    def _require_gaussian(self, what: str) -> None:
        if what in ("rsample", "grey", "nearest"):
            super()._require_gaussian(what)
        SRSpace._require_gaussian(self, what)
