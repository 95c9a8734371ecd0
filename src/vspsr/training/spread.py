"""Strong atoms in the place of weak ones.

In training a few strokes, always at the same place in an LR pixel, come to hold nearly all of the energy, which shows
as a canvas. `spread_atoms` puts copies of them at other places in place of the other atoms, and gives all of the energy
to the copies. Left to themselves, some of the copies grow and the others fade; kept as copies throughout the run
(`Copies.gather` and `Copies.renew`), they cannot. A later run finds them in the weights
(`found_copies`) and goes on with them.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from vspsr.data.crops import CropDataset
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.training.recipe import RecipeError

__all__ = ["Copies", "atom_energies", "found_copies", "spread_atoms"]

_CROPS = 64
_PLASTIC = (0.754877666246693, 0.569840290998053)
"""1/p and 1/p² of the plastic number p: multiples of them, modulo 1, fill the square evenly."""
_GOLDEN = 0.618033988749895  # the same of an interval
_ALIKE = 0.1  # of an atom's norm: float16 makes 0.001, other ways of moving a few hundredths
_RIDGE = 3e-3  # of least squares: under the window's edge nothing can be known of an atom


@torch.no_grad()
def atom_energies(network: OverlappingVSpM, data: CropDataset, crop: int) -> Tensor:
    """Each atom's share (C,) of the energy of the space: mean variance × squared norm, averaged over training crops.

    Of atoms with one variance, which are copies, the first has the sum.

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
    return torch.zeros_like(total).index_add_(0, _first_alike(network), total) / total.sum()


@torch.no_grad()
def found_copies(
    network: OverlappingVSpM, strongest: int, shift: float, turn: float = 0, flip: bool = False
) -> "Copies | None":
    """What the network's atoms already are: ``strongest`` atoms and copies of them, as `spread_atoms` makes them.

    Returns:
        None where they are not: other groups of one variance, or atoms that are not the first of theirs, flipped,
        turned and moved.
    """
    first = _first_alike(network)
    counts = first.unique(return_counts=True)[1].tolist()
    in_order = torch.equal(first, first.sort().values)
    if len(counts) != strongest or strongest == len(first) or not in_order:
        return None
    copies = Copies(first, _places(counts, shift), torch.ones(len(first)), _turns(counts, turn), _flips(counts, flip))
    atoms = (network.atoms * network.window).flatten(1)
    moved = (copies.move(network.atoms[first], network.window) * network.window).flatten(1)
    gain = (atoms * moved).sum(1) / moved.square().sum(1)
    missed = (atoms - gain[:, None] * moved).norm(dim=1) / atoms.norm(dim=1)
    return replace(copies, gain=gain) if bool((missed < _ALIKE).all()) else None


@torch.no_grad()
def spread_atoms(
    network: OverlappingVSpM, energies: Tensor, strongest: int, shift: float, turn: float = 0, flip: bool = False
) -> "Copies":
    """Let copies of the strongest atoms, moved by up to ``shift`` HR pixels along each axis, take the others' place.

    Each is also turned, by up to ``turn`` degrees, and flipped, if wanted: of four in turn the second left to right,
    the third top to bottom, the fourth in both ways. The stronger an atom (by the square root of its energy), the more
    copies; they have its norm and share its variance. The energy of the atoms left out is shared among those kept, as
    theirs is.

    Args:
        network: changed in place: atoms by strength, the first of each group of copies unmoved.
        energies: shares, as of `atom_energies`.
        strongest: how many atoms are kept, 1 … C.
        shift: HR pixels.
        turn: degrees.
        flip: whether copies are flipped.

    Raises:
        RecipeError: more atoms to keep than there are.
    """
    if strongest > len(energies):
        raise RecipeError(f"`spread`: `strongest` {strongest}: the model has {len(energies)} atoms")
    order = energies.argsort(descending=True)[:strongest]
    counts = _shared_out(len(energies), energies[order].sqrt())
    among = torch.tensor(counts)
    kind = order.repeat_interleave(among)
    before = _first_alike(network).bincount(minlength=len(energies))[kind]
    network.modes.copy_(network.modes.unflatten(1, network.atoms.shape)[:, kind].flatten(1))
    for parameter in (network.atoms, *_last(network).parameters()):
        parameter.copy_(parameter[kind])
    kept = energies[order].sum() / energies.sum()
    bias = _last(network).bias
    assert bias is not None
    bias -= (kept * among.repeat_interleave(among) / before).log()
    first = (among.cumsum(0) - among).repeat_interleave(among)
    copies = Copies(first, _places(counts, shift), torch.ones(len(first)), _turns(counts, turn), _flips(counts, flip))
    moved = copies.move(network.atoms, network.window)
    copies = replace(copies, gain=_norms(network.atoms * network.window) / _norms(moved * network.window))
    copies.renew(network)
    return copies


@dataclass(frozen=True)
class Copies:
    """Which atoms are copies of which: each is a fixed linear map of the first of its group, with the same variance.

    Args:
        first: (C,) int64: the index of the atom that each is a copy of; of an original, its own.
        by: (C, 2): by how many HR pixels each is moved along (rows, columns).
        gain: (C,): factor that gives a moved atom the norm of the original.
        turn: (C,) or (1,): by how many degrees each is turned about its middle before.
        flip: (C, 2) or (1, 2): −1 where it is flipped top to bottom, left to right, before that; else 1.
    """

    first: Tensor
    by: Tensor
    gain: Tensor
    turn: Tensor = field(default_factory=lambda: torch.zeros(1))  # checkpoints from before have none
    flip: Tensor = field(default_factory=lambda: torch.ones(1, 2))

    @property
    def counts(self) -> list[int]:
        """How many atoms each group has."""
        return self.first.unique(return_counts=True)[1].tolist()  # type: ignore[no-any-return]

    def move(self, originals: Tensor, window: Tensor) -> Tensor:
        """The atoms (…, C, 3, P, P) whose windowed patches are nearest to those of ``originals``, moved, times gain."""
        rows, columns = self._weights(window)
        moved = ((rows @ (originals * window)) * columns).sum(-1).unflatten(-1, window.shape)
        return self._scaled(torch.where(self._still(moved), originals, moved * window / (window.square() + _RIDGE)))

    def pull(self, gradient: Tensor, window: Tensor) -> Tensor:
        """The adjoint of `move`: gradients by moved atoms (…, C, 3, P, P) → by the originals of each."""
        gradient = self._scaled(gradient)
        rows, columns = self._weights(window)
        pulled = (rows * (gradient * window / (window.square() + _RIDGE)).flatten(-2)[..., None]).mT @ columns
        return torch.where(self._still(gradient), gradient, pulled * window)

    @torch.no_grad()
    def renew(self, network: nn.Module) -> None:
        """Make atoms, modes and variances those of the originals, moved."""
        assert isinstance(network, OverlappingVSpM)
        first = self.first.to(network.atoms.device)
        modes = network.modes.unflatten(1, network.atoms.shape)[:, first]
        network.atoms.copy_(self.move(network.atoms[first], network.window))
        network.modes.copy_(self.move(modes, network.window).flatten(1))
        for parameter in _last(network).parameters():
            parameter.copy_(parameter[first])

    @torch.no_grad()
    def gather(self, network: nn.Module) -> None:
        """Add the gradients by copies to those by their originals, and set them to 0."""
        assert isinstance(network, OverlappingVSpM)
        first = self.first.to(network.atoms.device)

        def added(gradient: Tensor, axis: int = 0) -> None:
            gradient.copy_(torch.zeros_like(gradient).index_add_(axis, first, gradient))

        if network.atoms.grad is not None:
            network.atoms.grad.copy_(self.pull(network.atoms.grad, network.window))
            added(network.atoms.grad)
        if network.modes.grad is not None:
            modes = network.modes.grad.unflatten(1, network.atoms.shape)
            modes.copy_(self.pull(modes, network.window))
            added(modes, 1)
        for parameter in _last(network).parameters():
            if parameter.grad is not None:
                added(parameter.grad)

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint: the arguments."""
        return {"first": self.first, "by": self.by, "gain": self.gain, "turn": self.turn, "flip": self.flip}

    def _weights(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Two of (C, 1, P², P): of an original's rows and columns in each pixel of its moved copy, by sinc kernels."""
        places = torch.arange(len(window), device=window.device) - (len(window) - 1) / 2
        y, x = (torch.cartesian_prod(places, places) - self.by.to(window)[:, None]).unbind(-1)
        angle = self.turn.to(window)[:, None] * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        down, across = self.flip.to(window)[:, None].unbind(-1)
        found = (down * (cos * y - sin * x), across * (sin * y + cos * x))
        rows, columns = ((v[..., None] - places).sinc() for v in found)
        return rows[:, None], columns[:, None]

    def _scaled(self, atoms: Tensor) -> Tensor:
        return atoms * self.gain.to(atoms.device)[:, None, None, None]

    def _still(self, atoms: Tensor) -> Tensor:
        """Originals, which are not moved: by what is not moved at all nothing is lost."""
        still = (self.by == 0).all(1) & (self.turn == 0) & (self.flip == 1).all(1)
        return still.to(atoms.device)[:, None, None, None]


def _last(network: OverlappingVSpM) -> nn.Conv2d:
    """The layer that gives each atom its log-variance."""
    last = network.variance_head[-1]
    assert isinstance(last, nn.Conv2d)
    return last


def _first_alike(network: OverlappingVSpM) -> Tensor:
    """Of each atom (C,) int64: the first that has its variance."""
    last = _last(network)
    assert last.bias is not None
    rows = torch.cat([last.weight.flatten(1), last.bias[:, None]], 1)
    alike = rows.unique(dim=0, return_inverse=True)[1]
    return (alike[:, None] == alike).int().argmax(1)


def _places(counts: list[int], shift: float) -> Tensor:
    """By how many HR pixels each atom (C, 2) of groups of so many is moved: the first of each stays where it is."""
    return torch.tensor(
        [
            [shift * (2 * (n * step % 1) - 1) if n else 0.0 for step in _PLASTIC]
            for count in counts
            for n in range(count)
        ]
    )


def _turns(counts: list[int], turn: float) -> Tensor:
    """By how many degrees each atom (C,) of groups of so many is turned: the first of each stays as it is."""
    return torch.tensor([turn * (2 * (n * _GOLDEN % 1) - 1) if n else 0.0 for count in counts for n in range(count)])


def _flips(counts: list[int], flip: bool) -> Tensor:
    """How each atom (C, 2) of groups of so many is flipped: the first of each is not."""
    kinds = [n % 4 if flip else 0 for count in counts for n in range(count)]
    return torch.tensor([[-1.0 if kind & 2 else 1.0, -1.0 if kind & 1 else 1.0] for kind in kinds])


def _norms(atoms: Tensor) -> Tensor:
    return atoms.flatten(1).norm(dim=1)


def _shared_out(total: int, weights: Tensor) -> list[int]:
    """``total`` divided into integers of at least 1, about in proportion to the weights."""
    wanted = (weights / weights.sum() * (total - len(weights))).tolist()
    parts = [1 + int(w) for w in wanted]
    rest = sorted(range(len(parts)), key=lambda i: int(wanted[i]) - wanted[i])
    for i in rest[: total - sum(parts)]:
        parts[i] += 1
    return parts
