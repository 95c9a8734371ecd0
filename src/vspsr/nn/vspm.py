"""VSpM as published: basis branch and coefficient branch, each colour channel on its own.

Zhou et al., Explorable Super-Resolution via Variational Sparse Representation (NTIRE 2021), sections 3.1–3.2. The
layers are those of the authors' implementation, matched in numbers; its three final convolutions, which are not in
the paper, are an option.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from vspsr.checks import check_choice, check_integer, check_types
from vspsr.nn.deterministic import MAX_WIDTH, Interpolation
from vspsr.space.parameters import SpaceParameters, StochasticBasis

_SMALLEST = 16  # the basis branch halves its input four times


class BasisBranch(nn.Module):
    """One channel of the LR image → C atoms of s×s pixels.

    Four times [3×3 convolution, instance normalisation, ReLU, 2×2 max pooling], global average, linear, then
    transposed convolutions from one pixel up to the atom.

    Args:
        scale: 4 or 8.
        n_atoms: C, a multiple of 4.
        stochastic: the code that the atoms are decoded from is Gaussian: mean and log-variance.

    Shapes: (N, 1, h, w) → code (N, C), its log-variance (N, C) or None; `decoder` then maps a code (N, C, 1, 1) to
    atoms (N, C, s, s), an affine map. Images below 16×16 are mirrored up to that size first.
    """

    def __init__(self, scale: int, n_atoms: int = 256, stochastic: bool = False) -> None:
        super().__init__()
        self.stochastic = stochastic
        widths = [1, n_atoms // 4, n_atoms // 2, n_atoms, 2 * n_atoms]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.embed = nn.Linear(2 * n_atoms, 2 * n_atoms if stochastic else n_atoms)
        decoder: list[nn.Module] = [
            nn.Conv2d(n_atoms, n_atoms, 2, padding=1),
            nn.ConvTranspose2d(n_atoms, n_atoms, 3),
        ]
        if scale == 8:
            decoder.append(nn.ConvTranspose2d(n_atoms, n_atoms, 2, stride=2))
        decoder.append(nn.Conv2d(n_atoms, n_atoms, 1))
        self.decoder = nn.Sequential(*decoder)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        while min(y.shape[-2:]) < _SMALLEST:
            y = torch.cat([y, y.flip(-2)], -2) if y.shape[-2] < _SMALLEST else torch.cat([y, y.flip(-1)], -1)
        code = self.embed(self.features(y).mean((2, 3)))
        if not self.stochastic:
            return code, None
        mean, log_var = code.chunk(2, 1)
        return mean, log_var


class CoefficientBranch(nn.Module):
    """One channel of the LR image → mean and log-variance of C coefficients at every LR pixel.

    3×3 convolutions to C/4, C/2, C, 2C channels (C when deterministic), each with layer normalisation over
    channels and pixels and ReLU, then a 1×1 convolution.

    Shapes: (N, 1, h, w) → mean (N, C, h, w), log-variance (N, C, h, w) or None.
    """

    def __init__(self, n_atoms: int = 256, stochastic: bool = True) -> None:
        super().__init__()
        self.stochastic = stochastic
        last = 2 * n_atoms if stochastic else n_atoms
        widths = [1, n_atoms // 4, n_atoms // 2, n_atoms, last]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.GroupNorm(1, o), nn.ReLU()]
        layers.append(nn.Conv2d(last, last, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.stochastic:
            return self.layers(y), None
        mean, log_var = self.layers(y).chunk(2, 1)
        return mean, log_var


class VSpM(nn.Module):
    """LR image → parameters of its SR space, as in the paper: k = s, colour channels folded into the batch.

    Args:
        scale: 4 or 8.
        n_atoms: C, a multiple of 4 up to 65,536 (256 in the paper; 64 in its ablation).
        stochastic_basis: the basis is Gaussian too (ablation row 3); the space is then not Gaussian.
        stochastic_coefficients: False gives one deterministic image (ablation row 1).
        deterministic: the upsampled part: "bilinear", "bicubic", None (ablation row 4), or any module that maps
            (B, 3, h, w) to (B, 3, s·h, s·w).
        convolutions: the authors' code adds convolutions after the interpolation and after the patches; False
            gives the paper's equations and a Gaussian space.

    Shapes: y (B, 3, h, w) in [0, 1] → `SpaceParameters` with G = 3.

    Raises:
        ValueError: a scale other than 4 and 8, ``n_atoms`` no multiple of 4, another value out of its range.
    """

    def __init__(
        self,
        scale: int = 4,
        n_atoms: int = 256,
        stochastic_basis: bool = False,
        stochastic_coefficients: bool = True,
        deterministic: str | nn.Module | None = "bilinear",
        convolutions: bool = True,
    ) -> None:
        super().__init__()
        check_choice(scale, "scale", (4, 8))
        if (n_atoms := check_integer(n_atoms, "n_atoms", 4, MAX_WIDTH)) % 4:
            raise ValueError(f"`n_atoms` must be a positive multiple of 4, got {n_atoms}")
        check_types(
            stochastic_basis=(stochastic_basis, bool),
            stochastic_coefficients=(stochastic_coefficients, bool),
            convolutions=(convolutions, bool),
        )
        self.scale = scale = int(scale)
        self.basis = BasisBranch(scale, n_atoms, stochastic_basis)
        self.coefficients = CoefficientBranch(n_atoms, stochastic_coefficients)
        self.refine: nn.Module | None = None
        if convolutions:
            widths = [3, 16, 16, 3]
            layers = [nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(widths)]
            self.refine = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        if deterministic is not None and not isinstance(deterministic, nn.Module):
            deterministic = Interpolation(scale, deterministic, convolutions)
        self.deterministic = deterministic

    def forward(self, y: Tensor) -> SpaceParameters:
        b, _, h, w = y.shape
        folded = y.reshape(b * 3, 1, h, w)
        code, code_log_var = self.basis(folded)
        mean, log_var = self.coefficients(folded)
        if self.deterministic is None:
            deterministic = y.new_zeros(b, 3, self.scale * h, self.scale * w)
        else:
            deterministic = self.deterministic(y)
        basis = None
        if code_log_var is not None:
            basis = StochasticBasis(code.reshape(b, 3, -1), code_log_var.reshape(b, 3, -1), self.basis.decoder)
        atoms = self.basis.decoder(code[..., None, None])
        return SpaceParameters(
            deterministic=deterministic,
            atoms=atoms.reshape(b, 3, -1, 1, *atoms.shape[2:]),
            coefficient_mean=mean.reshape(b, 3, *mean.shape[1:]),
            coefficient_log_var=None if log_var is None else log_var.reshape(b, 3, *log_var.shape[1:]),
            basis=basis,
            refine=self.refine,
        )


def convert_authors_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys of the authors' VSpM checkpoints mapped onto `VSpM`; tensors are passed on as they are.

    Raises:
        ValueError: a key that the authors' implementation does not have.
    """
    names = {
        **{f"kernelbranch.{i}.": f"basis.features.{i}." for i in (0, 4, 8, 12)},
        "kernelbranch.18.": "basis.embed.",
        **{f"kernelbranch.{20 + i}.": f"basis.decoder.{i}." for i in range(4)},
        **{f"weightbranch.{i}.": f"coefficients.layers.{i}." for i in (0, 1, 3, 4, 6, 7, 9, 10, 12)},
        **{f"finalbranch.{i}.": f"refine.{i}." for i in (0, 2, 4)},
        **{f"upsamplebranch.{i}.": f"deterministic.convolutions.{i}." for i in (0, 2)},
    }
    converted = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        prefix = next((p for p in names if key.startswith(p)), None)
        if prefix is None:
            raise ValueError(f"`state` has the key {key!r}, which the authors' VSpM does not have")
        converted[names[prefix] + key[len(prefix) :]] = value
    return converted
