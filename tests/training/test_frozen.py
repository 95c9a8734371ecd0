"""Parts of a network that keep their weights in a run."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="the extra `train` is not installed")

import training_runs as small

from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.recipe import RecipeError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("frozen") / "photos")


@pytest.fixture(scope="module")
def first(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("frozen") / "first"
    small.run(small.recipe_of(photos), run)
    return run


def test_frozen_parts_keep_their_weights_and_the_others_learn(photos: Path, first: Path, tmp_path: Path) -> None:
    frozen = ["trunk", "mean_head", "atoms"]
    made = small.run(small.recipe_of(photos, initial=str(first), frozen=frozen, seed=1), tmp_path / "second")
    found = latest(first)
    assert found is not None
    start = read_checkpoint(found)["average"]
    for state in (made.network.state_dict(), made.average.network.state_dict()):
        for name, value in state.items():
            kept = name.split(".")[0] in {*frozen, "window"}
            assert torch.equal(value, start[name]) == kept, name


def test_frozen_parts_stay_so_in_a_resumed_run(
    photos: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small.recipe_of(photos, initial=str(first), frozen=["trunk"], seed=1)
    whole = small.run(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        small.interrupt_at(3, patch)
        with pytest.raises(small.StoppedError):
            small.run(recipe, tmp_path / "parts")
    resumed = small.run(recipe, tmp_path / "parts", resume=True)
    assert small.different(small.weights(whole), small.weights(resumed)) == []


def test_frozen_atoms_may_be_tied_copies(photos: Path, first: Path, tmp_path: Path) -> None:
    spread = {"strongest": 2, "shift": 1.0, "tied": True}
    recipe = small.recipe_of(photos, initial=str(first), spread=spread, frozen=["atoms", "modes"], seed=1)
    made = small.run(recipe, tmp_path / "spread")
    assert torch.equal(made.network.state_dict()["atoms"], made.average.network.state_dict()["atoms"])


def test_what_cannot_be_frozen_is_refused(photos: Path, first: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`frozen` needs `initial`"):
        small.recipe_of(photos, frozen=["trunk"])
    for wrong, hint in (("trunks", "did you mean `trunk`"), ("zzz", "known are trunk, mean_head")):
        with pytest.raises(RecipeError, match=f"`frozen`: the network has no part '{wrong}': {hint}"):
            small.run(small.recipe_of(photos, initial=str(first), frozen=[wrong]), tmp_path / "wrong")


def test_something_must_be_left_to_learn(photos: Path, first: Path, tmp_path: Path) -> None:
    everything = ["trunk", "mean_head", "variance_head", "basis_head", "atoms", "modes"]
    with pytest.raises(RecipeError, match=r"`frozen`: trunk, .*, modes are the whole network"):
        small.run(small.recipe_of(photos, initial=str(first), frozen=everything), tmp_path / "all")
    mean = [{"name": "mean", "steps": 2, "losses": {"mean_l1": 1.0}}]
    recipe = small.recipe_of(photos, initial=str(first), frozen=["trunk", "mean_head"], phases=mean)
    with pytest.raises(RecipeError, match="phase 'mean': none of its losses depends on what learns"):
        small.run(recipe, tmp_path / "none")
