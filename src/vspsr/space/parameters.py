"""What a network returns: the parameters of the SR spaces of a batch of LR images.

Colour is handled in G groups of 3/G channels: G = 3 gives each channel coefficients of its own (the paper), G = 1
lets atoms be patches in colour.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vspsr.checks import tensor_text
from vspsr.space.synthesis import IndependentNoise, NoiseChain, Synthesis


@dataclass(frozen=True)
class StochasticBasis:
    """Gaussian codes of the atoms.

    Attributes:
        mean, log_var: (B, G, C).
        decoder: an affine module that maps a code (N, C, 1, 1) to atoms (N, C, k, k).
    """

    mean: Tensor
    log_var: Tensor
    decoder: nn.Module

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, G, C) → atoms (B, G, C, 1, k, k)."""
        atoms: Tensor = self.decoder(code.flatten(0, 1)[..., None, None])
        return atoms.unflatten(0, code.shape[:2])[:, :, :, None]


@dataclass(frozen=True)
class SpaceParameters:
    """Parameters of the SR space of a batch of B LR images of h×w pixels, at scale s: H = s·h, W = s·w.

    Attributes:
        deterministic: μ, (B, 3, H, W), images in [0, 1] up to overshoot.
        atoms: (B, G, C, 3/G, k, k), k − s even and ≥ 0.
        coefficient_mean: m, (B, G, C, h, w), or None for 0.
        coefficient_log_var: log σ², (B, G, C, h, w), or None if coefficients are correlated or not random.
        basis: distribution that ``atoms`` are the mean of, or None for a deterministic basis.
        refine: a nonlinear module (B, 3, H, W) → (B, 3, H, W) applied to the stochastic part, or None.
        chain: of correlated coefficients, or None.
    """

    deterministic: Tensor
    atoms: Tensor
    coefficient_mean: Tensor | None
    coefficient_log_var: Tensor | None
    basis: StochasticBasis | None = None
    refine: nn.Module | None = None
    chain: NoiseChain | None = None

    by_place: ClassVar[bool] = False
    """Whether they are computed where they are needed: the picture is large, and is made in bands."""

    @property
    def is_linear(self) -> bool:
        """Whether the stochastic part is linear in the noise."""
        return self.refine is None and self.basis is None

    @property
    def is_random(self) -> bool:
        """Whether coefficients are."""
        return self.chain is not None or self.coefficient_log_var is not None

    def check_fits(self, y: Tensor, scale: int) -> None:
        """ValueError unless they are of images of `scale` times the size of LR images (B, C, h, w), of their dtype."""
        size, made = (*y.shape[:-2], *(scale * n for n in y.shape[-2:])), self.deterministic
        if y.ndim != 4 or tuple(made.shape) != size or made.dtype != y.dtype:
            raise ValueError(
                f"`parameters` must be of images {scale} times as large as `y` {tensor_text(y)}, of its dtype, got "
                f"{tensor_text(made)}"
            )

    def tensors(self) -> list[Tensor]:
        """Every tensor, in the order in which `map_tensors` visits them."""
        found: list[Tensor] = []
        self.map_tensors(lambda t: found.append(t) or t)  # type: ignore[func-returns-value]
        return found

    def map_tensors(
        self, function: Callable[[Tensor], Tensor], shared: Callable[[Tensor], Tensor] | None = None
    ) -> "SpaceParameters":
        """The same parameters with ``function`` applied to every tensor; ``shared`` to those without a batch axis."""
        tensors: dict[str, Any] = {k: function(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        basis = self.basis and replace(self.basis, mean=function(self.basis.mean), log_var=function(self.basis.log_var))
        chain = self.chain and self.chain.map_tensors(function, shared or function)
        return replace(self, **tensors, basis=basis, chain=chain)

    def map_planes(self, function: Callable[[Tensor, int], Tensor], scale: int) -> "SpaceParameters":
        """The same parameters with ``function``, of a tensor (…, n·h, n·w) and n, applied to those tensors."""
        mean, log_var, chain = self.coefficient_mean, self.coefficient_log_var, self.chain
        return replace(
            self,
            deterministic=function(self.deterministic, scale),
            coefficient_mean=None if mean is None else function(mean, 1),
            coefficient_log_var=None if log_var is None else function(log_var, 1),
            chain=chain and replace(chain, gains=function(chain.gains, 1), output_gain=function(chain.output_gain, 1)),
        )

    def crop(self, rows: slice, columns: slice, scale: int) -> "SpaceParameters":
        """The parameters of some LR pixels."""

        def cut(t: Tensor, n: int) -> Tensor:
            return t[..., n * rows.start : n * rows.stop, n * columns.start : n * columns.stop]

        return self.map_planes(cut, scale)

    def whole(self) -> "SpaceParameters":
        """Parameters whose tensors are valid everywhere."""
        return self

    def grey(self) -> "SpaceParameters":
        """Those of the mean over the colour channels, one channel; the stochastic part must be linear."""
        # Channels with coefficients of their own become one channel with the coefficients of all.
        mean, log_var = self.coefficient_mean, self.coefficient_log_var
        return replace(
            self,
            deterministic=self.deterministic.mean(1, keepdim=True),
            atoms=self.atoms.mean(3, keepdim=True).flatten(1, 2)[:, None] / self.atoms.shape[1],
            coefficient_mean=None if mean is None else mean.flatten(1, 2)[:, None],
            coefficient_log_var=None if log_var is None else log_var.flatten(1, 2)[:, None],
        )

    @staticmethod
    def stack(parts: "Sequence[SpaceParameters]") -> "SpaceParameters":
        """The parameters of several images as those of a batch."""
        columns = zip(*(part.tensors() for part in parts), strict=True)
        return parts[0].map_tensors(lambda _: torch.cat(next(columns)), lambda _: next(columns)[0])

    def synthesis(self, scale: int) -> Synthesis | None:
        """A, from white noise to the stochastic part at temperature 1; None if coefficients are not random."""
        if self.chain is not None:
            return Synthesis(self.atoms, scale, self.chain)
        if self.coefficient_log_var is not None:
            return Synthesis(self.atoms, scale, IndependentNoise((0.5 * self.coefficient_log_var).exp()))
        return None

    def to(self, device: torch.device | str) -> "SpaceParameters":
        """The same parameters on another device; modules are copied, because `Module.to` works in place."""
        moved = self.map_tensors(lambda t: t.to(device))
        basis = moved.basis and replace(moved.basis, decoder=copy.deepcopy(moved.basis.decoder).to(device))
        refine = self.refine and copy.deepcopy(self.refine).to(device)
        return replace(moved, basis=basis, refine=refine)
