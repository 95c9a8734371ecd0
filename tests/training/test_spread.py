"""Strong atoms in the place of weak ones."""

from pathlib import Path

import pytest
import torch
import training_runs as small

from vspsr.model import VSpSR
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.training.recipe import RecipeError
from vspsr.training.spread import Copies, atom_energies, found_copies, spread_atoms


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos")


def collapsed(n_atoms: int = 12) -> OverlappingVSpM:
    """Atoms 3 and 7 hold nearly all of the energy; under their windows they are smooth, so that they can be moved."""
    torch.manual_seed(0)
    network = OverlappingVSpM(4, n_atoms, 8, 1, 2)
    grid = torch.arange(8) - 3.5
    with torch.no_grad():
        for atom, width in ((3, 1.2), (7, 1.6)):
            blob = torch.exp(-(grid[:, None].square() + grid.square()) / (2 * width**2))
            network.atoms[atom] = blob / blob.norm() / network.window
        network.modes.zero_()
        bias = network.variance_head[-1].bias
        bias.fill_(-16.0)
        bias[3], bias[7] = -4.0, -5.0
        network.variance_head[-1].weight.zero_()
    return network


def energies(network: OverlappingVSpM, y: torch.Tensor | None = None) -> torch.Tensor:
    space = network(torch.rand(1, 3, 6, 6) if y is None else y)
    return (space.coefficient_log_var[0, 0].exp().mean((1, 2)) * space.atoms[0, 0].square().sum((1, 2, 3))).detach()


def centroid(patch: torch.Tensor) -> list[float]:
    """Where the mass of a patch (H, W) lies: (row, column)."""
    grid = torch.arange(len(patch), dtype=patch.dtype)
    return [float((patch.sum(1) * grid).sum() / patch.sum()), float((patch.sum(0) * grid).sum() / patch.sum())]


def test_energy_is_kept_and_shared() -> None:
    network = collapsed()
    before = energies(network)
    copies = spread_atoms(network, before, 2, 1.0).counts
    after = energies(network)
    assert sum(copies) == 12
    assert copies[0] > copies[1] > 1
    assert float(after[: copies[0]].sum()) == pytest.approx(float(before[3]), rel=1e-4)
    assert float(after[copies[0] :].sum()) == pytest.approx(float(before[7]), rel=1e-4)
    torch.testing.assert_close(after[: copies[0]], (before[3] / copies[0]).expand(copies[0]), rtol=1e-3, atol=0)


def test_copies_lie_where_they_should() -> None:
    network = collapsed()
    (count, _) = spread_atoms(network, energies(network), 2, 1.0).counts
    patches = (network.window * network.atoms).detach().mean(1)
    assert centroid(patches[0]) == pytest.approx([3.5, 3.5], abs=1e-3)
    places = [centroid(p) for p in patches[1:count]]
    for n, place in enumerate(places, 1):
        wanted = [3.5 + (2 * (n * step % 1) - 1) for step in (0.754877666, 0.569840291)]
        assert place == pytest.approx(wanted, abs=0.15)


def orientation(patch: torch.Tensor) -> float:
    """Of the long axis of a patch (H, W), in degrees from the columns' axis towards the rows'."""
    grid = torch.arange(len(patch)) - (len(patch) - 1) / 2
    rows, columns = (float((patch * v).sum() / patch.sum()) for v in (grid[:, None], grid))
    dy, dx = (grid - rows)[:, None], grid - columns
    yy, xx, xy = ((patch * v).sum() for v in (dy * dy, dx * dx, dy * dx))
    return float(torch.atan2(2 * xy, xx - yy).rad2deg() / 2)


def of_strokes() -> OverlappingVSpM:
    network, grid = collapsed(), torch.arange(8) - 3.5
    with torch.no_grad():
        network.atoms[3] = torch.exp(-(grid[:, None].square() / 1.5 + grid.square() / 4)) / network.window
    return network


def test_copies_are_turned_as_they_should() -> None:
    network = of_strokes()
    copies = spread_atoms(network, energies(network), 2, 0.0, 20.0)
    patches = (network.window * network.atoms).detach().mean(1)
    angles = [orientation(p) for p in patches[: copies.counts[0]]]
    wanted = [20 * (2 * (n * 0.618033989 % 1) - 1) if n else 0 for n in range(copies.counts[0])]
    assert angles == pytest.approx(wanted, abs=1)
    assert float(copies.turn.abs().max()) > 10


def test_copies_are_flipped_in_turn() -> None:
    network = collapsed()
    corner = torch.zeros(8, 8)
    corner[2, 3] = 1.0
    with torch.no_grad():
        network.atoms[3] = corner / network.window
    copies = spread_atoms(network, energies(network), 2, 0.0, flip=True)
    assert copies.counts[0] >= 5
    places = [tuple(int(i) for i in (p == p.max()).nonzero()[0]) for p in network.atoms.detach().mean(1)[:5]]
    assert places == [(2, 3), (2, 4), (5, 3), (5, 4), (2, 3)]


def test_all_atoms_kept_change_nothing_but_their_order() -> None:
    network = collapsed()
    before, atoms = energies(network), network.atoms.detach().clone()
    assert spread_atoms(network, before, 12, 2.0).counts == [1] * 12
    assert torch.equal(network.atoms.detach(), atoms[before.argsort(descending=True)])


def test_a_run_starts_from_spread_atoms(photos: Path, tmp_path: Path) -> None:
    first = small.run(small.recipe_of(photos), tmp_path / "a")
    lines: list[str] = []
    recipe = small.recipe_of(photos, initial=str(tmp_path / "a"), spread={"strongest": 1, "shift": 1.0}, seed=1)
    second = small.run(recipe, tmp_path / "b", lines=lines)
    assert any("the 1 strongest atoms" in line and line.endswith("4 times") for line in lines)
    shares = atom_energies(second.network, second.data, 6)
    assert float(shares.sum()) == pytest.approx(1)
    assert float(shares.max()) < float(atom_energies(first.network, first.data, 6).max())
    # Resumed, a finished run stays as it is.
    again = small.run(recipe, tmp_path / "b", resume=True)
    assert not small.different(small.weights(second), small.weights(again))


def test_the_energy_of_what_is_left_out_goes_to_the_others() -> None:
    network = collapsed()
    before = energies(network)
    spread_atoms(network, before, 1, 1.0)
    assert float(energies(network).sum()) == pytest.approx(float(before.sum()), rel=1e-3)


def of_copies(turn: float = 0, flip: bool = False) -> tuple[OverlappingVSpM, Copies]:
    network = collapsed()
    with torch.no_grad():
        network.modes.normal_(std=0.02)
        network.variance_head[-1].weight.normal_(std=0.1)
        network.basis_head[-1].bias.normal_()
    return network, spread_atoms(network, energies(network), 3, 1.5, turn, flip)


@pytest.mark.parametrize(("turn", "flip"), [(0, False), (30, True)])
def test_pulling_back_is_the_adjoint_of_moving(turn: float, flip: bool) -> None:
    network, copies = of_copies(turn, flip)
    a, b = torch.randn(2, *network.atoms.shape, dtype=torch.float64)
    window = network.window.double()
    forward = (copies.move(a, window) * b).sum()
    assert float((a * copies.pull(b, window)).sum()) == pytest.approx(float(forward), rel=1e-5)


@pytest.mark.parametrize(("turn", "flip"), [(0, False), (30, True)])
def test_gradients_by_originals_are_those_of_finite_differences(turn: float, flip: bool) -> None:
    network, copies = of_copies(turn, flip)
    network.double()
    y, direction = torch.rand(1, 3, 5, 5, dtype=torch.float64), torch.randn(network.atoms.shape, dtype=torch.float64)

    def loss() -> torch.Tensor:
        space = network(y)
        return (
            (space.coefficient_log_var[:, 0].exp()[..., None, None, None] * space.atoms[:, 0, :, None, None])
            .cos()
            .sum()
        )

    loss().backward()
    copies.gather(network)
    originals = (copies.first == torch.arange(12)).nonzero()[:, 0]
    others = sorted(set(range(12)) - set(originals.tolist()))
    head = network.variance_head[-1]
    for gradient in (network.atoms.grad, head.weight.grad, head.bias.grad):
        assert float(gradient[others].abs().max()) == 0
    direction[others] = 0
    slope, step = float((network.atoms.grad * direction).sum()), 1e-5
    values = []
    start = network.atoms.detach().clone()
    for sign in (1, -1):
        with torch.no_grad():
            network.atoms.copy_(start + sign * step * direction)
        copies.renew(network)
        values.append(float(loss().detach()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-3)


def test_tied_atoms_stay_copies_also_when_resumed(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path / "a")
    spread = {"strongest": 2, "shift": 1.0, "turn": 20.0, "flip": True, "tied": True}
    recipe = small.recipe_of(photos, initial=str(tmp_path / "a"), spread=spread, seed=1)
    whole = small.run(recipe, tmp_path / "b")
    after = {name: value.clone() for name, value in small.weights(whole).items()}
    assert whole.copies is not None
    for network in (whole.network, whole.average.network):
        whole.copies.renew(network)
    for name, value in small.weights(whole).items():
        torch.testing.assert_close(value, after[name], rtol=1e-5, atol=1e-6)
    (tmp_path / "b" / "checkpoints" / "step-000000006.pt").unlink()
    again = small.run(recipe, tmp_path / "b", resume=True)
    assert again.copies is not None
    assert again.copies.counts == whole.copies.counts
    assert not small.different(after, small.weights(again))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("turn", "flip"), [(0, False), (30, False), (30, True)])
def test_copies_are_found_again(half: bool, turn: float, flip: bool) -> None:
    network, copies = of_copies(turn, flip)
    if half:
        network.half().float()
    found = found_copies(network, 3, 1.5, turn, flip)
    assert found is not None
    assert torch.equal(found.first, copies.first)
    torch.testing.assert_close(found.by, copies.by)
    torch.testing.assert_close(found.turn, copies.turn)
    torch.testing.assert_close(found.flip, copies.flip)
    torch.testing.assert_close(found.gain, copies.gain, rtol=2e-3, atol=0)
    assert found_copies(network, 2, 1.5, turn, flip) is None
    assert found_copies(network, 3, 1.0, turn, flip) is None
    with torch.no_grad():
        network.variance_head[-1].bias[1] += 0.01  # a copy of the first
    assert found_copies(network, 3, 1.5, turn, flip) is None


def test_turned_copies_are_not_taken_for_others() -> None:
    network = of_strokes()
    spread_atoms(network, energies(network), 2, 0.5, 30)
    assert found_copies(network, 2, 0.5, 30) is not None
    assert found_copies(network, 2, 0.5, 0) is None
    assert found_copies(network, 2, 0.5, 50) is None


def test_atoms_of_which_none_is_a_copy_are_none() -> None:
    assert found_copies(OverlappingVSpM(4, 12, 8, 1, 2), 12, 1.0) is None


def test_the_shipped_models_are_made_of_copies() -> None:
    for name, strongest, shift, turn, flip in (("vspsr-x4", 12, 0.8, 30, True), ("vspsr-x8", 24, 2.5, 45, False)):
        network = VSpSR.from_pretrained(name).network
        assert isinstance(network, OverlappingVSpM)
        assert found_copies(network, strongest, shift, turn, flip) is not None


def test_copies_spread_anew_keep_the_energy_of_their_groups() -> None:
    network, copies = of_copies()
    y = torch.rand(1, 3, 6, 6)
    before = energies(network, y)
    groups = torch.zeros(12).index_add_(0, copies.first, before)
    again = spread_atoms(network, groups, 3, 0.5)
    after = torch.zeros(12).index_add_(0, again.first, energies(network, y))
    wanted, got = (g[g > 0].sort().values for g in (groups, after))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=0)


def test_a_run_goes_on_with_the_copies_of_another(photos: Path, tmp_path: Path) -> None:
    small.run(small.recipe_of(photos), tmp_path / "a")
    spread = {"strongest": 2, "shift": 1.0, "tied": True}
    first = small.run(small.recipe_of(photos, initial=str(tmp_path / "a"), spread=spread, seed=1), tmp_path / "b")
    lines: list[str] = []
    recipe = small.recipe_of(photos, initial=str(tmp_path / "b"), spread=spread, seed=2)
    second = small.run(recipe, tmp_path / "c", lines=lines)
    assert any("copies of them already" in line for line in lines)
    assert first.copies is not None
    assert second.copies is not None
    assert torch.equal(first.copies.first, second.copies.first)


def test_what_cannot_be_spread_is_refused(photos: Path, tmp_path: Path) -> None:
    spread = {"strongest": 9, "shift": 1.0}
    with pytest.raises(RecipeError, match="`spread` needs `initial`"):
        small.recipe_of(photos, spread=spread)
    small.run(small.recipe_of(photos), tmp_path / "a")
    with pytest.raises(RecipeError, match="`strongest` 9: the model has 4 atoms"):
        small.run(small.recipe_of(photos, spread=spread, initial=str(tmp_path / "a")), tmp_path / "b")
    vspm = {"network": "vspm", "options": {"scale": 4}}
    with pytest.raises(RecipeError, match="`spread` is for the network `overlapping`"):
        small.recipe_of(photos, spread=spread, initial="a", model=vspm)
