"""The recipes of the package: all are valid, say what the paper and its authors' code say, and take a step."""

import re
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

import pytest
import torch
import training_runs as small

from vspsr import VSpSR
from vspsr.data.crops import Batch
from vspsr.errors import ModelError
from vspsr.nn.correlated import CorrelatedVSpM
from vspsr.nn.vspm import VSpM
from vspsr.training.build import build_model
from vspsr.training.losses.prior import KL
from vspsr.training.objective import Objective
from vspsr.training.recipe import RecipeError
from vspsr.training.recipe_file import load_recipe, shipped_recipes
from vspsr.training.schedule import Schedule

CONFIGS = Path(str(resources.files("vspsr") / "configs"))
ALL = list(shipped_recipes().values())


def ids(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


def test_all_recipes_are_here() -> None:
    paper = [f"paper/x{scale}{kind}" for scale in (4, 8) for kind in ("", "-authors")]
    expected = ["x4", "x4-jpeg", "x8", "x8-jpeg", *paper, *(f"ablation/{i}" for i in range(1, 10))]
    assert sorted(ids(p) for p in ALL) == sorted(f"{name}.yaml" for name in expected)


@pytest.mark.parametrize("path", ALL, ids=ids)
def test_every_recipe_builds_and_runs_a_step(path: Path, tmp_path: Path) -> None:
    """On a small folder, with small crops and one step a phase; feature networks untrained for want of a network."""
    photos = small.photographs(tmp_path / "photos", 3, 128, 144)
    recipe = load_recipe(path)
    phases = [
        f"phases.{i}.{key}" for i in range(len(recipe.phases)) for key in ("steps=1", "share=null", "epochs=null")
    ]
    tiny = small.shipped(path, photos, "steps=null", *phases)
    engine = small.run(tiny, tmp_path / "run")
    assert engine.step == len(recipe.phases)
    assert all(v.isfinite().all() for v in small.weights(engine).values())
    assert (tmp_path / "run" / "recipe.yaml").exists()
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == tiny


@pytest.mark.parametrize("path", ALL, ids=ids)
def test_steps_change_the_length_or_are_refused(path: Path) -> None:
    """The error names what does change it."""
    before = Schedule(load_recipe(path), n_images=800).steps
    try:
        after = load_recipe(path, ["steps=123"])
    except RecipeError as error:
        changes = [f"{key}=1" for key in re.findall(r"phases\.\d+\.\w+", str(error))]
        assert len(changes) == len(load_recipe(path).phases)
        after = load_recipe(path, changes)
    assert Schedule(after, n_images=800).steps < before


PAPER = [(4, "bilinear", 1.0, 48), (8, "bicubic", 0.1, 32)]


@pytest.mark.parametrize("kind", ["", "-authors"])
@pytest.mark.parametrize(("scale", "mode", "beta", "crop"), PAPER)
def test_the_papers_recipes(scale: int, mode: str, beta: float, crop: int, kind: str) -> None:
    recipe = load_recipe(CONFIGS / "paper" / f"x{scale}{kind}.yaml")
    network = build_model(recipe).network
    assert isinstance(network, VSpM)
    assert (recipe.crop, recipe.batch) == (crop, 4)
    assert network.deterministic is not None
    assert network.deterministic.mode == mode  # type: ignore[comparison-overlap]
    schedule = Schedule(recipe, n_images=800)
    assert [s.stop for s in schedule.stages] == [60_000, 80_000]
    assert [schedule.rate(s) for s in (0, 19_999, 20_000, 59_999)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6])
    assert [schedule.rate(s) for s in (60_000, 79_999)] == pytest.approx([1e-5, 1e-5])
    assert all(s.optimiser.clip == 0.1 and s.optimiser.weight_decay == 1e-4 for s in schedule.stages)
    first, last = (phase.losses for phase in recipe.phases)
    for losses in (first, last):
        (kl,) = losses["kl"]
        assert isinstance(kl, KL)
        assert (kl.alpha, kl.beta) == (3.0, beta)
    assert not {"adversarial", "perceptual"} & first.keys()
    assert [last[name][0].weight for name in ("adversarial", "perceptual")] == [0.1, 0.01]


@pytest.mark.parametrize("scale", [4, 8])
def test_the_papers_text_and_the_authors_code(scale: int) -> None:
    """The text: no convolutions, likelihood and divergence of eqs. 4 and 5. Its gradients are those of the code."""
    text, code = (load_recipe(Path(f"paper/x{scale}{kind}")) for kind in ("", "-authors"))
    torch.manual_seed(0)
    model = build_model(text)
    x, y = torch.rand(1, 3, 16 * scale, 16 * scale), torch.rand(1, 3, 16, 16)
    assert model(y).is_gaussian
    assert not build_model(code)(y).is_gaussian
    gradients = []
    for recipe in (text, code):
        recipe = recipe.model_copy(update={"phases": recipe.phases[:1]})
        batch = Batch(x, y, torch.zeros_like(y), torch.zeros(len(y), dtype=torch.bool), 0, 0)
        total, _, _ = Objective(recipe, model.degradation)(batch, model.network(y), recipe.phases[0], nullcontext)
        gradients.append(torch.autograd.grad(total, list(model.network.parameters())))
    largest = max(float(g.abs().max()) for g in gradients[1])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * largest)


TABLE = {  # basis, upsampled part, λ_adv, stochastic basis, stochastic coefficients, β (row 1 has nothing to be sparse)
    1: (256, "bilinear", 0.01, False, False, None),
    2: (256, "bilinear", 0.01, False, True, 0.5),
    3: (256, "bilinear", 0.01, True, True, 0.5),
    4: (256, None, 0.01, False, True, 0.5),
    5: (64, "bilinear", 0.01, False, True, 0.5),
    6: (256, "bilinear", 0.01, False, True, 1.0),
    7: (256, "bilinear", 0.1, False, True, 1.0),
    8: (256, "bilinear", 1.0, False, True, 1.0),
    9: (256, "bilinear", 0.1, False, True, 0.1),
}


@pytest.mark.parametrize("row", TABLE)
def test_ablation_rows(row: int) -> None:
    recipe = load_recipe(CONFIGS / "ablation" / f"{row}.yaml")
    options, last = recipe.model.options, recipe.phases[-1]
    names = ("n_atoms", "deterministic", "stochastic_basis", "stochastic_coefficients")
    found = [options[name] for name in names]
    betas = {phase.losses["kl"][0].beta if "kl" in phase.losses else None for phase in recipe.phases}  # type: ignore[attr-defined]
    assert (*found[:2], last.losses["adversarial"][0].weight, *found[2:], *betas) == TABLE[row]
    assert (recipe.initial is not None) == (row >= 6)
    assert [p.epochs for p in recipe.phases] == ([100] if row >= 6 else [300, 100])


@pytest.mark.parametrize("scale", [4, 8])
def test_our_recipes(scale: int) -> None:
    """From scratch in one run: correlated coefficients, no more than three phases, JPEGs among the crops."""
    recipe = load_recipe(CONFIGS / f"x{scale}.yaml")
    model = build_model(recipe)
    assert isinstance(model.network, CorrelatedVSpM)
    assert (model.scale, recipe.initial, recipe.model.network) == (scale, None, "correlated")
    assert len(recipe.phases) <= 3
    assert sum(p.share or 0 for p in recipe.phases) == pytest.approx(1)
    assert recipe.data.jpeg is not None
    assert sum(p.numel() for p in model.parameters()) * 4 < 16 * 2**20


@pytest.mark.parametrize("scale", [4, 8])
def test_the_recipes_for_jpegs_start_from_what_the_shipped_models_say(scale: int) -> None:
    """Half of the LR images are JPEGs; the model is the shipped one's, and at the start so is what it says."""
    recipe, shipped = load_recipe(CONFIGS / f"x{scale}-jpeg.yaml"), VSpSR.from_pretrained(f"vspsr-x{scale}")
    assert recipe.data.jpeg is not None
    assert recipe.model.options == shipped.config["options"]
    y = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(build_model(recipe)(y).mean, shipped(y).mean)


def test_new_inputs_begin_at_zero(tmp_path: Path) -> None:
    """From a model that was trained without JPEGs: at first no quantisation changes what it says."""
    options = {"scale": 4, "n_atoms": 8, "channels": 8, "blocks": 1, "n_modes": 2}
    torch.manual_seed(0)
    before = VSpSR("overlapping", options)
    torch.nn.init.normal_(before.network.mean_head.residual.weight, std=0.1)
    before.save_pretrained(tmp_path)
    changes = [f"model.options.{name}={value}" for name, value in options.items()]
    model = build_model(load_recipe(CONFIGS / "x4-jpeg.yaml", [f"initial={tmp_path}", *changes]))
    y, coarse = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 12)
    expected = before(y)
    for space in (model(y), model(y, coarse)):
        torch.testing.assert_close(space.mean, expected.mean)
        torch.testing.assert_close(space.stddev, expected.stddev)
    torch.nn.init.normal_(model.network.trunk.head.weight, std=0.1)
    assert not torch.allclose(model(y, coarse).mean, model(y).mean, atol=1e-3)
    changes[2] = "model.options.channels=6"  # other differences are not papered over
    with pytest.raises(ModelError, match="does not fit the recipe's model"):
        build_model(load_recipe(CONFIGS / "x4-jpeg.yaml", [f"initial={tmp_path}", *changes]))
