"""What spaces have in common: their state, copies of them with other settings or of a part, and drawing one member."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from vspsr.checks import check_image, check_image_keys, check_integer, check_number, check_temperature, check_types
from vspsr.consistency.projection import project_unchecked, shifted
from vspsr.degradation.banded import cpu_by_default
from vspsr.degradation.operator import Degradation
from vspsr.errors import VSpSRError
from vspsr.space.bands import fill_by_bands
from vspsr.space.covariance import Covariance
from vspsr.space.drawing import Noise, NoiseOf, Sampler
from vspsr.space.noise import BLOCK, noise_area, noise_rows
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize

EXTRA_ROW = -1  # block row of noise that belongs to the whole image

_Space = TypeVar("_Space", bound="SpaceBase")
_T = TypeVar("_T")


class NotGaussianError(VSpSRError):
    """A closed form was asked of a space that is not Gaussian."""


class SpaceBase(ABC):
    """See `vspsr.space.SRSpace`."""

    def __init__(
        self,
        y: Tensor,
        parameters: SpaceParameters,
        degradation: Degradation,
        temperature: float | Tensor = 1.0,
        calibration: float = 1.0,
        keys: Sequence[int] | None = None,
    ) -> None:
        check_types(y=(y, Tensor), parameters=(parameters, SpaceParameters), degradation=(degradation, Degradation))
        parameters.check_fits(y, degradation.scale)
        self.y, self.parameters, self.degradation = y, parameters, degradation
        self.temperature = self._check_temperature(temperature)
        self.calibration = check_number(calibration, "calibration")
        self.keys = tuple(range(len(y))) if keys is None else check_image_keys(keys, len(y))
        self._origin = (0, 0)  # LR pixel of the whole picture at which this part of it begins
        self._cache: dict[tuple[str, bool], Any] = {}

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.event_shape))
        temperature = "map" if isinstance(self.temperature, Tensor) else f"{self.temperature:g}"
        settings = f"{self.degradation}, temperature={temperature}, calibration={self.calibration:g}"
        return f"{type(self).__name__}(batch={len(self.y)}, images={shape}, {settings})"

    def __getstate__(self) -> dict[str, Any]:
        """For deep copies and pickles: neither can hold tensors that have a gradient's graph."""
        parameters = self.parameters.whole().map_tensors(Tensor.detach)
        own = {name: v.detach() if isinstance(v, Tensor) else v for name, v in vars(self).items()}
        return own | {"parameters": parameters, "_cache": {}}

    def __copy__(self) -> Self:
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
        return self.parameters.is_linear

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """(B, channels, H, W)"""

    @property
    @abstractmethod
    def stddev(self) -> Tensor:
        """(B, channels, H, W)"""

    @abstractmethod
    def stddev_at(self, temperature: float | Tensor) -> Tensor:
        """(B, channels, H, W)"""

    @abstractmethod
    def sample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> Tensor:
        """(n, B, channels, H, W)"""

    def corrected(self, x: Tensor) -> Tensor:
        """A member, changed no more than the `observations` ask for: itself without any. (1, channels, H, W)

        Args:
            x: (channels, H, W) or (1, channels, H, W).

        Raises:
            ValueError: another shape, values that are not finite.
        """
        return self._as_picture(x, "x")

    def to(self, device: torch.device | str) -> Self:
        """The same space on another device: its samples are the same images up to rounding."""
        check_types(device=(device, str | torch.device))
        temperature = self.temperature.to(device) if isinstance(self.temperature, Tensor) else self.temperature
        parameters = self.parameters.whole().to(device)
        return self._with(**self._map_lr(lambda t: t.to(device)), parameters=parameters, temperature=temperature)

    def with_temperature(self, temperature: float | Tensor) -> Self:
        """The same space with another default temperature of its samples.

        Args:
            temperature: ≥ 0; or a map of it, (h, w), one for each LR pixel: more or less texture by place. The patch
                of an LR pixel is scaled by its temperature; patches overlap, so that places blend.

        Raises:
            ValueError: a negative temperature, a map of another shape.
            NotGaussianError: a map for a space that is not Gaussian.
        """
        return self._with(temperature=self._check_temperature(temperature))

    def with_calibration(self, calibration: float) -> Self:
        """The same space with another factor on its standard deviation."""
        return self._with(calibration=check_number(calibration, "calibration"))

    def with_keys(self, keys: Sequence[int]) -> Self:
        """The same space with other keys of its images' noise: see the class and `vspsr.space.image_key`."""
        return self._with(keys=check_image_keys(keys, len(self.y)))

    def select(self, image: int) -> Self:
        """The space of one image of the batch, B = 1."""
        i = check_integer(image, "image", 0, len(self.y) - 1)
        parameters = self.parameters.whole().map_tensors(lambda t: t[i : i + 1], lambda t: t)
        return self._with(**self._map_lr(lambda t: t[i : i + 1]), parameters=parameters, keys=self.keys[i : i + 1])

    def grey(self) -> Self:
        """The space of the mean over the colour channels, one channel: for LR images that are grey.

        Raises:
            NotGaussianError: the space is not linear in its coefficients.
        """
        self._require_gaussian("grey")
        return self._with(y=self.y.mean(1, keepdim=True), parameters=self.parameters.grey())

    def _with(self, **changes: Any) -> Self:
        """A shallow copy with other attributes; what is computed once is shared unless y is among them."""
        if "y" in changes:
            changes["_cache"] = {}
        return self._as(type(self), **changes)

    def _as(self, kind: type[_Space], **changes: Any) -> _Space:
        """`_with` as an instance of another class."""
        other = object.__new__(kind)
        vars(other).update(vars(self), **changes)
        return other

    def _map_lr(self, function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """``function`` of the attributes that are images of the LR image's shape."""
        return {"y": function(self.y)}

    def _crop(self, rows: slice, columns: slice) -> "SpaceBase":
        """The space of a part, LR pixels rows × columns, as if it was the whole, with the noise of its place.

        It is that of the whole except near cut edges: see `vspsr.space.region`.
        """
        scale, temperature = self.degradation.scale, self.temperature
        if isinstance(temperature, Tensor):
            temperature = temperature[rows, columns]
        return self._with(
            **self._map_lr(lambda t: t[..., rows, columns]),
            parameters=self.parameters.crop(rows, columns, scale),
            temperature=temperature,
            _origin=(self._origin[0] + rows.start, self._origin[1] + columns.start),
        )

    def _margin(self, tolerance: float | None = None) -> int:
        """LR pixels around a part of the picture that determine it up to a relative error; None for rounding errors."""
        reach = 0 if (a := self.parameters.synthesis(self.degradation.scale)) is None else a.reach
        usual = 1e-10 if self.y.dtype == torch.float64 else 1e-7
        return reach + self.degradation.reach(usual if tolerance is None else tolerance)

    def _by_bands(self, part: Callable[[Any, slice], Tensor]) -> Tensor:
        """(1, channels, H, W), of a large picture. ``part``: a window of the space and its LR rows → its image."""
        out, w, scale = self.y.new_empty(1, *self.event_shape), slice(0, self.y.shape[-1]), self.degradation.scale
        return fill_by_bands(out, scale, self._margin(), lambda rows: part(self._crop(rows, w), rows))

    def _covariance(self) -> Covariance:
        """Products with the covariance of the space of one image."""
        synthesis = self.parameters.whole().synthesis(self.degradation.scale)
        assert synthesis is not None
        return Covariance(synthesis, self.degradation, self.calibration)

    def _moved(self, x: Tensor, shift: Tensor, origin: tuple[int, int]) -> Tensor:
        """x (1, channels, H, W) plus a shift of a part that begins at an LR pixel. What x downscales to stays."""
        degradation = self.degradation
        return project_unchecked(shifted(x, shift, origin, degradation.scale), degradation.down(x), degradation)

    def _as_picture(self, x: Tensor, name: str) -> Tensor:
        """One picture, (channels, H, W) or (1, channels, H, W), as the latter, of the dtype of the space."""
        check_image(x, name)
        shape = tuple(self.event_shape)
        if tuple(x.shape) not in (shape, (1, *shape)):
            raise ValueError(f"`{name}` must have the shape {shape}, got {tuple(x.shape)}")
        return x.to(self.y).view(1, *shape)

    def _require_gaussian(self, what: str) -> None:
        if not self.is_gaussian:
            raise NotGaussianError(
                f"`{what}` has no closed form: the model's stochastic basis or refinement makes the space "
                "non-Gaussian; estimate it from `sample`"
            )

    def _require_one(self, what: str) -> None:
        """ValueError or NotGaussianError unless this is a Gaussian over one picture, with more than one member."""
        self._require_gaussian(what)
        if len(self.y) != 1:
            raise ValueError(f"`{what}` needs the space of one image, got {len(self.y)}: take one by `space.select(0)`")
        if not self.parameters.is_random or self.calibration == 0:
            why = "its calibration is 0" if self.parameters.is_random else "its coefficients are not random"
            raise NotGaussianError(f"`{what}` needs detail that is random: {why}")

    def _check_temperature(self, temperature: float | Tensor) -> float | Tensor:
        if not isinstance(temperature, Tensor) or temperature.ndim == 0:
            return check_temperature(temperature.item() if isinstance(temperature, Tensor) else temperature)
        self._require_gaussian("temperature map")
        if temperature.shape != (size := tuple(self.y.shape[-2:])):
            raise ValueError(f"`temperature` must be a number or a map {size}, got {tuple(temperature.shape)}")
        if not bool((temperature >= 0).all()) or not bool(temperature.isfinite().all()):
            raise ValueError("`temperature` must be a map of finite numbers of at least 0")
        return temperature.to(self.y, copy=True)

    def _cached(self, name: str, build: Callable[[], _T], gradient: bool = True) -> _T:
        """Something computed once: once more with a gradient, if one is wanted and the first had none."""
        tensors = (self.y, *self.parameters.tensors())
        graph = gradient and torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if (name, graph) not in self._cache:
            self._cache[name, graph] = self._computed(build, graph)
        return self._cache[name, graph]

    def _computed(self, build: Callable[[], _T], graph: bool = False) -> _T:
        """What is built outside of inference mode and of autocast, whatever mode the caller is in."""
        autocast = torch.autocast(self.y.device.type, enabled=False)
        with torch.inference_mode(False), torch.set_grad_enabled(graph), cpu_by_default(), autocast:
            return build()

    @property
    def _centre(self) -> Tensor:
        """μ plus the patches of the mean coefficients: (B, 3, H, W)."""
        p, scale = self.parameters, self.degradation.scale
        if (mean := p.coefficient_mean) is None:
            return p.deterministic
        return self._cached("centre", lambda: p.deterministic + synthesize(mean, p.atoms, scale))

    def _noise(self, seed: int, sample: int, b: int, channels: int, row: int) -> Tensor:
        """The noise of image b in a row of blocks. It is drawn on the CPU, whatever the device."""
        if row == EXTRA_ROW:
            return noise_rows(seed, sample, self.keys[b], channels, 2**31, BLOCK)
        top, left = self._origin
        rows = slice(top + BLOCK * row, top + BLOCK * (row + 1))
        return noise_area(seed, sample, self.keys[b], channels, rows, slice(left, left + self.y.shape[-1]))

    def _draw(self, noise: NoiseOf, temperature: float | Tensor | None) -> Tensor:
        """One member of the space for the noise of (image, channels, row): (B, 3, H, W), each image by itself."""
        t = self.temperature if temperature is None else self._check_temperature(temperature)
        with torch.autocast(self.y.device.type, enabled=False):
            images = [self._draw_one(b, partial(noise, b), t) for b in range(len(self.y))]
        return images[0] if len(images) == 1 else torch.cat(images)

    def _draw_one(self, b: int, noise: Noise, temperature: float | Tensor) -> Tensor:
        """Image b alone: (1, 3, H, W)."""
        if self.parameters.by_place:

            def drawn(window: SpaceBase, rows: slice) -> Tensor:
                t = temperature[rows] if isinstance(temperature, Tensor) else temperature
                return window._draw_one(b, lambda channels, row: noise(channels, row + rows.start // BLOCK), t)

            return self._by_bands(drawn)
        sampler = self._cached("sampler", lambda: Sampler.build(self.parameters, self.degradation.scale))
        if self.parameters.is_linear:
            x = self._centre[b : b + 1]
            if self.parameters.is_random and (isinstance(temperature, Tensor) or temperature > 0):
                x = x + sampler.linear(b, noise, temperature)
        else:
            x = self.parameters.deterministic[b : b + 1] + sampler.nonlinear(b, noise, temperature)
        return self._project(x[0], b)

    def _project(self, x: Tensor, b: int) -> Tensor:
        """Π of image b, (3, H, W) → (1, 3, H, W)."""
        return project_unchecked(x[None], self.y[b : b + 1], self.degradation)
