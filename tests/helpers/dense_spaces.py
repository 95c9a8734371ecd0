"""Small spaces with the mean and the covariance of their images as dense matrices."""

from dataclasses import dataclass

import torch
from spaces import make_space
from torch import Tensor, nn

from vspsr import SRSpace, VSpSR

OPTIONS = {"n_atoms": 5, "channels": 8, "blocks": 1, "noise_channels": 3, "dilations": [1, 2], "n_modes": 2}


def exploring_space(kind: str, h: int, w: int, scale: int = 4, calibration: float = 1.3) -> SRSpace:
    """A space of one image in double precision: "independent" or "correlated" coefficients."""
    if kind == "independent":
        return make_space(h, w, scale=scale).with_calibration(calibration)
    torch.manual_seed(0)
    made = VSpSR("correlated", {**OPTIONS, "scale": scale}, calibration=calibration)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    y = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return made.requires_grad_(False).double()(y)


@dataclass(frozen=True)
class Dense:
    """The Gaussian N(mean, root rootᵀ) of the flat images (n,) of a space; ``root`` (n, noise) with calibration."""

    mean: Tensor
    root: Tensor

    @property
    def covariance(self) -> Tensor:
        return self.root @ self.root.T


@torch.no_grad()
def dense(space: SRSpace) -> Dense:
    """A of every unit vector, minus its pseudo-inverse's share."""
    one, degradation = space.parameters.synthesis(space.degradation.scale), space.degradation
    assert one is not None
    h, w = space.y.shape[-2:]
    eps = torch.eye(one.channels * h * w, dtype=torch.float64).view(-1, one.channels, h, w)
    a = one.map_images(lambda t: t.expand(len(eps), *t.shape[1:]))
    z = a.apply(eps)
    columns = z - degradation.pseudo_inverse(degradation.down(z))
    return Dense(space.mean.flatten(), space.calibration * columns.flatten(1).T)
