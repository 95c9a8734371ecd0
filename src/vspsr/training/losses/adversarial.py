"""Adversarial losses: what the discriminator minimises, and what the generator does.

With real and fake outputs r and f (any shape, means over all entries):

- "logistic" (Goodfellow et al. 2014, non-saturating): discriminator softplus(−r) + softplus(f), generator softplus(−f);
- "least-squares" (Mao et al. 2017): ½(r − 1)² + ½f², and (f − 1)²: the authors' code, on outputs in [0, 1];
- "hinge" (Lim & Ye 2017): max(0, 1 − r) + max(0, 1 + f), and −f.
"""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["discriminator_loss", "generator_loss"]


def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "logistic") -> Tensor:
    """Discriminator's loss, a scalar. ValueError for an unknown kind."""
    if kind == "logistic":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "least-squares":
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    raise ValueError(f'`kind` must be "logistic", "least-squares" or "hinge", got {kind!r}')


def generator_loss(fake: Tensor, kind: str = "logistic") -> Tensor:
    """Generator's loss, a scalar. ValueError for an unknown kind."""
    if kind == "logistic":
        return F.softplus(-fake).mean()
    if kind == "least-squares":
        return (fake - 1).square().mean()
    if kind == "hinge":
        return -fake.mean()
    raise ValueError(f'`kind` must be "logistic", "least-squares" or "hinge", got {kind!r}')
