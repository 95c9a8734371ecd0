"""The energy score: a strictly proper score for a distribution of which one only has samples.

ES(x; s₁, s₂) = ½(d(x, s₁) + d(x, s₂)) − ½ d(s₁, s₂) is an unbiased estimate of E d(x, S) − ½ E d(S, S′), which the
true distribution minimises when d is a Euclidean distance (Gneiting & Raftery 2007, eq. 22). Here d is the mean
over places of the Euclidean distance of what is seen there: pixel patches, or unit-normalised deep features.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["energy_score", "feature_distance", "patch_distance"]

_EPS = 1e-6  # keeps the gradient of a norm finite at zero

Distance = Callable[[Tensor, Tensor], Tensor]


def energy_score(x: Tensor, first: Tensor, second: Tensor, distance: Distance) -> Tensor:
    """Energy score of two samples ``first`` and ``second`` against the truth ``x``; smaller is better."""
    return 0.5 * (distance(x, first) + distance(x, second)) - 0.5 * distance(first, second)


def patch_distance(a: Tensor, b: Tensor, size: int = 8, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Mean over size×size patches of the root-mean-square difference; a, b: (B, C, H, W) → scalar.

    ``offset`` is the upper left corner of the grid of patches; patches cut by a border are left out.
    """
    difference = (a - b)[..., offset[0] :, offset[1] :]
    rows, columns = difference.shape[-2] // size, difference.shape[-1] // size
    tiles = difference[..., : rows * size, : columns * size].unflatten(-2, (rows, size)).unflatten(-1, (columns, size))
    return (tiles.square().mean((1, 3, 5)) + _EPS**2).sqrt().mean()


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Mean over layers and places of the Euclidean distance of unit-length features [(B, C, h, w), …] → scalar.

    ``weights``: of the layers, by default all the same; their scale is of no account.
    """
    layers = torch.stack([((f - g).square().sum(1) + _EPS**2).sqrt().mean() for f, g in zip(a, b, strict=True)])
    if weights is None:
        return layers.mean()
    share = torch.tensor(weights, dtype=layers.dtype, device=layers.device)
    return (share * layers).sum() / share.sum()
