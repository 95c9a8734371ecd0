"""The mean that learns from its own answers to turned images."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import training_runs as small
from vspsr import Degradation
from vspsr.nn.parameters import SpaceParameters
from vspsr.training.ensemble import turned_mean


class Upsampler(nn.Module):
    """Bicubic, which does not mind turns, plus a slope from top to bottom, which does."""

    def __init__(self, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, y: Tensor) -> SpaceParameters:
        up = F.interpolate(y, scale_factor=4, mode="bicubic")
        up = up + self.slope * torch.linspace(-1, 1, up.shape[2])[:, None]
        return SpaceParameters(up, torch.zeros(len(y), 1, 1, 3, 4, 4), None, None)


def asked(network: nn.Module, y: Tensor, step: int, projection: bool = False) -> Tensor:
    return turned_mean(network, y, Degradation(4), (0, step), projection, nullcontext())


@pytest.mark.parametrize("projection", [False, True])
def test_what_does_not_mind_turns_is_its_own_teacher(projection: bool) -> None:
    y = torch.rand(2, 3, 6, 9)
    wanted = Upsampler()(y).deterministic
    if projection:
        down = Degradation(4).down(asked(Upsampler(), y, 0, projection))
        torch.testing.assert_close(down, y, rtol=0, atol=1e-5)
        return
    for step in range(8):
        torch.testing.assert_close(asked(Upsampler(), y, step), wanted, rtol=0, atol=1e-5)


def test_every_turn_comes_up_but_none_that_changes_nothing() -> None:
    y = torch.full((1, 3, 8, 8), 0.5)
    down, right = torch.linspace(-1, 1, 32)[:, None], torch.linspace(-1, 1, 32)
    slopes = {"down": down.expand(32, 32), "up": -down.expand(32, 32), "right": right.expand(32, 32)}
    slopes["left"] = -slopes["right"]
    found = []
    for step in range(64):
        answer = (asked(Upsampler(0.1), y, step)[0, 0] - 0.5) / 0.1
        (name,) = [name for name, slope in slopes.items() if torch.allclose(answer, slope, atol=1e-4)]
        found.append(name)
    # Seven turns and flips: a slope that is left as it is comes only from the flip of left and right.
    counts = {name: found.count(name) for name in slopes}
    assert min(counts.values()) > 0
    assert counts["down"] == min(counts.values())


def test_a_mean_that_learns_from_itself_minds_turns_less(tmp_path: Path) -> None:
    photos = small.photographs(tmp_path / "photos")
    y = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    apart = {}
    for weight in (0.0, 300.0):
        losses = {"mean_l1": 1.0, "mean_ensemble": weight, "energy_pixels": 1.0}
        recipe = small.recipe_of(
            photos, ema=0.5, optimiser={"rate": 3e-3}, phases=[{"name": "both", "steps": 60, "losses": losses}]
        )
        module = small.run(recipe, tmp_path / f"{weight:g}")
        with torch.no_grad():
            there = module.average.network(y).deterministic
            back = module.average.network(y.rot90(1, (2, 3))).deterministic.rot90(-1, (2, 3))
        apart[weight] = float((there - back).square().mean())
    assert apart[300.0] < 0.5 * apart[0.0]
