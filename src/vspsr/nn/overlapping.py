"""VSpM with overlapping, colour-joint atoms: the network of vspsr-x4 and vspsr-x8.

The paper's patches are independent, one s×s patch per LR pixel and colour, which shows as a "patch effect". Here an
atom is a (3, 2s, 2s) patch in colour under a raised-cosine window whose shifts sum to one, so that neighbouring
patches blend. One residual trunk on LR features feeds three heads: the deterministic part, the basis (mixtures of
learned patches whose weights depend on the whole image), and the log-variance of each coefficient at each LR pixel.
Coefficients have mean zero: what is certain belongs to the deterministic part.
"""

import math
import warnings
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.checks import check_integer, check_types
from vspsr.nn.deterministic import MAX_WIDTH, ResidualTrunk, ResidualUpsampler
from vspsr.space.parameters import SpaceParameters


def raised_cosine(size: int) -> Tensor:
    """Raised-cosine window (size, size); its shifts by size/2 along both axes sum to 1."""
    t = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    window = 0.5 * (1 - torch.cos(2 * math.pi * t))
    return window[:, None] * window


def mixture_layer(channels: int, n_modes: int) -> nn.Linear:
    """The layer that mixes modes: without any it has no weights, which PyTorch would warn about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(channels, n_modes)


class OverlappingAtoms(nn.Module):
    """The common parts of networks with overlapping atoms. Arguments and errors are those of `OverlappingVSpM`."""

    window: Tensor
    variance_head: nn.Sequential

    def __init__(self, scale: int, n_atoms: int, n_modes: int) -> None:
        super().__init__()
        if (scale := check_integer(scale, "scale", 2, 64)) % 2:
            raise ValueError(f"`scale` must be even for overlapping atoms, got {scale}")
        self.scale = scale
        self.n_atoms = check_integer(n_atoms, "n_atoms", 1, MAX_WIDTH)
        self.n_modes = check_integer(n_modes, "n_modes", 0, MAX_WIDTH)

    def _add_atoms(self) -> None:
        """Random atoms and modes. Not in the constructor: subclasses draw their first layers before them."""
        patch = 2 * self.scale
        norm = 1 / (patch * 3**0.5)
        # Most of the missing information is luminance.
        brightness, colour = torch.randn(self.n_atoms, 1, patch, patch), torch.randn(self.n_atoms, 3, patch, patch)
        self.atoms = nn.Parameter(norm * (brightness + 0.3 * colour))
        self.modes = nn.Parameter(0.1 * norm * torch.randn(self.n_modes, self.atoms.numel()))
        self.register_buffer("window", raised_cosine(patch), persistent=False)

    def _add_variance_head(self, channels: int, start: float) -> None:
        """The layers from features to log-variances, which are about ``start`` at the start of training."""
        first, last = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, self.n_atoms, 1)
        self.variance_head = nn.Sequential(first, nn.ReLU(), last)
        assert last.bias is not None
        nn.init.constant_(last.bias, start)

    def _basis(self, mixture: Tensor) -> Tensor:
        """The atoms of images: mixture (B, M), not bounded → (B, 1, C, 3, 2s, 2s)."""
        atoms = self.atoms + (torch.tanh(mixture) @ self.modes).unflatten(1, self.atoms.shape)
        return (self.window * atoms)[:, None]

    def _log_var(self, features: Tensor) -> Tensor:
        """Log-variances of the coefficients: (B, channels, h, w) → (B, 1, C, h, w).

        On a CPU in full precision the last layer, a 1×1 convolution, is computed in float64. oneDNN's rounds otherwise
        with another number of threads, by 1e-5, which now and then is another pixel.
        """
        hidden, last = self.variance_head[:-1](features), self.variance_head[-1]
        if hidden.dtype != torch.float32 or hidden.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            log_var = last(hidden)
        else:
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            log_var = F.conv2d(hidden.double(), last.weight.double(), last.bias.double()).float()
        # Bounded so that no input, however odd, can overflow the exponential.
        return log_var.clamp(-20.0, 4.0)[:, None]  # type: ignore[no-any-return]


class OverlappingVSpM(OverlappingAtoms):
    """LR image → parameters of its SR space, with C atoms of (3, 2s, 2s) pixels.

    Args:
        scale: s, even, 2 … 64.
        n_atoms: C, 1 … 65,536.
        channels, blocks: size of the residual trunk, 1 … 65,536 and 0 … 1,000.
        n_modes: M, learned variants of each atom that an image mixes; 0 gives every image the same basis; at most
            65,536.
        deterministic: a module (B, 3, h, w) → (B, 3, s·h, s·w) in place of the mean head, or None.
        takes_quantisation: whether the trunk also sees how coarsely the LR image is quantised.

    Shapes: y (B, 3, h, w) in [0, 1], and its quantisation (B, 3, h, w) in [0, 1] → `SpaceParameters` with G = 1.

    Raises:
        ValueError: an odd scale (patches of 2s pixels could not be centred), another option out of its range.
    """

    def __init__(
        self,
        scale: int = 4,
        n_atoms: int = 64,
        channels: int = 64,
        blocks: int = 8,
        n_modes: int = 4,
        deterministic: nn.Module | None = None,
        takes_quantisation: bool = False,
    ) -> None:
        super().__init__(scale, n_atoms, n_modes)
        check_types(deterministic=(deterministic, nn.Module | None), takes_quantisation=(takes_quantisation, bool))
        self.takes_quantisation = takes_quantisation
        self.trunk = ResidualTrunk(channels, blocks, inputs=6 if takes_quantisation else 3)
        self.deterministic = deterministic
        self.mean_head = ResidualUpsampler(self.scale, channels) if deterministic is None else None
        self._add_variance_head(channels, -6.0)
        self.basis_head = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), mixture_layer(channels, self.n_modes))
        self._add_atoms()

    def forward(self, y: Tensor, quantisation: Tensor | None = None) -> SpaceParameters:
        inputs = y - 0.5
        if self.takes_quantisation:
            inputs = torch.cat([inputs, torch.zeros_like(y) if quantisation is None else quantisation], 1)
        features = self.trunk(inputs)
        # An image-global statistic: tiles of one image must share it.
        atoms = self._basis(self.basis_head(features.mean((2, 3))))
        log_var = self._log_var(features)
        mean = self.deterministic(y) if self.mean_head is None else self.mean_head(features, y)  # type: ignore[misc]
        return SpaceParameters(mean, atoms, coefficient_mean=None, coefficient_log_var=log_var)


def with_quantisation(state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Weights for a network that sees the quantisation, with zeros for it if they are those of one that does not."""
    name = "trunk.head.weight"
    first = state.get(name)
    if not getattr(network, "takes_quantisation", False) or first is None or first.ndim != 4 or first.shape[1] != 3:
        return state
    return {**state, name: F.pad(first, (0, 0, 0, 0, 0, 3))}
