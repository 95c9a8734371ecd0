"""The coefficients of an image in its basis: how sparse they are, and which atoms carry the energy.

The coefficients of one image are w_{i,c} ~ N(m_{i,c}, (T σ_{i,c})²) for LR pixel i and atom c, T the temperature of
the space. Their scale is arbitrary (an atom twice as large with a coefficient half as large is the same space); so
beside |m| and T σ there is the contribution √(m² + T²σ²) · rms(atom), the root mean square, over draws and over the
pixels of the patch, of what one atom adds to the image, in 8-bit levels. The σ of correlated coefficients are estimated
from 100 draws: their standard error is 7 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vspsr.space.estimates import ESTIMATE_SEED, sampled_stddev
from vspsr.space.sr_space import SRSpace
from vspsr.space.synthesis import NoiseChain

_DECADES = 4  # a histogram spans this many powers of ten below the largest value


@dataclass(frozen=True)
class Quantity:
    """The values of one quantity over all LR pixels and atoms of an image.

    Attributes:
        label, unit: in words; the unit is "" for a bare coefficient.
        edges: of the bins, evenly spaced in the logarithm; smaller values are counted in the first bin.
        counts: of the bins.
        below: threshold → share of the values below it, 0 … 1.
        median: of the values.
    """

    label: str
    unit: str
    edges: list[float]
    counts: list[int]
    below: dict[float, float]
    median: float


@dataclass(frozen=True)
class Sparsity:
    """How sparse an image is in its basis.

    Attributes:
        n_atoms: C, of each colour group.
        quantities: |mean| and standard deviation of the coefficients, and their contributions, as far as the model
            has them.
        effective_atoms: (Σ_c a_c²)² / Σ_c a_c⁴, with a_c the contributions at one LR pixel, averaged over the
            pixels: C where all atoms contribute alike, 1 where a single one does.
    """

    n_atoms: int
    quantities: list[Quantity]
    effective_atoms: float


def sparsity(space: SRSpace) -> Sparsity:
    """Measure the coefficients of the first image of a space.

    Raises:
        ValueError: the space has no coefficients at all (neither mean nor variance).
    """
    mean, sigma, energy = _coefficients(space)
    quantities = []
    if mean is not None:
        quantities.append(_quantity("mean of the coefficients, absolute", "", mean.abs(), (0.01, 0.1, 1.0)))
    if sigma is not None:
        quantities.append(_quantity("standard deviation of the coefficients", "", sigma, (0.01, 0.1, 1.0)))
    quantities.append(_quantity("contribution of one atom", "levels", energy.sqrt(), (0.1, 0.5, 1.0)))
    squares, fourths = energy.sum(1), energy.square().sum(1)
    effective = (squares.square() / fourths.clamp(min=1e-30))[squares > 0]
    return Sparsity(energy.shape[1], quantities, float(effective.mean()) if effective.numel() else 0.0)


def _coefficients(space: SRSpace) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """m (G, C, h, w) or None, T σ likewise, and (m² + T²σ²) · rms(atom)², in squares of levels."""
    p = space.parameters
    mean = None if p.coefficient_mean is None else p.coefficient_mean[0].double()
    sigma = None
    if p.chain is not None:
        sigma = space.temperature * _estimated_sigma(p.chain.map_tensors(lambda t: t[:1], lambda t: t))
    elif p.coefficient_log_var is not None:
        sigma = space.temperature * (0.5 * p.coefficient_log_var[0].double()).exp()
    if mean is None and sigma is None:
        raise ValueError("`space` has neither means nor variances of coefficients: there is nothing to measure")
    gain = 255 * p.atoms[0].double().square().mean((2, 3, 4)).sqrt()
    energy = torch.stack([t.square() for t in (mean, sigma) if t is not None]).sum(0)
    return mean, sigma, energy * gain.square()[:, :, None, None]


@torch.no_grad()
def _estimated_sigma(chain: NoiseChain) -> Tensor:
    """σ (1, C, h, w) of the coefficients of one image of h×w LR pixels."""
    generator, gains = torch.Generator().manual_seed(ESTIMATE_SEED), chain.gains
    shape = (1, chain.channels, *gains.shape[-2:])

    def draw(_: int) -> Tensor:
        return chain.coefficients(torch.randn(shape, generator=generator).to(gains))

    return sampled_stddev(draw, torch.zeros_like(chain.output_gain[:, None]))[0].double()


def _quantity(label: str, unit: str, values: Tensor, thresholds: Sequence[float]) -> Quantity:
    flat = values.flatten().cpu().numpy()
    top = max(float(flat.max()), 1e-12)
    edges = np.logspace(math.log10(top) - _DECADES, math.log10(top), 10 * _DECADES + 1)
    edges[-1] = top
    counts = np.histogram(np.maximum(flat, edges[0]), edges)[0]
    below = {t: float((flat < t).mean()) for t in thresholds}
    return Quantity(label, unit, edges.tolist(), counts.tolist(), below, float(np.median(flat)))


@dataclass(frozen=True)
class Basis:
    """The atoms of one image, strongest first, and the distributions of their coefficients.

    Attributes:
        atoms: (G, C, 3/G, k, k), ordered by share in each group.
        shares: (G, C), each atom's part of the energy Σ_i E[w²] · ‖atom‖² of its group; sums to 1.
        mean: m (G, C, h, w) in the same order, or None for 0.
        sigma: T σ (G, C, h, w), or None for deterministic coefficients.
    """

    atoms: Tensor
    shares: Tensor
    mean: Tensor | None
    sigma: Tensor | None


def basis(space: SRSpace) -> Basis:
    """The basis of the first image of a space. ValueError where the space has no coefficients."""
    mean, sigma, energy = _coefficients(space)
    energy = energy.mean((2, 3))
    order = energy.argsort(1, descending=True)
    groups = torch.arange(len(order), device=order.device)[:, None]

    def ordered(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[groups, order].cpu()

    shares = energy / energy.sum(1, keepdim=True).clamp(min=1e-30)
    atoms, shares = space.parameters.atoms[0][groups, order].cpu(), shares[groups, order].cpu()
    return Basis(atoms, shares, ordered(mean), ordered(sigma))
