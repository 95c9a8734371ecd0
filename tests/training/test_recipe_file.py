"""Recipes: all that are shipped are valid and say what the paper says; mistakes are told in one line."""

import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs as small
import yaml
from vspsr.training.network_options import OPTIONS

from vspsr.degradation.operator import Degradation
from vspsr.model import NETWORKS
from vspsr.nn.vspm import VSpM
from vspsr.training.build import build_model
from vspsr.training.objective import Objective
from vspsr.training.recipe import RecipeError
from vspsr.training.recipe_file import load_recipe, parse_recipe, shipped_recipes
from vspsr.training.schedule import Schedule

CONFIGS = Path(str(resources.files("vspsr") / "configs"))
ALL = list(shipped_recipes().values())


@pytest.mark.parametrize("name", ["paper/x4", "configs/paper/x4.yaml", "paper/x4.yaml"])
def test_recipes_of_the_package_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From anywhere; a file of that name comes first."""
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path(name)).name == "paper-x4"
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "x4.yaml").write_text(yaml.safe_dump(small.RECIPE))
    assert load_recipe(Path("paper/x4.yaml")).name == "tiny"


def ids(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


def test_all_recipes_are_here() -> None:
    expected = ["x4", "x8", "paper/x4", "paper/x8", *(f"ablation/{i}" for i in range(1, 10))]
    assert sorted(ids(p) for p in ALL) == sorted(f"{name}.yaml" for name in expected)


@pytest.mark.parametrize("path", ALL, ids=ids)
def test_every_recipe_builds_and_runs_a_step(path: Path, tmp_path: Path) -> None:
    """On a small folder, with small crops and one step a phase; feature networks untrained for want of a network."""
    photos = small.photographs(tmp_path / "photos", 3, 128, 144)
    recipe = load_recipe(path)
    phases = [
        f"phases.{i}.{key}" for i in range(len(recipe.phases)) for key in ("steps=1", "share=null", "epochs=null")
    ]
    features = [f"features.{name}.weights=random" for name in recipe.features]
    size = ["crop=16", "batch=2", "data.holdout=0", "initial=null"]
    big = ["model.options.n_atoms=8"]
    tiny = load_recipe(path, [*phases, *features, *size, *big, f"data.folder={photos}"])
    module = small.run(tiny, tmp_path / "run")
    assert module.step == len(recipe.phases)
    assert all(v.isfinite().all() for v in small.weights(module).values())
    assert (tmp_path / "run" / "recipe.yaml").exists()
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == tiny


@pytest.mark.parametrize(("scale", "mode", "beta", "crop"), [(4, "bilinear", 1.0, 48), (8, "bicubic", 0.1, 32)])
def test_the_papers_recipe(scale: int, mode: str, beta: float, crop: int) -> None:
    recipe = load_recipe(CONFIGS / "paper" / f"x{scale}.yaml")
    network = build_model(recipe).network
    assert isinstance(network, VSpM)
    assert (network.alpha, network.beta, recipe.crop, recipe.batch) == (3.0, beta, crop, 4)
    assert network.deterministic is not None
    assert network.deterministic.mode == mode  # type: ignore[comparison-overlap]
    schedule = Schedule(recipe, n_images=800)
    assert [s.stop for s in schedule.phases] == [60_000, 80_000]
    assert [schedule.rate(s) for s in (0, 19_999, 20_000, 59_999)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6])
    assert [schedule.rate(s) for s in (60_000, 79_999)] == pytest.approx([1e-5, 1e-5])
    assert all(
        schedule.optimiser(s).clip == 0.1 and schedule.optimiser(s).weight_decay == 1e-4 for s in schedule.phases
    )
    losses = recipe.phases[1].losses
    assert losses.kl is not None
    assert losses.adversarial is not None
    assert losses.perceptual is not None
    assert (losses.kl.weight, losses.adversarial.weight, losses.perceptual.weight) == (0.1, 0.1, 0.01)


TABLE = {  # basis, upsampled part, λ_adv, stochastic basis, stochastic coefficients, β
    1: (256, "bilinear", 0.01, False, False, 0.5),
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
    assert last.losses.adversarial is not None
    names = ("n_atoms", "deterministic", "stochastic_basis", "stochastic_coefficients", "beta")
    found = [options[name] for name in names]
    assert (*found[:2], last.losses.adversarial.weight, *found[2:]) == TABLE[row]
    assert (recipe.initial is not None) == (row >= 6)
    assert [p.epochs for p in recipe.phases] == ([100] if row >= 6 else [300, 100])


@pytest.mark.parametrize("scale", [4, 8])
def test_shipped_recipes_make_the_shipped_models(scale: int) -> None:
    from vspsr import VSpSR

    model, shipped = build_model(load_recipe(CONFIGS / f"x{scale}.yaml")), VSpSR.from_pretrained(f"vspsr-x{scale}")
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in shipped.state_dict().items()}
    weights = resources.files("vspsr") / "weights" / f"vspsr-x{scale}" / "model.safetensors"
    assert len(weights.read_bytes()) < 5e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bacth": 4}, r"unknown key `bacth`: did you mean `batch`\?"),
        ({"optimiser": {"learning_rate": 1}}, r"unknown key `optimiser.learning_rate`: .*rate"),
        (
            {"phases": [{"name": "a", "step": 1, "losses": {"mse": 1}}]},
            r"unknown key `phases.0.step`: did you mean `steps`\?",
        ),
        (
            {"phases": [{"name": "a", "steps": 1, "losses": {"energy_pixel": 1}}]},
            r"unknown key `phases.0.losses.energy_pixel`: did you mean `energy_pixels`\?",
        ),
        (
            {"phases": [{"name": "a", "steps": 1, "losses": {"kl": {"weight": 1, "fom": "joint"}}}]},
            r"unknown key `phases.0.losses.kl.fom`: did you mean `form`\?",
        ),
        ({"batch": 0}, r"`batch`: Input should be greater than 0, got 0"),
        ({"batch": "many"}, r"`batch`: .*integer.*, got 'many'"),
        ({"precision": "fp8"}, r"`precision`: .*'fp32', 'bf16' or 'fp16', got 'fp8'"),
        ({"phases": [{"name": "a", "steps": 1, "share": 0.5, "losses": {"mse": 1}}]}, "exactly one of `steps`"),
        ({"phases": [{"name": "a", "steps": 1, "losses": {}}]}, "no loss is given"),
        (
            {
                "features": {"squeezenet": {}},
                "phases": [
                    {"name": "a", "steps": 1, "losses": {"energy_features": {"weight": 1, "features": "squeeze"}}}
                ],
            },
            "no entry 'squeeze': did you mean `squeezenet",
        ),
        ({"phases": [{"name": "a", "share": 0.5, "losses": {"mse": 1}}]}, "must have `steps`"),
        ({"optimiser": {"betas": [1.5, 2]}}, r"`optimiser.betas.0`: .*less than 1, got 1.5"),
        ({"validation": {"monitor": "psnr_meen"}}, r"`validation.monitor`: .*'psnr_mean'"),
        (
            {
                "phases": [
                    {"name": d, "steps": 1, "losses": {"adversarial": {"weight": 1, "discriminator": d}}}
                    for d in ("authors", "unet")
                ]
            },
            "one discriminator, got authors and unet",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse_recipe({**small.RECIPE, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("vspm", {"n_atom": 4}, r"unknown key `options.n_atom` of the network 'vspm': did you mean `n_atoms`\?"),
        ("vspm", {"n_atoms": 6}, r"`options.n_atoms`: .*multiple of 4, got 6"),
        ("vspm", {"deterministic": "cubic"}, r"`options.deterministic`: .*'bilinear' or 'bicubic'"),
        (
            "overlapping",
            {"wide": 4},
            "unknown key `options.wide` .*: known are scale, n_atoms, channels",
        ),
        ("overlapping", {"n_atoms": "eight"}, r"`options.n_atoms`: .*integer, got 'eight'"),
        ("overlapping", {"n_atoms": -3}, r"`options.n_atoms`: .*greater than 0, got -3"),
        ("overlapping", {"scale": "four"}, r"`options.scale`: .*integer, got 'four'"),
    ],
)
def test_options_of_the_network_are_checked(network: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=rf"`model`: {message}"):
        parse_recipe({**small.RECIPE, "model": {"network": network, "options": options}})


@pytest.mark.parametrize("network", OPTIONS)
def test_options_are_those_of_the_network(network: str) -> None:
    arguments = set(inspect.signature(NETWORKS[network]).parameters)
    given_apart = {"deterministic"} if network == "overlapping" else set()  # a module: the recipe's own `deterministic`
    assert set(OPTIONS[network].__annotations__) == arguments - given_apart


def test_as_many_layer_weights_as_layers() -> None:
    features = {"squeezenet": {"network": "squeezenet1_1", "weights": "random", "layer_weights": [1, 2]}}
    losses = {"energy_features": {"weight": 1, "features": "squeezenet"}}
    recipe = parse_recipe(
        {**small.RECIPE, "crop": 24, "features": features, "phases": [{"name": "a", "steps": 1, "losses": losses}]}
    )
    with pytest.raises(RecipeError, match=r"`features.squeezenet.layer_weights`: 2 of them for 7 layers"):
        Objective(recipe, Degradation(4))


class TestChanges:
    def write(self, folder: Path) -> Path:
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(small.RECIPE))
        return path

    def test_set(self, tmp_path: Path) -> None:
        changes = ["batch=5", "phases.0.losses.mean_l1=0.5", "features.vgg.network=vgg19", "optimiser.betas=[0.5, 0.9]"]
        recipe = load_recipe(self.write(tmp_path), changes)
        assert recipe.batch == 5
        assert recipe.phases[0].losses.mean_l1 is not None
        assert recipe.phases[0].losses.mean_l1.weight == 0.5
        assert recipe.features["vgg"].network == "vgg19"
        assert recipe.optimiser.betas == (0.5, 0.9)

    @pytest.mark.parametrize("change", ["batch", "phases.7.steps=1", "=1", "phases.x.steps=2"])
    def test_impossible_changes(self, tmp_path: Path, change: str) -> None:
        with pytest.raises(RecipeError, match="`--set`"):
            load_recipe(self.write(tmp_path), [change])

    def test_files_that_are_no_recipe(self, tmp_path: Path) -> None:
        with pytest.raises(
            RecipeError, match=r"none.yaml: no such file, nor one of the package's recipes: ablation/1, "
        ):
            load_recipe(tmp_path / "none.yaml")
        (tmp_path / "broken.yaml").write_text("a: [")
        with pytest.raises(RecipeError, match="cannot be read as a recipe"):
            load_recipe(tmp_path / "broken.yaml")
        (tmp_path / "empty.yaml").write_text("")
        with pytest.raises(RecipeError, match="a recipe is a mapping of keys to values, got NoneType"):
            load_recipe(tmp_path / "empty.yaml", ["data.folder=photos"])
        (tmp_path / "list.yaml").write_text("- 1")
        with pytest.raises(RecipeError, match="a recipe is a mapping"):
            load_recipe(tmp_path / "list.yaml")
        (tmp_path / "broken.yaml").write_text("a: [1")
        with pytest.raises(RecipeError, match="cannot be read as a recipe"):
            load_recipe(tmp_path / "broken.yaml")


def test_the_weights_at_the_start_depend_on_the_seed_alone() -> None:
    recipe = parse_recipe(small.RECIPE)
    states = []
    for _ in range(2):
        torch.manual_seed(recipe.seed)
        states.append(build_model(recipe).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
