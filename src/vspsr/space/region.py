"""A part of a picture's space, computed from that part and a margin alone.

The HR pixels of some LR pixels depend on noise as far as A reaches, and, through the projection Π, on all LR pixels of
the picture; but the entries of D⁺ fall by a factor of about 3 with each LR pixel (bicubic). So the region is cut out
with a margin and treated as a picture of its own: A's reach, plus what D overlaps, plus as many LR pixels as D⁺ needs
to fall below a tolerance (1e-7 in float32, 14 LR pixels for bicubic; 1e-10 in float64). Where the margin meets the
picture's border it ends there, and nothing is cut.
"""

import torch
from torch import Tensor

from vspsr.checks import check_image, check_integer, check_seed, check_types, tensor_text, value_text
from vspsr.space.bands import widened
from vspsr.space.base import SpaceBase
from vspsr.space.nearest import LikelihoodRatio, likelihood_ratio
from vspsr.space.observations import as_numbers
from vspsr.space.principal_components import PrincipalComponents, leading_eigenpairs

_COMPONENT_TOLERANCE = 0.1  # of D⁺ in the margin of principal components: changes variances by about 0.1 %
_RESIDUAL, _PRODUCTS = 0.002, 32  # where the search for them ends; the products for each of them
_BLOCK = 4  # vectors multiplied at once
_PROBES = 16  # random vectors that the variance outside of the components' space is estimated from


class Region:
    """The space of a part of a picture: see `SRSpace.region`.

    Attributes:
        space: of the whole picture.
        top, left, height, width: of the region, in LR pixels.
    """

    def __init__(self, space: SpaceBase, top: int, left: int, height: int, width: int) -> None:
        check_types(space=(space, SpaceBase))
        h, w = space.y.shape[-2:]
        self.space = space
        self.top, self.left = check_integer(top, "top", 0, h - 1), check_integer(left, "left", 0, w - 1)
        self.height = check_integer(height, "height", 1, h - self.top)
        self.width = check_integer(width, "width", 1, w - self.left)
        self._window = self._surroundings(space)

    def __repr__(self) -> str:
        return f"Region(top={self.top}, left={self.left}, height={self.height}, width={self.width})"

    @property
    def mean(self) -> Tensor:
        """Mean of the region: (channels, s·height, s·width)."""
        return self._own(self._window, self._window.mean)[0]

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the region's pixels, as `SRSpace.stddev`: (channels, s·height, s·width)."""
        return self._own(self._window, self._window.stddev)[0]

    def stddev_at(self, temperature: float | Tensor) -> Tensor:
        """The region's part of `SRSpace.stddev_at`, a map being of the whole picture: (channels, s·height, s·width)."""
        window = self._surroundings(self.space.with_temperature(temperature))
        return self._own(window, window.stddev_at(window.temperature))[0]

    def sample(self, n: int = 1, seed: int = 0, temperature: float | Tensor | None = None) -> Tensor:
        """The region's part of the whole picture's samples: (n, channels, s·height, s·width).

        Args:
            n, seed: as in `SRSpace.sample`.
            temperature: factor on every σ; or a map of it for the whole picture; None for the space's own.
        """
        space = self.space if temperature is None else self.space.with_temperature(temperature)
        window = self._window if space is self.space else self._surroundings(space)
        return self._own(window, window.sample(n, seed)[:, 0])

    @torch.no_grad()
    def corrected(self, x: Tensor) -> Tensor:
        """The region's part of `corrected` of the space: (channels, s·height, s·width).

        Args:
            x: (channels, s·height, s·width) of the `surroundings`, of a member of the space without the conditions.

        Raises:
            ValueError: x has another shape.
        """
        window = self._window
        if not isinstance(x, Tensor) or x.shape != window.event_shape:
            raise ValueError(f"`x` must have the shape {tuple(window.event_shape)}, got {tensor_text(x)}")
        return self._own(window, window.corrected(x[None].to(window.y)))[0]

    def principal_components(self, k: int, seed: int = 0) -> PrincipalComponents:
        """The k directions along which the region varies most, found by products with the covariance alone.

        Args:
            k: number of directions, 1 … the number of the region's HR values that an exact y does not fix.
            seed: of the random vectors that the search begins with.

        Returns:
            Components whose variances have a relative error of at most `residual`, and nearly its square where they
            are well separated; the search goes on until that is 0.2 %, or for 32·k products at most. The first j
            directions span the true space of j to within a sine of `residual` over the relative gap to the variance of
            the next: to 2° at a gap of 6 % at worst, mostly at 1 %. Directions of nearly equal variance are found as a
            group, not one by one. The shares `explained` have a standard error of about 2 % of themselves, because the
            region's whole variance is estimated.

        Raises:
            ValueError: k out of its range.
        """
        free = self._shape[0] * self.height * self.width * (self.space.degradation.scale**2 - 1)
        k, seed = check_integer(k, "k", 1, free), check_seed(seed)
        return self.space._computed(lambda: self._leading(k, seed))

    def _leading(self, k: int, seed: int) -> PrincipalComponents:
        window = self._surroundings(self.space, _COMPONENT_TOLERANCE)
        covariance, shape = window._covariance(), self._shape
        generator = torch.Generator().manual_seed(seed % 2**63)

        def product(x: Tensor) -> Tensor:
            whole = self._embedded(window, x.unflatten(1, shape))
            return self._own(window, covariance.product(whole)).flatten(1)

        n = shape[0] * shape[1] * shape[2]
        start = torch.randn(_BLOCK + _PROBES, n, generator=generator, dtype=torch.float32).to(self.space.y)
        values, vectors, residuals, basis, trace_within = leading_eigenpairs(
            product, start[:_BLOCK], k, _RESIDUAL, _PRODUCTS * k
        )
        # Hutch++ (Meyer, Musco, Musco & Woodruff, 2021): the trace is exact within the space, estimated outside of it.
        probes = start[_BLOCK:]
        probes = probes - (probes @ basis.T) @ basis
        outside = float(covariance.quadratic(self._embedded(window, probes.unflatten(1, shape))).mean())
        statistics = (values.sqrt(), values / (trace_within + outside), residuals / values)
        return PrincipalComponents(vectors.unflatten(1, shape), *(s.to(vectors) for s in statistics))

    @torch.no_grad()
    def along(self, components: PrincipalComponents, amounts: Tensor, base: Tensor | None = None) -> Tensor:
        """The whole picture with the region moved along its components: (1, channels, H, W).

        What lies outside of the region follows as its conditional mean, so that there is no seam: moved by a along
        direction v of variance λ, the whole moves by a·C v / √λ.

        Args:
            components: of this region.
            amounts: (k,), how many σ along each.
            base: what is moved, (channels, H, W) or (1, channels, H, W); None for the mean. What
                it downscales to stays, unless the LR image is noisy.

        Raises:
            ValueError: amounts of another number than components or not finite, a base of another shape or not
                finite, components of a region of another size.
        """
        check_types(components=(components, PrincipalComponents))
        amounts = as_numbers(amounts, "amounts", components.stddev)
        if amounts.shape != components.stddev.shape or not bool(amounts.isfinite().all()):
            count, got = len(components.stddev), value_text(amounts)
            raise ValueError(f"`amounts` must be {count} numbers, all finite, got {got}")
        self._check_own(components)
        base = self.space._as_picture(self.space.mean if base is None else base, "base")
        weights = (amounts / components.stddev)[:, None, None, None]
        shift = self._shift((weights * components.directions).sum(0, keepdim=True))
        return self.space._moved(base, shift, self.surroundings[:2])

    def likelihood_ratio(self, patch_a: Tensor, patch_b: Tensor, stddev: float = 4 / 255) -> LikelihoodRatio:
        """`SRSpace.likelihood_ratio` of two candidates for the region, around which both have the mean.

        Args:
            patch_a, patch_b: (channels, s·height, s·width); ValueError for another shape.
            stddev: as there.
        """
        window, pictures = self._window, []
        for name, patch in (("patch_a", patch_a), ("patch_b", patch_b)):
            check_image(patch, name)
            if patch.shape != self._shape:
                raise ValueError(f"`{name}` must have the shape {self._shape}, got {tensor_text(patch)}")
            picture = window.mean.clone()
            self._own(window, picture).copy_(patch)
            pictures.append(picture)
        return likelihood_ratio(window, pictures[0], pictures[1], stddev)

    @property
    def surroundings(self) -> tuple[int, int, int, int]:
        """(top, left, height, width) in LR pixels of the part of the picture that moves with the region."""
        return (*self._window._origin, *self._window.y.shape[-2:])

    @torch.no_grad()
    def shifts(self, components: PrincipalComponents) -> Tensor:
        """What one σ along each component changes in the `surroundings`: (k, channels, s·height, s·width) of those.

        `along` adds ``amounts`` times these: any number of blends can be made without the space.
        """
        check_types(components=(components, PrincipalComponents))
        self._check_own(components)
        return self._shift(components.directions / components.stddev[:, None, None, None])

    def _check_own(self, components: PrincipalComponents) -> None:
        if (found := tuple(components.directions.shape[1:])) != self._shape:
            raise ValueError(f"`components` must be of a region {self._shape}, got those of one {found}")

    @property
    def _shape(self) -> tuple[int, int, int]:
        s = self.space.degradation.scale
        return (self.space.y.shape[1], s * self.height, s * self.width)

    def _shift(self, x: Tensor) -> Tensor:
        """C x of images of the region, on its surroundings."""
        return self._window._covariance().product(self._embedded(self._window, x))

    def _surroundings(self, space: SpaceBase, tolerance: float | None = None) -> SpaceBase:
        """The space of the region with a margin: see `SpaceBase._margin`."""
        own = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return space._crop(*widened(own, space._margin(tolerance), space.y.shape[-2:]))

    def _own(self, window: SpaceBase, x: Tensor) -> Tensor:
        """The region's part of images of a window."""
        s = self.space.degradation.scale
        top, left = (s * (i - o) for i, o in zip((self.top, self.left), window._origin, strict=True))
        return x[..., top : top + s * self.height, left : left + s * self.width]

    def _embedded(self, window: SpaceBase, x: Tensor) -> Tensor:
        """Images of the region as images of a window, 0 around them."""
        s = self.space.degradation.scale
        out = x.new_zeros(*x.shape[:-2], s * window.y.shape[-2], s * window.y.shape[-1])
        self._own(window, out).copy_(x)
        return out
