"""Gradients that are not finite: how many a run stands, what it saves, and what it says when it ends."""

import math
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs as small
from torch import Tensor

from vspsr.data.files import ImagePair
from vspsr.training.build import build_model
from vspsr.training.checkpoint import latest
from vspsr.training.engine import Engine
from vspsr.training.objective import Objective
from vspsr.training.recipe_file import load_recipe, to_yaml
from vspsr.training.run import NotFiniteError
from vspsr.training.validation import validate_image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.photographs(tmp_path_factory.mktemp("data") / "photos", height=80, width=96)


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The loss is not a number in some steps."""
    forward = Objective.forward

    def broken(self: Objective, batch: Any, *args: Any) -> Any:
        total, figures, images = forward(self, batch, *args)
        return total * (float("nan") if batch.step in steps else 1.0), figures, images

    monkeypatch.setattr(Objective, "forward", broken)


def test_a_gradient_that_is_not_a_number_counts_as_zero(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, Tensor]] = []
    poison(monkeypatch, {0})

    def keep(engine: Engine, _: object) -> None:
        kept.append({k: v.clone() for k, v in small.weights(engine).items()})

    engine = small.run(small.recipe_of(photos), tmp_path, progress=keep)
    assert engine.step == 6
    assert all(v.isfinite().all() for v in small.weights(engine).values())
    torch.manual_seed(0)
    start = build_model(small.recipe_of(photos)).network.state_dict()
    assert small.different(start, {k.removeprefix("network."): v for k, v in kept[0].items() if "network" in k}) == []
    assert small.different(kept[0], kept[1])


class TestDivergence:
    PHASES = ({"name": "a", "steps": 60, "losses": {"mean_l1": 1.0}},)

    def test_ten_gradients_that_are_not_numbers_end_the_run(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last checkpoint is that of the last step with a gradient, and the error names it."""
        poison(monkeypatch, {1, *range(20, 60)})
        with pytest.raises(NotFiniteError, match=r"step 30: the gradient was not finite in 10 of the last") as caught:
            small.run(small.recipe_of(photos, phases=self.PHASES, log_every=10), tmp_path)
        found = latest(tmp_path)
        assert found is not None
        assert found.name == "step-00000020.pt"
        assert f"in another folder, from scratch or with `--set initial={found}`" in str(caught.value)
        assert "with a lower `optimiser.rate`" in str(caught.value)
        assert "fp32" not in str(caught.value)  # which it is in
        assert "resume" not in str(caught.value)

    @pytest.mark.parametrize("failing", [{3}, {0, 2, 4}, set(range(5)), set(range(3, 12)), set(range(2, 15))], ids=str)
    @pytest.mark.parametrize("log_every", [5, 100])
    def test_no_checkpoint_follows_a_step_that_failed(
        self, failing: set[int], log_every: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may be the first of many. Only a run that ends otherwise saves the last state, whatever it is."""
        poison(monkeypatch, failing)
        phases = [{**self.PHASES[0], "steps": 15}]
        keep = {"minutes": 0, "keep": 100}
        recipe = small.recipe_of(photos, phases=phases, log_every=log_every, checkpoints=keep)
        spoilt = log_every == 100 and len(failing) > 9  # no five steps have ten that fail
        with pytest.raises(NotFiniteError) if spoilt else nullcontext():
            small.run(recipe, tmp_path)
        saved = {int(p.stem.removeprefix("step-")) for p in (tmp_path / "checkpoints").iterdir()}
        assert saved == {s + 1 for s in range(15) if s not in failing} | (set() if spoilt else {15})

    def test_without_a_checkpoint_it_starts_from_scratch(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poison(monkeypatch, set(range(60)))
        phases = [self.PHASES[0], {**self.PHASES[0], "name": "b"}]
        recipe = small.recipe_of(photos, phases=phases, log_every=10, checkpoints={"minutes": 5})
        with pytest.raises(NotFiniteError, match=r"in another folder, from scratch, with a lower `optimiser.rate`$"):
            small.run(recipe, tmp_path)
        assert latest(tmp_path) is None

    def test_what_the_error_advises_helps(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run that diverges by itself, in a phase with a rate of its own, in bf16."""
        phases = [
            {"name": "calm", "steps": 5, "losses": {"mean_l1": 1.0}},
            {"name": "wild", "steps": 50, "losses": {"mean_l1": 1.0}, "optimiser": {"rate": 1e9}},
        ]
        changes = {"phases": phases, "precision": "bf16", "log_every": 25, "validation": {"every": 1, "images": 1}}
        recipe = small.recipe_of(photos, **changes, checkpoints={"minutes": 5})
        with monkeypatch.context() as patch:
            small.interrupt_at(4, patch)
            with pytest.raises(small.StoppedError):
                small.run(small.recipe_of(photos, **changes), tmp_path / "a")
        with pytest.raises(NotFiniteError) as caught:
            small.run(recipe, tmp_path / "a", resume=True)
        assert "with a lower `phases.1.optimiser.rate` or in precision fp32" in str(caught.value)
        (start,) = re.findall("`--set (initial=.*?)`", str(caught.value))
        (tmp_path / "recipe.yaml").write_bytes(to_yaml(recipe))
        changed = load_recipe(tmp_path / "recipe.yaml", [start, "phases.1.optimiser.rate=1e-4", "precision=fp32"])
        assert small.run(changed, tmp_path / "b").step == 55


@pytest.mark.parametrize("value", [1e30, math.nan, math.inf])
@pytest.mark.parametrize("network", [small.RECIPE["model"], small.CORRELATED, {"network": "vspm"}])
def test_a_model_that_diverges_is_validated(network: dict[str, Any], value: float, photos: Path) -> None:
    """What it says is worth nothing, and the log ends the run."""
    model = build_model(small.recipe_of(photos, model=network))
    for parameter in model.network.parameters():
        torch.nn.init.constant_(parameter, value)
    figures, pictures = validate_image(ImagePair(photos / "0.png", (80, 96)), model, torch.device("cpu"))
    assert figures["psnr_mean"] < figures["psnr_bicubic"]
    assert all(0 <= p.min() <= p.max() <= 1 for p in pictures)
