"""The network of the trained recipes: a short residual trunk, overlapping atoms, correlated coefficients.

Atoms are (3, 2s, 2s) patches in colour under a raised-cosine window whose shifts sum to one, as in
`vspsr.nn.overlapping`. The trunk sees the LR image and how coarsely it is quantised. Its features give the mean image
and the gains of a chain of linear convolutions on the noise (`NoiseChain`), or, with
``correlated=False``, the variance of independent coefficients.

The basis of an image mixes learned variants of the atoms. The mixture is inferred from a thumbnail of fixed size: of
the picture as a whole, so that tiles of a picture share it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.checks import check_integer, check_types
from vspsr.nn.deterministic import MAX_WIDTH, ResidualTrunk, ResidualUpsampler
from vspsr.nn.overlapping import OverlappingAtoms, mixture_layer
from vspsr.space.parameters import SpaceParameters
from vspsr.space.placed_parameters import PlacedParameters
from vspsr.space.synthesis import NoiseChain

_THUMBNAIL = 16
_LONGEST_CHAIN = 16
_AMPLITUDE = 0.05  # of coefficients at the start of training


def thumbnail(y: Tensor) -> Tensor:
    """Colour and texture of LR images on a 16×16 grid: (B, 3, h, w) → (B, 5, 16, 16).

    Means of R, G, B and of the absolute differences of brightness along rows and columns, added up in float64.
    """
    brightness = y.double().mean(1, keepdim=True)
    across = F.pad(brightness.diff(dim=-1).abs(), (0, 1, 0, 0))
    down = F.pad(brightness.diff(dim=-2).abs(), (0, 0, 0, 1))
    return F.adaptive_avg_pool2d(torch.cat([y.double(), across, down], 1), _THUMBNAIL).to(y.dtype)


class CorrelatedVSpM(OverlappingAtoms):
    """LR image → parameters of its SR space, with C atoms of (3, 2s, 2s) pixels.

    Args:
        scale: s, even.
        n_atoms: C.
        channels, blocks: size of the residual trunk.
        correlated: whether coefficients are correlated; False makes them independent.
        noise_channels: m, normals at each LR pixel.
        dilations: of the convolutions of the chain, one each.
        n_modes: M, learned variants of each atom that an image mixes; 0 gives every image the same basis.

    Shapes: y (B, 3, h, w) in [0, 1] and its quantisation (B, 3, h, w) in [0, 1] → `SpaceParameters` with G = 1.

    Attributes:
        receptive_field: LR pixels to each side that the parameters at an LR pixel depend on, the basis aside.

    Raises:
        ValueError: an odd scale (patches of 2s pixels could not be centred), sizes out of range.
    """

    takes_quantisation = True

    def __init__(
        self,
        scale: int = 4,
        n_atoms: int = 64,
        channels: int = 56,
        blocks: int = 12,
        correlated: bool = True,
        noise_channels: int = 32,
        dilations: Sequence[int] = (1, 2, 4),
        n_modes: int = 4,
    ) -> None:
        super().__init__(scale, n_atoms, n_modes)
        if not isinstance(dilations, list | tuple) or len(dilations) > _LONGEST_CHAIN:
            raise ValueError(f"`dilations` must be a list of at most {_LONGEST_CHAIN} integers, got {dilations!r}")
        self.dilations = tuple(check_integer(d, "dilations", 1, 64) for d in dilations)
        self.noise_channels = m = check_integer(noise_channels, "noise_channels", 1, MAX_WIDTH)
        check_types(correlated=(correlated, bool))
        self.receptive_field = 2 * blocks + 3
        self.trunk = ResidualTrunk(channels, blocks, inputs=6)
        self.mean_head = ResidualUpsampler(self.scale, channels)
        self.basis_head = nn.Sequential(
            nn.Conv2d(5, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            mixture_layer(32, self.n_modes),
        )
        self._add_atoms()
        self.gain_head: nn.Module | None = None
        if correlated:
            self.gain_head = nn.Conv2d(channels, (len(self.dilations) + 1) * m + self.n_atoms, 3, padding=1)
            nn.init.normal_(self.gain_head.weight, std=0.1 / (3 * channels**0.5))
            assert self.gain_head.bias is not None
            nn.init.zeros_(self.gain_head.bias)
            with torch.no_grad():
                self.gain_head.bias[: (len(self.dilations) + 1) * m] = 1.0
            fan = (9 * m) ** -0.5
            self.kernels = nn.ParameterList(fan * torch.randn(m, m, 3, 3) for _ in self.dilations)
            self.output_kernel = nn.Parameter(fan * torch.randn(self.n_atoms, m, 3, 3))
        else:
            self._add_variance_head(channels, 2 * math.log(_AMPLITUDE))

    def forward(self, y: Tensor, quantisation: Tensor | None = None, overview: Tensor | None = None) -> SpaceParameters:
        """The parameters of the SR spaces.

        Args:
            y: LR images, or tiles of them.
            quantisation: how coarse their values are; None for images that are exact.
            overview: `thumbnail` of the images that ``y`` are tiles of; None where they are whole.
        """
        coarse = torch.zeros_like(y) if quantisation is None else quantisation
        features = self.trunk(torch.cat([y - 0.5, coarse], 1))
        atoms = self._basis(self.basis_head(thumbnail(y) if overview is None else overview))
        log_var, chain = None, None
        if self.gain_head is not None:
            gains = self.gain_head(features)
            inner = (len(self.dilations) + 1) * self.noise_channels
            of_layers = gains[:, :inner].unflatten(1, (-1, self.noise_channels))
            chain = NoiseChain(
                # Channels last in memory, layer by layer, as the chain's convolutions want them.
                gains=of_layers.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
                output_gain=gains[:, inner:].contiguous(memory_format=torch.channels_last),
                kernels=tuple(kernel.clone() for kernel in self.kernels),  # training changes them
                output_kernel=_AMPLITUDE * self.output_kernel,
                dilations=self.dilations,
            )
        else:
            log_var = self._log_var(features)
        return SpaceParameters(
            deterministic=self.mean_head(features, y),
            atoms=atoms,
            coefficient_mean=None,
            coefficient_log_var=log_var,
            chain=chain,
        )

    def by_place(self, y: Tensor, quantisation: Tensor | None = None) -> PlacedParameters:
        """What `forward` gives for one image (1, 3, h, w), in the dtype of y, computed where it is needed."""
        image = y.to(next(self.parameters()))
        coarse = torch.zeros_like(image) if quantisation is None else quantisation.to(image)
        overview, reach, size = thumbnail(image), self.receptive_field, (y.shape[-2], y.shape[-1])

        @torch.no_grad()
        def compute(*part: slice) -> SpaceParameters:
            around = [slice(max(0, p.start - reach), min(n, p.stop + reach)) for p, n in zip(part, size, strict=True)]
            rows, columns = (slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, around, strict=True))
            windows = (t[..., around[0], around[1]].contiguous() for t in (image, coarse))
            inputs = [w.contiguous(memory_format=torch.channels_last) for w in windows]
            with torch.autocast(image.device.type, enabled=False):
                parameters: SpaceParameters = self(*inputs, overview=overview)
            return parameters.crop(rows, columns, self.scale).map_tensors(lambda t: t.detach().to(y.dtype))

        return PlacedParameters.build(compute, size, self.scale)
