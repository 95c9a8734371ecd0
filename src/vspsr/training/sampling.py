"""Images drawn in training: noise that is a pure function of (seed, step, crop, sample), so that a resumed run, or
one cut up over other processes, draws the same.

The noise of a crop has a generator of its own on the device that trains: the same on every machine with the same
kind of device. (`SRSpace.sample` draws its noise by blocks of an image and on the CPU, which is slower.)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vspsr.consistency.projection import project_unchecked
from vspsr.degradation.operator import Degradation
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize

__all__ = ["centre", "draw", "noise_seed", "normals", "projected"]

_NOISE = 2  # apart from the streams of the data


def noise_seed(seed: int, step: int, index: int, sample: int) -> int:
    """Seed of the noise of one sample of one crop."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_NOISE, step, index, sample))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def normals(like: Tensor, seed: int, step: int, first: int, sample: int) -> Tensor:
    """Standard normals shaped as ``like`` (B, …): crop b has the noise of index ``first`` + b."""
    out = torch.empty(like.shape, dtype=torch.float32, device=like.device)
    generator = torch.Generator(like.device)
    for b, item in enumerate(out):
        generator.manual_seed(noise_seed(seed, step, first + b, sample))
        item.normal_(generator=generator)
    return out


def centre(p: SpaceParameters, scale: int) -> Tensor:
    """The image at temperature 0, before projection: (B, 3, H, W)."""
    if p.coefficient_mean is None:
        return p.deterministic
    z = synthesize(p.coefficient_mean, p.atoms, scale)
    return p.deterministic + (z if p.refine is None else p.refine(z))


def draw(p: SpaceParameters, scale: int, temperature: float, stream: Sequence[int]) -> Tensor:
    """A sample, before projection: (B, 3, H, W), differentiable in the parameters.

    Args:
        p: parameters of the space.
        scale: s.
        temperature: factor on every σ.
        stream: (seed, step, index of the first crop, sample), as in `normals`.
    """
    seed, step, first, sample = stream
    atoms = p.atoms
    if p.basis is not None:
        spread = temperature * (0.5 * p.basis.log_var).exp()
        atoms = p.basis.decode(p.basis.mean + spread * normals(p.basis.mean, seed, step, first, 2 * sample + 1))
    coefficients = p.coefficient_mean
    if p.coefficient_log_var is not None:
        noise = normals(p.coefficient_log_var, seed, step, first, 2 * sample)
        coefficients = _Drawn.apply(coefficients, p.coefficient_log_var, noise, temperature)
    if coefficients is None:
        return p.deterministic
    z = synthesize(coefficients, atoms.float(), scale)
    return p.deterministic + (z if p.refine is None else p.refine(z))


def projected(images: Sequence[Tensor], y: Tensor, degradation: Degradation) -> list[Tensor]:
    """Π of several images each (B, 3, H, W), all at once."""
    stacked = project_unchecked(torch.cat(list(images)), y.repeat(len(images), 1, 1, 1), degradation)
    return list(stacked.chunk(len(images)))


class _Drawn(torch.autograd.Function):
    """m + T σ ε, image by image, so that millions of coefficients pass through memory once; the noise is used up.

    ∂/∂m = 1 and ∂/∂log σ² = ½ T σ ε.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor | None, log_var: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Means (B, …) or None, log-variances and standard normals (B, …) → coefficients (B, …)."""
        out = noise if mean is None else torch.empty_like(mean)
        for b, spread in enumerate(noise):
            spread.mul_((0.5 * log_var[b]).exp_()).mul_(temperature)
            if mean is not None:
                torch.add(mean[b], spread, out=out[b])
        ctx.has_mean = mean is not None
        if mean is None:
            ctx.mark_dirty(noise)
        ctx.save_for_backward(noise)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        (spread,) = ctx.saved_tensors
        # T σ ε is nobody else's where there is a mean, and not needed any more.
        by_log_var = spread if ctx.has_mean else torch.empty_like(spread)
        for b, gradient in enumerate(grads[0]):
            torch.mul(gradient, spread[b], out=by_log_var[b]).mul_(0.5)
        return grads[0] if ctx.has_mean else None, by_log_var, None, None
