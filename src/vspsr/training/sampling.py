"""Images drawn in training: noise that is a pure function of (seed, step, crop, sample), so that a resumed run, or one
cut up over other processes or into smaller batches, draws the same.

The noise of a crop has a generator of its own on the device that trains: the same on every machine with the same kind
of device. (`SRSpace.sample` draws its noise by blocks of an image and on the CPU, which is slower.)
"""

import numpy as np
import torch
from torch import Tensor

from vspsr.degradation import Degradation
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize

_NOISE = 2  # apart from the streams of the data and the losses


def normals(shape: tuple[int, ...], device: torch.device, seed: int, step: int, first: int, sample: int) -> Tensor:
    """Standard normals (B, …): crop b has the noise of index ``first`` + b."""
    out = torch.empty(shape, dtype=torch.float32, device=device)
    generator = torch.Generator(device)
    for b, item in enumerate(out):
        sequence = np.random.SeedSequence(seed, spawn_key=(_NOISE, step, first + b, sample))
        generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        item.normal_(generator=generator)
    return out


def draw(
    p: SpaceParameters,
    y: Tensor,
    degradation: Degradation,
    samples: int,
    stream: tuple[int, int, int],
    exact: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The images at temperature 0 and samples at temperature 1, differentiable in the parameters: (B, 3, H, W) each.

    Args:
        p: parameters of the spaces of the LR images y.
        degradation: D.
        samples: how many.
        stream: (seed, step, index of the first crop).
        exact: (B,) bool, which LR images the HR images are projected onto; None for no projection. What a JPEG shows is
            not what its original downscales to.
    """
    scale, device, (seed, step, first) = degradation.scale, p.deterministic.device, stream
    size = p.deterministic.shape[-2] // scale, p.deterministic.shape[-1] // scale
    refine = p.refine or (lambda z: z)

    def image(w: Tensor | None, atoms: Tensor) -> Tensor:
        return p.deterministic if w is None else p.deterministic + refine(synthesize(w, atoms, scale))

    images = [image(p.coefficient_mean, p.atoms)]
    a = p.synthesis(scale)
    for i in range(samples):
        w, atoms = p.coefficient_mean, p.atoms
        if p.basis is not None:
            eps = normals(tuple(p.basis.mean.shape), device, seed, step, first, 2 * i + 1)
            atoms = p.basis.decode(p.basis.mean + (0.5 * p.basis.log_var).exp() * eps)
        if a is not None:
            random = a.noise.coefficients(normals((len(y), a.channels, *size), device, seed, step, first, 2 * i))
            w = random if w is None else w + random
        images.append(image(w, atoms))
    if exact is not None:
        stacked, n = torch.cat(images), len(images)
        missing = (y.repeat(n, 1, 1, 1) - degradation.down(stacked)) * exact.repeat(n)[:, None, None, None]
        images = list((stacked + degradation.pseudo_inverse(missing)).chunk(n))
    return images[0], tuple(images[1:])
