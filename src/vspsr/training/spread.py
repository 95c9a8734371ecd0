"""Strong atoms in the place of weak ones.

In training a few strokes, always at the same place in an LR pixel, come to hold nearly all of the energy: in pictures a
canvas (experiments 26 and 27). `spread_atoms` gives the others' room to copies of them at other places; the variance
that an atom had is shared among its copies, so that its energy is kept; that of the atoms left out is lost.
"""

import math

import torch
from torch import Tensor, nn

from vspsr.data.crops import CropDataset
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.training.recipe import RecipeError

__all__ = ["atom_energies", "spread_atoms"]

_CROPS = 64
_PLASTIC = (0.754877666246693, 0.569840290998053)
"""1/p and 1/p² of the plastic number p: multiples of them, modulo 1, fill the square evenly."""
_RIDGE = 3e-3  # of least squares: under the window's edge nothing can be known of an atom


@torch.no_grad()
def atom_energies(network: OverlappingVSpM, data: CropDataset, crop: int) -> Tensor:
    """Each atom's share (C,) of the energy of the space: mean variance × squared norm, averaged over training crops.

    Args:
        network: the network.
        data: training crops, of which the first 64 of step 0 are taken.
        crop: their size in LR pixels.
    """
    total = torch.zeros(network.atoms.shape[0])
    for first in range(0, _CROPS, 8):
        batch = data.__getitems__([(0, first + i, _CROPS, crop) for i in range(8)])
        space = network(batch["lr"].float() / 255)
        variance = space.coefficient_log_var[:, 0].exp().mean((2, 3))
        energy = variance * space.atoms[:, 0].square().sum((2, 3, 4))
        total += (energy / energy.sum(1, keepdim=True)).sum(0)
    return total / total.sum()


@torch.no_grad()
def spread_atoms(network: OverlappingVSpM, energies: Tensor, strongest: int, shift: float) -> list[int]:
    """Let copies of the strongest atoms, moved by up to ``shift`` HR pixels along each axis, take the others' place.

    The stronger an atom (by the square root of its energy), the more copies; each has the variance of the first,
    divided by their number, and the same norm.

    Args:
        network: changed in place.
        energies: as of `atom_energies`.
        strongest: how many atoms are kept, 1 … C.
        shift: HR pixels.

    Returns:
        The number of copies of each atom kept, the strongest first; their sum is C.

    Raises:
        RecipeError: more atoms to keep than there are.
    """
    if strongest > len(energies):
        raise RecipeError(f"`spread`: `strongest` {strongest}: the model has {len(energies)} atoms")
    order = energies.argsort(descending=True)[:strongest]
    copies = _shared_out(len(energies), energies[order].sqrt())
    kind, number, among = [], [], []
    for atom, count in zip(order.tolist(), copies, strict=True):
        kind += [atom] * count
        number += list(range(count))
        among += [count] * count
    window = network.window
    modes = network.modes.unflatten(1, network.atoms.shape)
    atoms, others = network.atoms[kind], modes[:, kind]
    for c, n in enumerate(number):
        if n:
            by = [shift * (2 * (n * step % 1) - 1) for step in _PLASTIC]
            moved = _moved(atoms[c], window, by)
            gain = (atoms[c] * window).norm() / (moved * window).norm()
            atoms[c] = gain * moved
            others[:, c] = gain * _moved(others[:, c], window, by)
    last = network.variance_head[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    network.atoms.copy_(atoms)
    network.modes.copy_(others.flatten(1))
    last.weight.copy_(last.weight[kind])
    last.bias.copy_(last.bias[kind] - torch.tensor(among).log())
    return copies


def _shared_out(total: int, weights: Tensor) -> list[int]:
    """``total`` in whole parts of at least 1, about as the weights have it."""
    wanted = (weights / weights.sum() * (total - len(weights))).tolist()
    parts = [1 + int(w) for w in wanted]
    rest = sorted(range(len(parts)), key=lambda i: int(wanted[i]) - wanted[i])
    for i in rest[: total - sum(parts)]:
        parts[i] += 1
    return parts


def _moved(atom: Tensor, window: Tensor, by: list[float]) -> Tensor:
    """The atom (…, P, P) whose windowed patch is nearest to that of ``atom``, moved by (rows, columns) pixels."""
    size = window.shape[-1]
    padded = torch.nn.functional.pad(atom * window, (size,) * 4)
    frequency = torch.fft.fftfreq(3 * size)
    phase = torch.exp(-2j * math.pi * (by[0] * frequency[:, None] + by[1] * frequency))
    moved = torch.fft.ifft2(torch.fft.fft2(padded) * phase).real[..., size:-size, size:-size]
    return moved * window / (window.square() + _RIDGE)
