"""Adversarial losses by least squares (Mao et al. 2017), as in the authors' code.

With the discriminator's outputs r for real and f for generated images, in [0, 1] (any shape, means over all entries):
the discriminator minimises ½(r − 1)² + ½f², the generator (f − 1)².
"""

from torch import Tensor

__all__ = ["discriminator_loss", "generator_loss"]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Discriminator's loss, a scalar."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Generator's loss, a scalar."""
    return (fake - 1).square().mean()
