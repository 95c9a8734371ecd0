"""The perceptual loss: mean squared error of deep features, Σ_l λ_l ‖φ_l(x) − φ_l(x̂)‖² / (C_l h_l w_l).

Johnson et al. 2016; Ledig et al. 2017 with φ = VGG19 conv5_4 (after its ReLU), which the paper takes over. The
features' network is frozen and in evaluation mode, and images are normalised as it was trained on (the authors' code
leaves that out).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["perceptual_loss"]


def perceptual_loss(x: Sequence[Tensor], estimate: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Features of the truth and of the estimate, [(B, C, h, w), …] → scalar; ``weights`` λ_l, by default 1 each."""
    weights = weights or [1.0] * len(x)
    terms = [w * (f - g).square().mean() for w, f, g in zip(weights, x, estimate, strict=True)]
    return torch.stack(terms).sum()
