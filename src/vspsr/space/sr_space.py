"""The super-resolution space of an image: a distribution over HR images that all downscale to it.

x = Π(μ + z; y), z = Σ_i Σ_c w_{i,c} atom_c placed at LR pixel i, w ~ N(m, T² diag σ²). z is linear in the Gaussian
coefficients and Π is affine, so the space is a Gaussian over images whose mean and standard deviation have closed
forms. (A stochastic basis or a nonlinear refinement, options of the paper's network, end that: `is_gaussian`.)

Two factors on σ serve two purposes. The temperature T is how samples are drawn: below 1 they look more natural. The
calibration is what σ means: the standard deviation times it agrees with errors measured on photographs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from vspsr.checks import check_integer, check_number, check_seed, check_temperature
from vspsr.consistency.projection import project_unchecked
from vspsr.degradation.operator import Degradation
from vspsr.errors import VSpSRError
from vspsr.space.drawing import Noise, Sampler
from vspsr.space.noise import noise_rows
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize
from vspsr.space.variance import projected_variance

__all__ = ["NotGaussianError", "SRSpace"]

_MOST = 2**31 - 1  # samples
_ESTIMATE = 100  # samples that a standard deviation is estimated from
_ESTIMATE_SEED = 2**64 - 1


class NotGaussianError(VSpSRError):
    """A closed form was asked of a space that is not Gaussian."""


class SRSpace:
    """Distribution over HR images (B, 3, H, W), nominally in [0, 1], all of which downscale to the LR images y.

    Made by calling a `VSpSR` model. Names follow `torch.distributions`. A deep copy or a pickle of a space has no
    gradient.

    Args:
        y: LR images (B, 3, h, w) in [0, 1] (one channel after `grey`).
        parameters: what the network returned.
        degradation: D.
        temperature: factor T ≥ 0 on every σ in samples; the default of `sample`.
        calibration: factor ≥ 0 on every σ in `stddev`.
        keys: one integer of 0 … 2^64 − 1 for each image; images with equal keys get equal noise. By default the
            position in the batch, 0 … B − 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        y: Tensor,
        parameters: SpaceParameters,
        degradation: Degradation,
        temperature: float = 1.0,
        calibration: float = 1.0,
        keys: Sequence[int] | None = None,
    ) -> None:
        self.y, self.parameters, self.degradation = y, parameters, degradation
        self.temperature = check_temperature(temperature)
        self.calibration = check_number(calibration, "calibration")
        self.keys = tuple(range(len(y))) if keys is None else _check_keys(keys, len(y))
        self._cache: dict[tuple[str, bool], Any] = {}

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.event_shape))
        factors = f"temperature={self.temperature:g}, calibration={self.calibration:g}"
        return f"SRSpace(batch={len(self.y)}, images={shape}, {self.degradation}, {factors})"

    def __getstate__(self) -> dict[str, Any]:
        """For deep copies and pickles: neither can hold tensors that have a gradient's graph."""
        parameters = self.parameters.map_tensors(Tensor.detach)
        return {**vars(self), "y": self.y.detach(), "parameters": parameters, "_cache": {}}

    def __copy__(self) -> "SRSpace":
        return self._with()

    @property
    def batch_shape(self) -> torch.Size:
        """(B,)"""
        return self.y.shape[:1]

    @property
    def event_shape(self) -> torch.Size:
        """(channels, H, W)"""
        return self.parameters.deterministic.shape[1:]

    @property
    def is_gaussian(self) -> bool:
        """Whether the space is a Gaussian over images, so that its closed forms hold."""
        return self.parameters.refine is None and self.parameters.basis is None

    def to(self, device: torch.device | str) -> "SRSpace":
        """The same space on another device: its samples are the same images up to rounding."""
        return self._with(y=self.y.to(device), parameters=self.parameters.to(device), _cache={})

    def with_temperature(self, temperature: float) -> "SRSpace":
        """The same space with another default temperature of its samples."""
        return self._with(temperature=check_temperature(temperature))

    def with_calibration(self, calibration: float) -> "SRSpace":
        """The same space with another factor on its standard deviation."""
        return self._with(calibration=check_number(calibration, "calibration"))

    def with_keys(self, keys: Sequence[int]) -> "SRSpace":
        """The same space with other keys of its images' noise: see the class and `vspsr.space.image_key`."""
        return self._with(keys=_check_keys(keys, len(self.y)))

    def grey(self) -> "SRSpace":
        """The space of the mean over the colour channels, one channel: for LR images that are grey.

        Raises:
            NotGaussianError: the space is not linear in its coefficients.
        """
        self._require_gaussian("grey")
        p, groups = self.parameters, self.parameters.atoms.shape[1]
        # Channels with coefficients of their own become one channel with the coefficients of all.
        parameters = replace(
            p,
            deterministic=p.deterministic.mean(1, keepdim=True),
            atoms=p.atoms.mean(3, keepdim=True).flatten(1, 2)[:, None] / groups,
            coefficient_mean=None if p.coefficient_mean is None else p.coefficient_mean.flatten(1, 2)[:, None],
            coefficient_log_var=None if p.coefficient_log_var is None else p.coefficient_log_var.flatten(1, 2)[:, None],
        )
        return self._with(y=self.y.mean(1, keepdim=True), parameters=parameters, _cache={})

    @property
    def mean(self) -> Tensor:
        """Exact mean, Π(μ + Σ m·atom; y): (B, 3, H, W). NotGaussianError if there is no closed form."""
        self._require_gaussian("mean")
        return self._cached("mean", lambda: torch.cat([self._project(x, b) for b, x in enumerate(self._centre)]))

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each pixel times the calibration: (B, 3, H, W), no gradient.

        The standard deviation of the model's Gaussian is exact, projection included:
        diag((I − D⁺D) Σ (I − D⁺D)ᵀ) with Σ the covariance of z (see `vspsr.space.variance`). How well it agrees with
        real errors is a matter of the model: `calibration` scales it to agree on average over validation photographs.
        Of correlated coefficients it is estimated from 100 samples: see `stddev_error`.
        The temperature has no influence. NotGaussianError if there is no closed form.
        """
        self._require_gaussian("stddev")
        return self.calibration * self._cached("stddev", self._unit_stddev, gradient=False)

    @property
    def stddev_error(self) -> Tensor:
        """Standard error of `stddev`, (B, 3, H, W): 0 where it is exact, σ/√200 where it is estimated."""
        exact = self.parameters.chain is None
        return self.stddev * (0.0 if exact else (2 * _ESTIMATE) ** -0.5)

    def sample(self, n: int = 1, seed: int = 0, temperature: float | None = None) -> Tensor:
        """n images of the space: (n, B, 3, H, W). The network is not called; no gradient is kept.

        Sample i of a seed is the same image however many are drawn, and alone or in a batch as long as the image's
        key is the same. Values may leave [0, 1] a little: `quantize` brings them to integers in range.

        Args:
            n: number of samples, ≥ 0.
            seed: ≥ 0.
            temperature: factor on every σ; None for the space's own.

        Raises:
            ValueError: an argument out of its range.
        """
        images = self.iter_samples(n, seed, temperature)
        out = self.parameters.deterministic.new_empty(int(n), *self.parameters.deterministic.shape)
        for i, image in enumerate(images):
            out[i] = image
        return out

    def rsample(self, n: int = 1, seed: int = 0, temperature: float | None = None) -> Tensor:
        """`sample`, differentiable in the parameters of the space (reparametrised)."""
        n, seed = check_integer(n, "n", 0, _MOST), check_seed(seed)
        images = [self._draw(partial(self._noise, seed, i), temperature) for i in range(n)]
        return torch.stack(images) if images else self.sample(0)

    def iter_samples(
        self, n: int = 1, seed: int = 0, temperature: float | None = None, start: int = 0
    ) -> Iterator[Tensor]:
        """Samples ``start`` … ``start + n − 1`` one by one, each (B, 3, H, W): as `sample`, in the memory of one."""
        n, start = check_integer(n, "n", 0, _MOST), check_integer(start, "start", 0, _MOST)
        seed = check_seed(seed)
        temperature = self.temperature if temperature is None else check_temperature(temperature)
        draw = torch.no_grad()(self._draw)
        return (draw(partial(self._noise, seed, i), temperature) for i in range(start, start + n))

    @torch.no_grad()
    def interpolate(self, seed_a: int, seed_b: int, t: float, temperature: float | None = None) -> Tensor:
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
        if not isinstance(t, Real) or not 0 <= t <= 1:
            raise ValueError(f"`t` must lie in [0, 1], got {t!r}")
        a, b = (partial(self._noise, check_seed(s, n), 0) for s, n in ((seed_a, "seed_a"), (seed_b, "seed_b")))
        # At the ends exactly the samples themselves: cos(π/2) is not 0 in floating point.
        u, v = (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)) if 0 < t < 1 else (1.0 - t, t)
        return self._draw(lambda *block: u * a(*block) + v * b(*block), temperature)

    def _with(self, **changes: Any) -> "SRSpace":
        """A shallow copy with other attributes; what is computed once is shared unless `_cache` is among them."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), **changes)
        return other

    def _require_gaussian(self, what: str) -> None:
        if not self.is_gaussian:
            raise NotGaussianError(
                f"`{what}` has no closed form: the model's stochastic basis or refinement makes the space "
                "non-Gaussian; estimate it from `sample`"
            )

    def _cached(self, name: str, build: Callable[[], Any], gradient: bool = True) -> Any:
        """Something computed once: once more with a gradient, if one is wanted and the first had none.

        It is built outside of inference mode and of autocast, whatever mode the first caller is in.
        """
        graph = gradient and torch.is_grad_enabled()
        graph = graph and any(t.requires_grad for t in (self.y, *self.parameters.tensors()))
        if (name, graph) not in self._cache:
            autocast = torch.autocast(self.y.device.type, enabled=False)
            with torch.inference_mode(False), torch.set_grad_enabled(graph), torch.device("cpu"), autocast:
                self._cache[name, graph] = build()
        return self._cache[name, graph]

    @property
    def _centre(self) -> Tensor:
        """μ plus the patches of the mean coefficients: (B, 3, H, W)."""
        p = self.parameters
        if p.coefficient_mean is None:
            return p.deterministic
        mean, scale = p.coefficient_mean, self.degradation.scale
        return self._cached("centre", lambda: p.deterministic + synthesize(mean, p.atoms, scale))

    def _unit_stddev(self) -> Tensor:
        """`stddev` for calibration 1."""
        p = self.parameters
        if p.chain is not None:
            squares = torch.zeros_like(p.deterministic)
            for i in range(_ESTIMATE):
                squares += self._draw(partial(self._noise, _ESTIMATE_SEED, i), 1.0).sub_(self.mean).square_()
            return squares.div_(_ESTIMATE).sqrt_()
        if p.coefficient_log_var is None:
            return torch.zeros_like(p.deterministic)
        return projected_variance(p.coefficient_log_var.exp(), p.atoms, self.degradation).sqrt()

    def _noise(self, seed: int, sample: int, b: int, channels: int, row: int) -> Tensor:
        """The noise of image b in a row of blocks. It is drawn on the CPU, whatever the device."""
        return noise_rows(seed, sample, self.keys[b], channels, row, self.y.shape[-1])

    def _draw(self, noise: Callable[[int, int, int], Tensor], temperature: float | None) -> Tensor:
        """One member of the space for the noise of (image, channels, row): (B, 3, H, W), each image by itself."""
        t = self.temperature if temperature is None else check_temperature(temperature)
        with torch.autocast(self.y.device.type, enabled=False):
            images = [self._draw_one(b, partial(noise, b), t) for b in range(len(self.y))]
        return images[0] if len(images) == 1 else torch.cat(images)

    def _draw_one(self, b: int, noise: Noise, temperature: float) -> Tensor:
        """Image b alone: (1, 3, H, W)."""
        sampler = self._cached("sampler", lambda: Sampler.build(self.parameters, self.degradation.scale))
        if not self.is_gaussian:
            x = self.parameters.deterministic[b : b + 1] + sampler.nonlinear(b, noise, temperature)
            return self._project(x[0], b)
        x, p = self._centre[b : b + 1], self.parameters
        if temperature > 0 and (p.coefficient_log_var is not None or p.chain is not None):
            x = x + sampler.linear(b, noise, temperature)
        return self._project(x[0], b)

    def _project(self, x: Tensor, b: int) -> Tensor:
        """Π of image b, (3, H, W) → (1, 3, H, W)."""
        return project_unchecked(x[None], self.y[b : b + 1], self.degradation)


def _check_keys(keys: Sequence[int], count: int) -> tuple[int, ...]:
    checked = tuple(check_integer(key, "keys", 0, 2**64 - 1) for key in keys)
    if len(checked) != count:
        raise ValueError(f"`keys` must be one for each of {count} images, got {len(checked)}")
    return checked
