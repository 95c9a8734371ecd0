"""The super-resolution space of an image: a distribution over HR images that all downscale to it.

x = Π(μ + z; y), z = Σ_i Σ_c w_{i,c} atom_c placed at LR pixel i, w ~ N(m, T² diag σ²). z is linear in the Gaussian
coefficients and Π is affine, so the space is a Gaussian over images whose mean and standard deviation have closed
forms. (A stochastic basis or a nonlinear refinement, options of the paper's network, end that: `is_gaussian`.)

Two factors on σ serve two purposes. The temperature T is how samples are drawn: below 1 they look more natural. The
calibration is what σ means: the standard deviation times it agrees with errors measured on photographs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Real
from typing import ClassVar, Self

import torch
from torch import Tensor

from vspsr.checks import check_integer, check_seed
from vspsr.space.base import SpaceBase
from vspsr.space.drawing import NoiseOf
from vspsr.space.estimates import ESTIMATE_SEED, RELATIVE_ERROR, sampled_stddev
from vspsr.space.nearest import LikelihoodRatio, Nearest, likelihood_ratio, nearest
from vspsr.space.observations import Conflict, Observation
from vspsr.space.region import Region
from vspsr.space.variance import projected_variance

_MAX_SAMPLE = 2**31 - 1  # number of a sample; those beyond are the directions of `perturb`


class SRSpace(SpaceBase):
    """Distribution over HR images (B, 3, H, W), nominally in [0, 1], all of which downscale to the LR images y.

    Made by calling a `VSpSR` model. Names follow `torch.distributions`. A deep copy or a pickle of a space has no
    gradient. `y` and `parameters` must not be changed. Training a model does not change its spaces, but those of the
    paper's network with a stochastic basis or a refinement, which share modules with it.

    Args:
        y: LR images (B, 3, h, w) in [0, 1] (one channel after `grey`).
        parameters: what the network returned.
        degradation: D.
        temperature: factor T ≥ 0 on every σ in samples, or a map (h, w); the default of `sample`.
        calibration: factor ≥ 0 on every σ in `stddev`.
        keys: one integer of 0 … 2^64 − 1 for each image; images with equal keys get equal noise. By default the
            position in the batch, 0 … B − 1.

    Raises:
        ValueError: an argument out of its range.

    Attributes:
        observations: conditions that have been put to it, see `condition`.
    """

    observations: tuple[Observation, ...] = ()
    _given: ClassVar[Callable[["SRSpace", Sequence[Observation], int], "SRSpace"]]  # set by `vspsr.space.conditioning`
    _stddev_name: ClassVar[str] = "stddev"  # in the cache, which is shared with other classes of spaces

    @property
    def conflicts(self) -> list[Conflict]:
        """How each of the `observations`, by itself, agrees with the space as it was before all of them."""
        return []

    @property
    def mean(self) -> Tensor:
        """Exact mean, Π(μ + Σ m·atom; y): (B, 3, H, W). NotGaussianError if there is no closed form."""
        self._require_gaussian("mean")
        if self.parameters.by_place:  # quickly made, and too large to keep
            return self._by_bands(lambda window, _: window.mean)
        made = self._cached("mean", lambda: torch.cat([self._project(x, b) for b, x in enumerate(self._centre)]))
        return made.clone()  # the caller's own

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each pixel times the calibration: (B, 3, H, W), no gradient.

        The standard deviation of the model's Gaussian is exact, projection included:
        diag((I − D⁺D) Σ (I − D⁺D)ᵀ) with Σ the covariance of z (see `vspsr.space.variance`). How well it agrees with
        real errors is a matter of the model: `calibration` scales it to agree on average over validation photographs.
        Of correlated coefficients it is estimated from 100 samples: see `stddev_error`.
        The temperature has no influence. NotGaussianError if there is no closed form.
        """
        if self.parameters.by_place:
            return self._by_bands(lambda window, _: window.stddev)
        return self.calibration * self._cached(self._stddev_name, self._unit_stddev, gradient=False)

    def stddev_at(self, temperature: float | Tensor) -> Tensor:
        """`stddev` where samples are drawn at a temperature, times the calibration: (B, 3, H, W). At 1 it is `stddev`.

        Args:
            temperature: ≥ 0; or a map of it, (h, w), as in `with_temperature`.

        Raises:
            ValueError: a negative temperature, a map of another shape.
            NotGaussianError: there is no closed form.
        """
        temperature = self._check_temperature(temperature)
        if self.parameters.by_place:
            return self.with_temperature(temperature)._by_bands(lambda window, _: window.stddev_at(window.temperature))
        return self._computed(lambda: self.calibration * self._unit_stddev(temperature))

    @property
    def stddev_error(self) -> Tensor:
        """Standard error of `stddev`, (B, 3, H, W): 0 where it is exact, σ/√200 where it is estimated."""
        exact = self.parameters.chain is None
        return self.stddev * (0.0 if exact else RELATIVE_ERROR)

    def sample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> Tensor:
        """n images of the space: (n, B, 3, H, W). The network is not called; no gradient is kept.

        Sample i of a seed is the same image however many are drawn, and alone or in a batch as long as the image's
        key is the same. Values may leave [0, 1] a little: `quantize` brings them to integers in range.

        Args:
            n: number of samples, ≥ 0.
            seed: ≥ 0.
            temperature: factor on every σ, or a map of it (see `with_temperature`); None for the space's own.

        Raises:
            ValueError: an argument out of its range.
        """
        images = self.iter_samples(n, seed, temperature)
        out = self.parameters.deterministic.new_empty(int(n), *self.parameters.deterministic.shape)
        for i, image in enumerate(images):
            out[i] = image
        return out

    def rsample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> Tensor:
        """`sample`, differentiable in the parameters of the space (reparametrised)."""
        n, seed = check_integer(n, "n", 0, _MAX_SAMPLE), check_seed(seed)
        images = [self._draw(partial(self._noise, seed, i), temperature) for i in range(n)]
        return torch.stack(images) if images else self.sample(0)

    def iter_samples(
        self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None, start: int = 0
    ) -> Iterator[Tensor]:
        """Samples ``start`` … ``start + n − 1`` one by one, each (B, 3, H, W): as `sample`, in the memory of one."""
        n, start = check_integer(n, "n", 0, _MAX_SAMPLE), check_integer(start, "start", 0, _MAX_SAMPLE)
        seed = check_seed(seed)
        temperature = self.temperature if temperature is None else self._check_temperature(temperature)
        draw = torch.no_grad()(self._draw)
        return (draw(partial(self._noise, seed, i), temperature) for i in range(start, start + n))

    def interpolate(self, seed_a: int, seed_b: int, t: float, temperature: float | Tensor | None = None) -> Tensor:
        """A member of the space between sample 0 of two seeds: (B, 3, H, W). No gradient is kept.

        The noise fields are blended as cos(tπ/2)·a + sin(tπ/2)·b, which keeps their distribution, so every t gives
        an image as typical as the two ends, and consistent like them.

        Args:
            seed_a, seed_b: the image at t = 0 and at t = 1.
            t: 0 … 1.
            temperature: as in `sample`.

        Raises:
            ValueError: an argument out of its range.
        """
        a, b = (partial(self._noise, check_seed(s, n), 0) for s, n in ((seed_a, "seed_a"), (seed_b, "seed_b")))
        return self._blended(a, b, t, "t", temperature)

    def region(self, top: int, left: int, height: int, width: int) -> Region:
        """A part of the picture and its space, at a cost that does not depend on the size of the picture.

        Args:
            top, left, height, width: in LR pixels.

        Raises:
            ValueError: a region that does not lie within the picture, a space of several pictures.
            NotGaussianError: the space is not a Gaussian, or its detail is not random.
        """
        self._require_one("region")
        return Region(self, top, left, height, width)

    def condition(self, *observations: Observation, seed: int = ESTIMATE_SEED) -> "SRSpace":
        """The space given observations of the picture: a space again, whose members downscale to what
        those of this space do (given a noisy LR image, conditions may move that within its noise).

        With the same seed a sample is the sample of this space, changed no more than the observations ask for.
        A `ConditionWarning` says which condition contradicts y, by how many of its σ and where; `conflicts` of what is
        returned says how far each is from this space.

        Args:
            observations: `vspsr.space.Pixels`, `Average`, `Same` or `Linear`; their standard deviations are at
                least 1e-6, so that there is always an answer.
            seed: of the 100 samples that `stddev` around what is observed is estimated from.

        Raises:
            ValueError: an observation that does not fit the picture, a seed out of its range, a space of several
                pictures.
            NotGaussianError: the space is not a Gaussian, or its detail is not random.
        """
        self._require_one("condition")
        return type(self)._given(self, observations, seed)

    def nearest(self, picture: Tensor, stddev: float = 4 / 255) -> Nearest:
        """The member closest to a picture, how unusual the picture is, and what of it no member has.

        Args:
            picture: (channels, H, W) or (1, channels, H, W), any picture of this size: the true HR image, another
                program's, an edited one. It need not downscale to y.
            stddev: how closely a member must resemble the picture, ≥ 1e-6, in units of the image: the standard
                deviation of an error that is allowed for in each value. The smaller, the more the finest detail counts.

        Raises:
            ValueError: a picture of another shape, a space of several pictures or with conditions.
            NotGaussianError: the space is not a Gaussian, or its detail is not random.
        """
        self._require_one("nearest")
        return nearest(self, picture, stddev)

    def likelihood_ratio(self, picture_a: Tensor, picture_b: Tensor, stddev: float = 4 / 255) -> LikelihoodRatio:
        """Which of two candidates is likelier given the LR image, and by how much.

        Where they are equal they do not count. Candidates that do not downscale to y lose by that.

        Args:
            picture_a, picture_b: (channels, H, W) or (1, channels, H, W).
            stddev: error allowed for in each value, as in `nearest`.

        Raises:
            ValueError: pictures of another shape, a space of several pictures.
            NotGaussianError: the space is not a Gaussian, or its detail is not random.
        """
        self._require_one("likelihood_ratio")
        return likelihood_ratio(self, picture_a, picture_b, stddev)

    def perturb(
        self, seed: int, sample: int, amount: float, n: int = 1, temperature: float | Tensor | None = None
    ) -> Tensor:
        """Neighbours of a sample: (n, B, 3, H, W). No gradient is kept.

        The sample's noise is blended with other noise as cos(aπ/2)·ε + sin(aπ/2)·ε′, so that a neighbour is as typical
        as the sample. Neighbour i takes the same direction whatever the sample, the amount and n are.

        Args:
            seed, sample: the sample, as `sample` and `iter_samples` number it.
            amount: a, from 0 (the sample itself) to 1 (independent of it).
            n: number of neighbours.
            temperature: as in `sample`.

        Raises:
            ValueError: an argument out of its range.
        """
        seed, sample = check_seed(seed), check_integer(sample, "sample", 0, _MAX_SAMPLE)
        own = partial(self._noise, seed, sample)
        count = check_integer(n, "n", 1, _MAX_SAMPLE)
        others = [partial(self._noise, seed, _MAX_SAMPLE + 1 + i) for i in range(count)]
        return torch.stack([self._blended(own, other, amount, "amount", temperature) for other in others])

    @torch.no_grad()
    def _blended(self, a: NoiseOf, b: NoiseOf, t: float, name: str, temperature: float | Tensor | None) -> Tensor:
        """A member between two noise fields."""
        if not isinstance(t, Real) or isinstance(t, bool) or not 0 <= t <= 1:
            raise ValueError(f"`{name}` must lie in [0, 1], got {t!r}")
        # At the ends exactly the samples themselves: cos(π/2) is not 0 in floating point.
        u, v = (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)) if 0 < t < 1 else (1.0 - t, float(t))
        return self._draw(lambda *block: u * a(*block) + v * b(*block), temperature)

    def _drawn_at_calibration(self) -> Self:
        """The space whose samples at a temperature times the calibration have the `stddev_at` that temperature."""
        return self

    def _unit_stddev(self, temperature: float | Tensor = 1.0) -> Tensor:
        """`stddev_at` for calibration 1."""
        self._require_gaussian("stddev")
        p = self.parameters
        if p.chain is not None:
            return sampled_stddev(lambda i: self._draw(partial(self._noise, ESTIMATE_SEED, i), temperature), self.mean)
        if p.coefficient_log_var is None:
            return torch.zeros_like(p.deterministic)
        variance = p.coefficient_log_var.exp() * temperature**2
        return projected_variance(variance, p.atoms, self.degradation).sqrt()
