"""Recipe files: names, extension, changes; mistakes are reported in one line."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs as small
import yaml

from vspsr.degradation.operator import Degradation
from vspsr.errors import ModelError
from vspsr.training.build import build_model
from vspsr.training.losses.prior import KL
from vspsr.training.objective import Objective
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.recipe_file import load_recipe, parse_recipe, to_yaml


@pytest.mark.parametrize("name", ["paper/x4", "configs/paper/x4.yaml", "paper/x4.yaml"])
def test_recipes_of_the_package_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From anywhere; a file of that name comes first, a folder (of a run, say) does not count."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    assert load_recipe(Path(name)).name == "paper-x4"
    (tmp_path / "paper").mkdir(exist_ok=True)
    shutil.rmtree(tmp_path / "paper" / "x4.yaml", ignore_errors=True)
    (tmp_path / "paper" / "x4.yaml").write_text(yaml.safe_dump(small.RECIPE))
    assert load_recipe(Path("paper/x4.yaml")).name == "tiny"


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
            r"unknown key `phases.0.losses.kl.0.fom`: did you mean `form`\?",
        ),
        ({"batch": 0}, r"`batch`: Input should be greater than 0, got 0"),
        ({"batch": "many"}, r"`batch`: .*integer.*, got 'many'"),
        ({"precision": "fp16"}, r"`precision`: .*'auto', 'fp32' or 'bf16', got 'fp16'"),
        ({"phases": [{"name": "a", "steps": 1, "share": 0.5, "losses": {"mse": 1}}]}, "exactly one of `steps`"),
        ({"phases": [{"name": "a", "steps": 1, "losses": {}}]}, "`phases.0`: `losses` must have at least one"),
        (
            {
                "features": {"squeezenet": {}},
                "phases": [
                    {"name": "a", "steps": 1, "losses": {"energy_features": {"weight": 1, "features": "squeeze"}}}
                ],
            },
            "no entry 'squeeze' .*: did you mean `squeezenet`",
        ),
        (
            {"phases": [{"name": "a", "steps": 1, "losses": {"perceptual": 1}}]},
            r"`features` has no entry 'vgg19' \(e\.g\. `vgg19: {network: vgg19}`\): there are none$",
        ),
        ({"steps": 9}, "`steps` 9 has no effect: no phase has a `share`. Leave it out and set `phases.0.steps`$"),
        (
            {"steps": 9, "phases": [{"name": n, n: 1, "losses": {"mse": 1}} for n in ("epochs", "steps")]},
            "`steps` 9 has no effect: .* set `phases.0.epochs`, `phases.1.steps`$",
        ),
        ({"phases": [{"name": "a", "share": 0.5, "losses": {"mse": 1}}]}, "must have `steps`"),
        ({"optimiser": {"betas": [1.5, 2]}}, r"`optimiser.betas.0`: .*less than 1, got 1.5"),
        (
            {"features": {"vgg": {"layer_weights": [1, 0]}}},
            r"`features.vgg.layer_weights.1`: .*greater than 0, got 0",
        ),
        ({"data": {"jpeg": {}}}, "`data.jpeg` needs crops of a multiple of 16 LR pixels"),
        (
            {"crop": 16, "data": {"jpeg": {"quality": [0, 50]}}},
            r"`data.jpeg.quality.0`: .*or equal to 1, got 0",
        ),
        ({"crop": 16, "data": {"jpeg": {"subsampling": [422]}}}, r"`data.jpeg.subsampling.0`: .*420 or 444, got 422"),
        ({"crop": 16, "data": {"jpeg": {"share": 2}}}, r"`data.jpeg.share`: .*less than or equal to 1, got 2"),
        (
            {"phases": [{"name": "a", "steps": 1, "losses": {"sparsity": 1}}]},
            "unknown key `phases.0.losses.sparsity`: known are",
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
        ("vspm", {"n_atom": 4}, r"`options` of the network 'vspm': 'n_atom': did you mean `n_atoms`\?"),
        ("vspm", {"n_atoms": 6}, "`n_atoms` must be a.* multiple of 4, got 6"),
        ("vspm", {"deterministic": "cubic"}, ".*`mode` must be one of bilinear, bicubic, got 'cubic'"),
        ("overlapping", {"wide": 4}, "`options` of the network .*: 'wide': known are scale, n_atoms, channels"),
        ("overlapping", {"n_atoms": "eight"}, "`n_atoms` must be .*, got 'eight'"),
        ("overlapping", {"n_atoms": -3}, "`n_atoms` must be .*, got -3"),
        ("overlapping", {"n_modes": -1}, "`n_modes` must be .*, got -1"),
        ("overlapping", {"scale": "four"}, "`scale` must be .*, got 'four'"),
        ("overlapping", {"scale": 3}, "`scale` must be even"),
        ("overlapping", {"channels": [8]}, r"`channels` must be .*, got \[8\]"),
    ],
)
def test_options_of_the_network_are_checked(network: str, options: dict[str, Any], message: str) -> None:
    """By its constructor, so that there is nothing to keep in step with it."""
    with pytest.raises(RecipeError, match=rf"`model`: .*{message}") as caught:
        parse_recipe({**small.RECIPE, "model": {"network": network, "options": options}})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"n_modes": 0}, {"blocks": 0}, {"n_atoms": 1}])
def test_what_the_network_documents_is_accepted(options: dict[str, Any]) -> None:
    model = {"network": "overlapping", "options": {**small.RECIPE["model"]["options"], **options}}
    network = build_model(parse_recipe({**small.RECIPE, "model": model})).network
    assert network(torch.rand(1, 3, 8, 8)).atoms.shape[1] == 1


NUMBERS = {
    "seed": [2**63, -1, 1e300, True],
    "batch": [1e300, 10**30, True, math.nan],
    "crop": [10**30, 0, False],
    "steps": [1e300, 10**30, math.inf],
    "ema": [True, 1.0, math.nan],
    "data.memory_gb": [1e300, math.inf, -1, True],
    "data.shrink": [0.5, True, math.nan],
    "micro_batch": [0, True, 10**30],
    "optimiser.rate": [math.nan, 1e300, True, 0],
    "optimiser.betas": [[0.9, math.nan], [True, 0.9]],
    "schedule.warmup": [10**30, True],
    "phases.0.steps": [10**30, True, 1e300],
    "phases.0.losses.mean_l1": [True, math.nan, 1e300, -1, [[1]]],
    "phases.0.losses.energy_pixels": [{"weight": 1, "patch": 10**30}, [{"weight": 1, "bands": 0}]],
    "validation.images": [True, 10**30],
    "checkpoints.minutes": [math.inf, True],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in NUMBERS.items() for v in values], ids=str)
def test_numbers_that_make_no_sense_are_named(key: str, value: Any, tmp_path: Path) -> None:
    """Booleans, nan, infinities and numbers that would overflow further on."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(small.RECIPE))
    with pytest.raises(RecipeError, match=rf"`{key}[.\w]*`: (Input should be|Unable to parse) ") as caught:
        load_recipe(path, [f"{key}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...').strip()}"])
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def nested(depth: int) -> Any:
    content: Any = 1
    for _ in range(depth):
        content = [content]
    return content


class TestDepth:
    """Parsers recurse: whatever is nested without end is one line, wherever it stands."""

    @pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a: " + "{b: " * 5000, "- " * 5000, "? " * 5000])
    def test_files(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "deep.yaml").write_text(text)
        with pytest.raises(RecipeError, match=r"deep\.yaml: is nested too deeply") as caught:
            load_recipe(tmp_path / "deep.yaml")
        assert "\n" not in str(caught.value)
        (tmp_path / "over.yaml").write_text("extends: deep.yaml")
        with pytest.raises(RecipeError, match="is nested too deeply"):
            load_recipe(tmp_path / "over.yaml")

    @pytest.mark.parametrize("key", ["batch", "model.options.n_atoms", "phases.0.losses"])
    def test_changes(self, key: str) -> None:
        with pytest.raises(RecipeError, match=rf"`--set` '{key}=.*: is nested too deeply") as caught:
            load_recipe(Path("x4"), [f"{key}={'[' * 5000}"])
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("depth", [100, 900, 100_000])
    @pytest.mark.parametrize("key", ["batch", "data", "phases"])
    def test_containers(self, key: str, depth: int) -> None:
        """Of a checkpoint, for instance."""
        with pytest.raises(RecipeError) as caught:
            parse_recipe({**small.RECIPE, key: nested(depth)}, "checkpoint")
        assert len(str(caught.value)) < 400


class TestExtends:
    def recipe(self, folder: Path, name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def test_differences_are_laid_over_a_file_or_a_recipe_of_the_package(self, tmp_path: Path) -> None:
        middle = self.recipe(tmp_path, "sub/middle.yaml", "extends: paper/x4-authors\nname: middle\nbatch: 6\n")
        text = (
            "extends: sub/middle.yaml\nseed: 7\ncrop: null\nvalidation: null\nmodel: {options: {deterministic: null}}\n"
            "phases: {0: null, 1: {losses: {kl: {beta: 0.3}, mse: null, mean_l1: 1e-3}}}\n"
        )
        found = load_recipe(self.recipe(tmp_path, "top.yaml", text), ["crop=20"])
        base = load_recipe(Path("paper/x4-authors"))
        assert load_recipe(middle).batch == 6
        assert (found.name, found.batch, found.seed, found.crop) == ("middle", 6, 7, 20)
        assert found.validation != base.validation  # null leaves the key out
        assert found.model.options == {**base.model.options, "deterministic": None}  # of a network null is a value
        assert [phase.name for phase in found.phases] == ["fine-tune"]
        losses = found.phases[0].losses
        assert set(losses) == {"kl", "mean_l1", "adversarial", "perceptual"}
        assert losses["mean_l1"][0].weight == 1e-3
        assert losses["kl"] == (KL(weight=0.1, form="authors", beta=0.3),)
        assert found.phases[0].optimiser == base.phases[1].optimiser
        other = load_recipe(self.recipe(tmp_path, "other.yaml", "extends: x4\nmodel: {network: vspm}\n"))
        assert (other.model.options, other.model.temperature) == ({}, 1.0)  # another network has options of its own
        written = tmp_path / "written.yaml"
        written.write_bytes(to_yaml(found))
        assert "extends" not in written.read_text()
        assert load_recipe(written) == found

    def test_the_guides_example(self, tmp_path: Path) -> None:
        """docs/training.md."""
        guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
        first, last = (b for b in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "extends" in b)
        found = load_recipe(self.recipe(tmp_path, "a.yaml", first))
        assert found.name == "mine"
        assert "perceptual" not in found.phases[1].losses
        found = load_recipe(self.recipe(tmp_path, "b.yaml", last))
        assert [(p.name, p.share) for p in found.phases] == [("features", 1)]
        assert found.model == load_recipe(Path("x4")).model
        build_model(found)  # the weights of the initial model fit

    def test_a_list_replaces_a_list(self, tmp_path: Path) -> None:
        text = "extends: x4\nsteps: null\nphases: [{name: only, steps: 3, losses: {mean_l1: 1}}]\n"
        assert [p.name for p in load_recipe(self.recipe(tmp_path, "a.yaml", text)).phases] == ["only"]

    def test_circles(self, tmp_path: Path) -> None:
        self.recipe(tmp_path, "own.yaml", "extends: own.yaml")
        self.recipe(tmp_path, "a.yaml", "extends: b.yaml")
        self.recipe(tmp_path, "b.yaml", "extends: a.yaml")
        for name in ("own", "a", "b"):
            with pytest.raises(RecipeError, match=rf"{name}.yaml: `extends` leads back to .*{name}.yaml$"):
                load_recipe(tmp_path / f"{name}.yaml")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("extends: none.yaml", r"none.yaml: no such file, nor one of the package's recipes"),
            ("extends: [x4, x8]", r"`extends` must be the name or the path of a recipe, got \['x4', 'x8'\]"),
            ("extends: 4", "`extends` must be the name or the path of a recipe, got 4"),
            (f"extends: {'x' * 5000}", "x: no such file, nor"),
            ('extends: "a\\0b"', "no such file, nor"),
            ("extends: x4\nbacth: 3", r"unknown key `bacth`: did you mean `batch`\?"),
            ("extends: x4\nbacth: null", r"unknown key `bacth`: did you mean `batch`\?"),
            ("extends: x4\nphases: {7: {steps: 1}}", "phases: is a list of 2 .*: give entries by number from 0, got 7"),
            ("extends: x4\nphases: {name: a}", "phases: is a list of 2 .*, got 'name'"),
            ("extends: x4\nphases: null", "`phases`: Field required"),
        ],
    )
    def test_mistakes(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=message) as caught:
            load_recipe(self.recipe(tmp_path, "a.yaml", text))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_recipes_as_editors_save_them(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    text = yaml.safe_dump({**small.RECIPE, "description": "größer"}, allow_unicode=True)
    path.write_bytes(text.replace("\n", end).encode(encoding))
    assert load_recipe(path) == parse_recipe({**small.RECIPE, "description": "größer"})


@pytest.mark.parametrize("loss", ["log_power_crps", "energy_features"])
@pytest.mark.parametrize(
    ("options", "affine"),
    [({}, False), ({"convolutions": False}, True), ({"convolutions": False, "stochastic_basis": True}, False)],
)
def test_the_means_gradient_is_scaled_only_where_samples_are_affine(
    loss: str, options: dict[str, Any], affine: bool
) -> None:
    features = {"squeezenet": {"network": "squeezenet1_1", "weights": "random"}}
    model = {"network": "vspm", "options": {"scale": 4, "n_atoms": 8, **options}}

    def recipe(scale: float) -> Recipe:
        losses = {loss: {"weight": 1.0, "mean_gradient_scale": scale}}
        changes = {"features": features, "model": model, "crop": 16}
        return parse_recipe({**small.RECIPE, **changes, "phases": [{"name": "a", "steps": 1, "losses": losses}]})

    build_model(recipe(1.0))
    if affine:
        build_model(recipe(0.5))
        return
    with pytest.raises(RecipeError, match="`mean_gradient_scale`: must be 1 where samples are not affine"):
        build_model(recipe(0.5))


@pytest.mark.parametrize("loss", ["perceptual", "energy_features"])
def test_the_entry_of_features_that_the_error_proposes_is_one(loss: str) -> None:
    content = {**small.RECIPE, "phases": [{"name": "a", "steps": 1, "losses": {loss: 1}}]}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content)
    (example,) = re.findall("e.g. `(.*?)`", str(caught.value))
    assert parse_recipe({**content, "features": yaml.safe_load(example)}).features


def test_as_many_layer_weights_as_layers() -> None:
    features = {"squeezenet": {"network": "squeezenet1_1", "weights": "random", "layer_weights": [1, 2]}}
    losses = {"energy_features": {"weight": 1, "features": "squeezenet"}}
    recipe = parse_recipe(
        {**small.RECIPE, "crop": 24, "features": features, "phases": [{"name": "a", "steps": 1, "losses": losses}]}
    )
    with pytest.raises(ModelError, match=r"`features.squeezenet`: `layer_weights`: 2 of them for 7 layers"):
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
        assert recipe.phases[0].losses["mean_l1"][0].weight == 0.5
        assert recipe.features["vgg"].network == "vgg19"
        assert recipe.optimiser.betas == (0.5, 0.9)

    @pytest.mark.parametrize("change", ["batch", "phases.7.steps=1", "=1", "phases.x.steps=2"])
    def test_impossible_changes(self, tmp_path: Path, change: str) -> None:
        with pytest.raises(RecipeError, match="`--set`"):
            load_recipe(self.write(tmp_path), [change])

    def test_a_place_in_a_list_is_a_number(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="'x' stands where a list has numbers"):
            load_recipe(self.write(tmp_path), ["phases.x.steps=2"])

    def test_recipes_of_the_docs(self, tmp_path: Path) -> None:
        docs = Path(__file__).parents[2] / "docs"
        text = "".join((docs / name).read_text(encoding="utf-8") for name in ("training.md", "experiments.md"))
        blocks = [b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "phases:" in b]
        for i, block in enumerate(blocks):
            (tmp_path / f"{i}.yaml").write_text(block)
            load_recipe(tmp_path / f"{i}.yaml")
        assert len(blocks) == 5

    def test_files_that_are_no_recipe(self, tmp_path: Path) -> None:
        with pytest.raises(
            RecipeError, match=r"none.yaml: no such file, nor one of the package's recipes: ablation/1, "
        ):
            load_recipe(tmp_path / "none.yaml")
        (tmp_path / "broken.yaml").write_text("a: [")
        with pytest.raises(RecipeError, match="cannot be read as YAML"):
            load_recipe(tmp_path / "broken.yaml")
        (tmp_path / "empty.yaml").write_text("")
        with pytest.raises(RecipeError, match="a recipe is a mapping of keys to values, got NoneType"):
            load_recipe(tmp_path / "empty.yaml", ["data.folder=photos"])
        (tmp_path / "list.yaml").write_text("- 1")
        with pytest.raises(RecipeError, match="a recipe is a mapping"):
            load_recipe(tmp_path / "list.yaml")
        (tmp_path / "broken.yaml").write_text("a: [1")
        with pytest.raises(RecipeError, match="cannot be read as YAML"):
            load_recipe(tmp_path / "broken.yaml")


def test_the_weights_at_the_start_depend_on_the_seed_alone() -> None:
    recipe = parse_recipe(small.RECIPE)
    states = []
    for _ in range(2):
        torch.manual_seed(recipe.seed)
        states.append(build_model(recipe).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
