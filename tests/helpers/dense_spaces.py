"""Small spaces with the mean and the covariance of their images as dense matrices."""

from dataclasses import dataclass

import torch
from spaces import make_space
from torch import Tensor, nn

from vspsr import SRSpace, VSpSR
from vspsr.degradation.noise import NoiseModel, lr_posterior
from vspsr.space import NoisySpace

SIGMA = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)
GAUSSIAN = NoiseModel(SIGMA, torch.zeros(3, dtype=torch.float64))

OPTIONS = {"n_atoms": 5, "channels": 8, "blocks": 1, "noise_channels": 3, "dilations": [1, 2], "n_modes": 2}


def exploring_space(kind: str, h: int, w: int, scale: int = 4, calibration: float = 1.3) -> SRSpace:
    """A space of one image in double precision: "independent" or "correlated" coefficients, "noisy" LR image."""
    if kind == "noisy":
        return noisy_space(exploring_space("correlated", h, w, scale, calibration))
    if kind == "independent":
        return make_space(h, w, scale=scale).with_calibration(calibration)
    torch.manual_seed(0)
    made = VSpSR("correlated", {**OPTIONS, "scale": scale}, calibration=calibration)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    y = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return made.requires_grad_(False).double()(y)


def noisy_space(space: SRSpace, noise: NoiseModel = GAUSSIAN) -> NoisySpace:
    """The space if the network had said of û what it says of y."""
    estimate, variance = lr_posterior(space.y[0], noise)
    return NoisySpace.from_space(space._with(y=estimate[None], _cache={}), variance[None])


def dense_down(space: SRSpace) -> Tensor:
    """D of flat images, by its unit vectors."""
    shape = space.event_shape
    eye = torch.eye(shape.numel(), dtype=torch.float64).view(-1, *shape)
    return space.degradation.down(eye).flatten(1).T


@dataclass(frozen=True)
class Dense:
    """The Gaussian N(mean, root rootᵀ) of the flat images (n,) of a space; ``root`` (n, noise) with calibration."""

    mean: Tensor
    root: Tensor

    @property
    def covariance(self) -> Tensor:
        return self.root @ self.root.T

    def given(self, matrix: Tensor, values: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance given matrix · x = values ± sigma, by the textbook."""
        c = self.covariance
        s = matrix @ c @ matrix.T + sigma**2 * torch.eye(len(values), dtype=torch.float64)
        gain = torch.linalg.solve(s, matrix @ c).T
        return self.mean + gain @ (values - matrix @ self.mean), c - gain @ matrix @ c


@torch.no_grad()
def dense(space: SRSpace) -> Dense:
    """A of every unit vector, minus its pseudo-inverse's share; of a noisy LR image D⁺ diag(√q) beside it."""
    one, degradation = space.parameters.synthesis(space.degradation.scale), space.degradation
    assert one is not None
    h, w = space.y.shape[-2:]
    eps = torch.eye(one.channels * h * w, dtype=torch.float64).view(-1, one.channels, h, w)
    a = one.map_images(lambda t: t.expand(len(eps), *t.shape[1:]))
    z = a.apply(eps)
    columns = z - degradation.pseudo_inverse(degradation.down(z))
    root = space.calibration * columns.flatten(1).T
    if isinstance(space, NoisySpace):
        root = torch.cat([root, torch.linalg.pinv(dense_down(space)) * space.lr_variance.flatten().sqrt()], 1)
    return Dense(space.mean.flatten(), root)
