"""A space given linear observations of the picture: a Gaussian again.

With G the observations, v their values and R their variances, b = v − G m and S = G C Gᵀ + R,

    mean:        m + C Gᵀ S⁻¹ b
    covariance:  C − C Gᵀ S⁻¹ G C
    samples:     x + C Gᵀ S⁻¹ (v − G x − r), r ~ N(0, R)       (Matheron's rule; x a sample of the space as it was)

so that a sample changes no more than the observations ask for. S⁻¹ is applied by conjugate gradients in the space of
observations, which is equivalent to solving for the noise and needs shorter vectors. All images involved lie in the
range of C, so that every result downscales to y (of a noisy LR image, up to its noise). Only a window around what is
observed takes part, with the margin of `vspsr.space.region`. C contains the calibration.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from vspsr.checks import check_seed, value_text
from vspsr.errors import ConditionWarning
from vspsr.space.bands import widened
from vspsr.space.base import EXTRA_ROW, SpaceBase
from vspsr.space.covariance import ConditionedCovariance, Covariance, ObservedSystem
from vspsr.space.drawing import Noise
from vspsr.space.estimates import RELATIVE_ERROR, sampled_stddev
from vspsr.space.linear_maps import LinearMap, SparseMap
from vspsr.space.nearest import Nearest
from vspsr.space.noise import BLOCK
from vspsr.space.observations import Conflict, Observation
from vspsr.space.region import Region
from vspsr.space.sr_space import SRSpace

_SOLVE_TOLERANCE = 1e-2  # of D⁺ in the margin that S is computed with, in float32
_FAR = 5.0  # σ of a condition: if a value is missed by more, the condition contradicts the space


class ConditionedSpace(SRSpace):
    """A space given observations: made by `SRSpace.condition`.

    It offers what `SRSpace` does, `grey`, `nearest` and `rsample` excepted. The temperature scales how samples differ
    from the conditional mean.

    Attributes:
        observations: the conditions.
    """

    _maps: tuple[LinearMap, ...]
    _values: Tensor
    _sigma: Tensor
    _window: tuple[slice, slice]  # LR rows and columns around what is observed, that change with it
    _inner: tuple[slice, slice]  # those of them that S is computed from
    _prior: SRSpace  # as it was before all conditions
    _estimate_seed: int

    @classmethod
    def build(cls, space: SRSpace, observations: Sequence[Observation], seed: int) -> "ConditionedSpace":
        """See `SRSpace.condition`."""
        prior = space._prior if isinstance(space, ConditionedSpace) else space
        before = space.observations if isinstance(space, ConditionedSpace) else ()
        made = cls._of(prior, (*before, *observations), check_seed(seed))
        made._warn(len(before))
        return made

    @classmethod
    def _of(cls, prior: SRSpace, observations: Sequence[Observation], seed: int) -> "ConditionedSpace":
        for observation in observations:
            if not isinstance(observation, Observation):
                got = value_text(observation)
                raise ValueError(f"`observations` must be Pixels, Average, Same or Linear, got {got}")
        if not observations:
            raise ValueError("`observations` must be at least one")
        observations = [observation.copied() for observation in observations]
        maps, values, sigma = zip(*(o.resolve(prior.parameters.deterministic) for o in observations), strict=True)
        scale, exact = prior.degradation.scale, prior.y.dtype == torch.float64
        looked_at = [
            slice(min(b.start for b in bounds) // scale, -(-max(b.stop for b in bounds) // scale))
            for bounds in zip(*(g.bounds() for g in maps), strict=True)
        ]
        tolerances = {"_window": None, "_inner": None if exact else _SOLVE_TOLERANCE}
        size = prior.y.shape[-2:]
        own: dict[str, Any] = {k: widened(looked_at, prior._margin(t), size) for k, t in tolerances.items()}
        own |= {"_maps": maps, "_values": torch.cat(values), "_sigma": torch.cat(sigma), "_estimate_seed": seed}
        return prior._as(cls, **own, observations=tuple(observations), _cache={}, _prior=prior)

    @property
    def mean(self) -> Tensor:
        """Conditional mean: (1, channels, H, W)."""
        if self.parameters.by_place:
            return self._corrected(self._prior.mean, self._weights)
        mean = self._cached("mean", lambda: self._corrected(self._prior.mean, self._weights), gradient=False)
        return mean.clone()

    @property
    def stddev(self) -> Tensor:
        """Conditional standard deviation of each pixel, the calibration included: (1, channels, H, W).

        Around what is observed it is estimated from 100 samples, see `stddev_error`.
        """
        stddev = self._cached("stddev", lambda: self._conditional_stddev(1.0, self._prior.stddev), gradient=False)
        return stddev.clone()

    def stddev_at(self, temperature: float | Tensor) -> Tensor:
        """As in `SRSpace`. A map is the temperature of samples of the space as it was; a number is also a factor on the
        errors of the observations."""
        t = self._check_temperature(temperature)
        return self._computed(lambda: self._conditional_stddev(t, self._prior.stddev_at(t)))

    @property
    def stddev_error(self) -> Tensor:
        """Standard error of `stddev`: σ/√200 around what is observed, elsewhere that of the space as it was."""
        error, window = self._prior.stddev_error.clone(), self._hr_window
        error[window] = RELATIVE_ERROR * self.stddev[window]
        return error

    def corrected(self, x: Tensor) -> Tensor:
        """See `SpaceBase`; x is of the space as it was. Affine in x: its mean becomes the conditional mean."""
        own = self._as_picture(x, "x")

        def build() -> Tensor:
            return self._corrected(own, self._system("_inner").solve(self._values - self._observed(own)))

        return self._computed(build)

    @property
    def conflicts(self) -> list[Conflict]:
        """How each condition, by itself, agrees with the space as it was."""
        single = len(self.observations) == 1
        seed = self._estimate_seed
        return [(self if single else self._of(self._prior, [o], seed))._conflict() for o in self.observations]

    def grey(self) -> Self:
        """Not offered, always a ValueError: conditions are on colours."""
        raise ValueError("`grey` must come before `condition`: conditions are on the channels that there are")

    def rsample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> NoReturn:
        """Not offered, always a ValueError: the equations of the conditions are solved without a gradient."""
        raise ValueError("`rsample` must be asked of the space before `condition`: `sample` has no gradient")

    def nearest(self, picture: Tensor, stddev: float = 4 / 255) -> Nearest:
        """Not offered, always a ValueError: the closest member is that given all pixels."""
        raise ValueError("`nearest` must be asked of the space before `condition`")

    def to(self, device: torch.device | str) -> "ConditionedSpace":  # type: ignore[override]
        """The same space on another device."""
        return self._of(self._prior.to(device), self.observations, self._estimate_seed)

    def _with(self, **changes: Any) -> Self:
        made = super()._with(**changes, _prior=self._prior._with(**changes))
        if "calibration" in changes:  # S contains it
            made._cache = {}
        return made

    def _crop(self, rows: slice, columns: slice) -> SpaceBase:
        """At least the part asked for: with the window of the conditions, if these have an influence there."""
        pairs = list(zip((rows, columns), self._window, strict=True))
        if not all(a.start < b.stop and b.start < a.stop for a, b in pairs):
            return self._prior._crop(rows, columns)
        rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)
        names, prior = ("_window", "_inner"), self._prior._crop(rows, columns)
        own: dict[str, Any] = vars(prior) | {"_maps": self._cropped_maps(rows, columns), "_prior": prior}
        own["_cache"] = {(name, False): self._system(name) for name in names} | {("weights", False): self._weights}
        for name in names:
            pairs = list(zip((rows, columns), getattr(self, name), strict=True))
            own[name] = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in pairs)
        return self._as(type(self), **own)

    def _cropped_maps(self, rows: slice, columns: slice) -> tuple[LinearMap, ...]:
        s = self.degradation.scale
        hr = [slice(s * part.start, s * part.stop) for part in (rows, columns)]
        return tuple(g.crop(*hr) for g in self._maps)

    @property
    def _hr_window(self) -> tuple[Any, ...]:
        """The index of the window in images (…, H, W)."""
        s = self.degradation.scale
        return (..., *(slice(s * part.start, s * part.stop) for part in self._window))

    def _system(self, window: str) -> ObservedSystem:
        """The equations on the images of "_window" or "_inner"."""

        def build() -> ObservedSystem:
            rows, columns = getattr(self, window)
            covariance = self._prior._crop(rows, columns)._covariance()
            return ObservedSystem(self._cropped_maps(rows, columns), self._values, self._sigma, covariance)

        return self._cached(window, build, gradient=False)

    @property
    def _weights(self) -> Tensor:
        """S⁻¹ (v − G m), (n,) float64."""

        def build() -> Tensor:
            return self._system("_inner").solve(self._values - self._observed_mean)

        return self._cached("weights", build, gradient=False)

    @property
    def _observed_mean(self) -> Tensor:
        """G m, (n,), from the window alone."""
        (top, bottom), (left, right) = ((part.start, part.stop) for part in self._window)
        mean = Region(self._prior, top, left, bottom - top, right - left).mean
        return self._system("_window").observe(mean[None])[0]

    def _observed(self, x: Tensor) -> Tensor:
        """G x of one image: (n,)."""
        return self._system("_window").observe(x[self._hr_window])[0]

    def _corrected(self, x: Tensor, weights: Tensor) -> Tensor:
        """x + C Gᵀ of weights (n,), which downscales to what x does: (1, channels, H, W)."""
        system, (rows, columns) = self._system("_window"), self._window
        shift = system.covariance.product(system.spread(weights.to(x)[None]))
        return self._prior._moved(x, shift, (rows.start, columns.start))

    def _moved(self, x: Tensor, shift: Tensor, origin: tuple[int, int]) -> Tensor:
        return self._prior._moved(x, shift, origin)

    def _draw_one(self, b: int, noise: Noise, temperature: float | Tensor) -> Tensor:
        x = self._prior._draw_one(b, noise, temperature)
        # Temperature 1 draws the model's Gaussian, that with the calibration's is what the observations' σ belongs to.
        factor = _of_errors(temperature) / self.calibration if self.calibration > 0 else 0.0
        return self._given_errors(x, noise, factor)

    def _given_errors(self, x: Tensor, noise: Noise, factor: float) -> Tensor:
        """Matheron's rule for a sample x of the space as it was, the errors of the observations times a factor."""
        n = len(self._values)
        own = noise(-(-n // BLOCK**2), EXTRA_ROW).flatten()[:n].to(self._sigma)
        missing = self._values - self._observed(x) - factor * self._sigma * own
        return self._corrected(x, self._system("_inner").solve(missing))

    def _covariance(self) -> Covariance:
        inner = self._system("_inner")
        return ConditionedCovariance(
            **vars(self._prior._covariance()), system=replace(inner, maps=self._maps), factor=inner.factor
        )

    def _conditional_stddev(self, temperature: float | Tensor, prior_stddev: Tensor) -> Tensor:
        """`stddev_at`, and what it is of the space as it was."""
        stddev, part = prior_stddev.clone(), self.with_temperature(temperature)._crop(*self._window)
        assert isinstance(part, ConditionedSpace)
        part._cache["_inner", False] = self._system("_inner").for_many_solves()
        prior, drawn_at = part._prior._drawn_at_calibration(), self.calibration * part.temperature

        def draw(i: int) -> Tensor:
            noise = partial(part._noise, self._estimate_seed, i, 0)
            return part._given_errors(prior._draw_one(0, noise, drawn_at), noise, _of_errors(temperature))

        stddev[self._hr_window] = sampled_stddev(draw, part.mean, subtract_mean=type(self._prior) is not SRSpace)
        return stddev

    def _conflict(self) -> Conflict:
        """Of a single condition."""
        b = (self._values - self._observed_mean).double()
        missed = self._sigma.double() * self._weights  # v − G m′ = R S⁻¹ b
        g = self._maps[0]
        where = g.by_place(missed).to(self.y) if isinstance(g, SparseMap) else None
        distance = float((b @ self._weights).clamp_min(0) / len(b)) ** 0.5
        return Conflict(self.observations[0], distance, float(missed.abs().max()), where)

    def _warn(self, first: int) -> None:
        """A ConditionWarning for every condition from ``first`` on that cannot be met."""
        missed = (self._sigma.double() * self._weights).split([g.count for g in self._maps])
        for i, (g, far) in enumerate(zip(self._maps, missed, strict=True)):
            if i >= first and float(far.abs().max()) > _FAR:
                place = ""
                if isinstance(g, SparseMap):
                    at = g.by_place(far)
                    place = " at HR pixel (row {}, column {})".format(*divmod(int(at.argmax()), at.shape[1]))
                name = type(self.observations[i]).__name__
                text = f"condition {i} ({name}) contradicts the LR image or another condition: it is missed by "
                warnings.warn(f"{text}{float(far.abs().max()):.0f} of its σ{place}", ConditionWarning, stacklevel=4)


def _of_errors(temperature: float | Tensor) -> float:
    """The factor on the errors of observations: a map of the temperature leaves them as they are."""
    return 1.0 if isinstance(temperature, Tensor) else temperature


# `SRSpace` cannot import its own subclass.
SRSpace._given = ConditionedSpace.build
