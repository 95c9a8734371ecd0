"""The perceptual loss: mean squared error of deep features, Σ_l λ_l ‖φ_l(x) − φ_l(x̂)‖² / (C_l h_l w_l).

Johnson et al. 2016; Ledig et al. 2017 with φ = VGG19 conv5_4 (after its ReLU), which the paper takes over. The
features' network is frozen and in evaluation mode, and images are normalised as it was trained on (the authors' code
leaves that out).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["perceptual_loss", "unit_distance"]


def perceptual_loss(x: Sequence[Tensor], estimate: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Features of the truth and of the estimate, [(B, C, h, w), …] → scalar; ``weights`` λ_l, by default 1 each."""
    weights = weights or [1.0] * len(x)
    terms = [w * (f - g).square().mean() for w, f, g in zip(weights, x, estimate, strict=True)]
    return torch.stack(terms).sum()


def unit_distance(x: Sequence[Tensor], estimate: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """As `perceptual_loss` of features scaled to unit length over C: mean over places of |u − v|² = 2 − 2 cos.

    This is how LPIPS looks at features (Zhang et al. 2018, eq. 1), without its learned weights of channels. The mean
    over layers; ``weights``: of the layers, by default all the same; their scale is of no account.
    """
    pairs = zip(x, estimate, strict=True)
    layers = torch.stack([2 - 2 * F.cosine_similarity(f.float(), g.float(), eps=1e-4).mean() for f, g in pairs])
    if weights is None:
        return layers.mean()
    share = layers.new_tensor(weights)
    return (share * layers).sum() / share.sum()
