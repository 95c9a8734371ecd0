"""Adversarial loss of the authors' code: least squares (Mao et al. 2017), on outputs in [0, 1]."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from vspsr.training.losses.base import Loss, StepImages


class PatchDiscriminator(nn.Module):
    """The discriminator of the authors' code: two 4×4 convolutions of stride 2, then 1×1 convolutions.

    Widths 64, 128, 256, 512, 1, with batch normalisation and leaky ReLU (0.01); a sigmoid gives each patch of 10×10
    pixels a probability, and their mean is returned.

    Shapes: (B, 3, H, W), H and W ≥ 10 → (B,) in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (i, o) in enumerate(pairwise((3, 64, 128, 256, 512))):
            convolution = nn.Conv2d(i, o, 4, stride=2) if index < 2 else nn.Conv2d(i, o, 1)
            layers += [convolution, nn.BatchNorm2d(o), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(512, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((1, 2, 3))  # type: ignore[no-any-return]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """½(r − 1)² + ½f², means over all entries: what the discriminator minimises, a scalar."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


class Adversarial(Loss):
    """(f − 1)² for the discriminator's opinion f of a sample."""

    samples: ClassVar[int] = 1

    def value(self, images: StepImages) -> Tensor:
        assert images.discriminator is not None
        with images.autocast():
            fake = images.discriminator(images.samples[0])
        return (fake.float() - 1).square().mean()
