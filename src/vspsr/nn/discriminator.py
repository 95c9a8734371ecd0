"""The discriminator: images (B, 3, H, W) in [0, 1] → how real they look."""

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["PatchDiscriminator"]


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
        """See the class."""
        return self.layers(x).mean((1, 2, 3))  # type: ignore[no-any-return]
