"""From a run to a model, and VSpM around a pretrained SR network."""

from pathlib import Path

import pytest
import torch
import training_runs as small
from typer.testing import CliRunner

from vspsr import VSpSR
from vspsr.cli.main import app
from vspsr.errors import ModelError, OutputError
from vspsr.training.build import build_model
from vspsr.training.checkpoint import latest, read_checkpoint, write_checkpoint
from vspsr.training.export import export
from vspsr.training.recipe import RecipeError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    photos = small.photographs(folder / "photos")
    rows = [f"{i}.png,{'val' if i == 4 else 'train'},CC0,a friend" for i in range(5)]
    (photos / "manifest.csv").write_text("\n".join(["file,split,licence,source", *rows]))
    small.run(small.recipe_of(photos), folder / "run")
    return folder / "run"


def test_the_model_is_the_average_of_the_run(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / "model"), "--temperature", "0.8"])
    assert result.exit_code == 0, result.output
    model = VSpSR.from_pretrained(tmp_path / "model")
    found = latest(run)
    assert found is not None
    for key, value in read_checkpoint(found)["average"].items():
        assert torch.equal(model.network.state_dict()[key], value)
    assert model.temperature == 0.8
    assert model(torch.rand(1, 3, 5, 7)).sample(1).shape == (1, 1, 3, 20, 28)


def test_a_run_whose_steps_had_no_effect(run: Path, tmp_path: Path) -> None:
    """Earlier versions did not refuse them: such a run is exported, and goes on without them."""
    found = latest(run)
    assert found is not None
    state = read_checkpoint(found)
    path = tmp_path / "run" / "checkpoints" / found.name
    write_checkpoint(path, {**state, "recipe": {**state["recipe"], "steps": 1000}})
    export(tmp_path / "run", tmp_path / "model")
    (tmp_path / "run" / "recipe.yaml").write_bytes(b"")
    assert small.run(small.recipe_of(run.parent / "photos"), tmp_path / "run", resume=True).step == 6


def test_half_the_size(run: Path, tmp_path: Path) -> None:
    for name, option in (("whole", []), ("half", ["--half"])):
        result = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / name), *option])
        assert result.exit_code == 0, result.output
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]


def test_the_card_tells_of_the_run(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "# tiny" in card
    assert "4 training images. 4 from a friend (CC0)." in card
    assert "6 steps of 2 crops of 6×6 LR pixels" in card
    assert "- pixels: 1 · mean_l1 + 1 · energy_pixels" in card
    assert "| psnr_mean |" in card
    assert (tmp_path / "model" / "example.png").stat().st_size > 0
    with pytest.raises(OutputError, match="exists already"):
        export(run, tmp_path / "model")
    export(run, tmp_path / "model", overwrite=True)


def test_a_run_of_an_earlier_version(run: Path, tmp_path: Path) -> None:
    """Its weights are exported and trained on; its recipe, of losses that may be gone, is not interpreted."""
    found = latest(run)
    assert found is not None
    now = read_checkpoint(found)
    recipe = {"name": "old", "steps": 6, "phases": [{"name": "first", "losses": {"sparsity": {"weight": 1.0}}}]}
    old = tmp_path / "run" / "checkpoints" / "step-000000006.pt"
    old.parent.mkdir(parents=True)
    kept = {key: now[key] for key in ("step", "network", "average", "discriminator", "optimisers", "sums", "counted")}
    config = {k: v for k, v in now["model"].items() if k not in ("calibration", "trained_on_jpegs")}
    torch.save({**kept, "format": 1, "recipe": recipe, "model": config, "skipped": 0, "best": None}, old)

    result = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "-o", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    exported = VSpSR.from_pretrained(tmp_path / "model").network.state_dict()
    begun = build_model(small.recipe_of(tmp_path).model_copy(update={"initial": tmp_path / "run"})).network.state_dict()
    for key, value in now["average"].items():
        assert torch.equal(exported[key], value)
        assert torch.equal(begun[key], value)
    assert "'sparsity': {'weight': 1.0}" in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(ModelError, match="cannot be resumed: start one with `--set initial="):
        read_checkpoint(old)


@pytest.mark.parametrize("key", ["format", "recipe", "model", "step", "average", "optimisers"])
def test_a_checkpoint_that_lacks_something(run: Path, tmp_path: Path, key: str) -> None:
    found = latest(run)
    assert found is not None
    content = read_checkpoint(found)
    del content[key]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="not a checkpoint of `vspsr train`"):
        export(tmp_path / "a.pt", tmp_path / "model")


def test_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint of a run"):
        export(tmp_path, tmp_path / "model")
    (tmp_path / "a.pt").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        export(tmp_path / "a.pt", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_recipe_with_a_typo_at_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nmodel: {}\ncrop: 8\nphasses: []\n")
    result = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "a.yaml")])
    assert isinstance(result.exception, RecipeError)
    assert "unknown key `phasses`: did you mean `phases`?" in str(result.exception)


class TestPretrained:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        """A small ESRGAN with random weights, saved as its authors do."""
        architectures = pytest.importorskip("spandrel.architectures.ESRGAN", reason="spandrel is not installed")
        torch.manual_seed(0)
        network = architectures.ESRGAN(num_filters=8, num_blocks=1, scale=4)
        torch.save(network.state_dict(), tmp_path / "esrgan.pth")
        return tmp_path / "esrgan.pth"

    @pytest.mark.parametrize("network", ["overlapping", "vspm"])
    @pytest.mark.parametrize("trainable", [False, True])
    def test_vspm_learns_the_space_around_it(
        self, checkpoint: Path, tmp_path: Path, network: str, trainable: bool
    ) -> None:
        photos = small.photographs(tmp_path / "photos")
        options = small.RECIPE["model"]["options"] if network == "overlapping" else {"scale": 4, "n_atoms": 8}
        changes = {
            "model": {"network": network, "options": options},
            "deterministic": {"checkpoint": str(checkpoint), "trainable": trainable},
        }
        engine = small.run(small.recipe_of(photos, **changes), tmp_path / "run")
        original = torch.load(checkpoint, weights_only=True)
        changed = [
            k
            for k, v in engine.network.deterministic.module.state_dict().items()
            if not torch.equal(v, original[k])  # type: ignore[union-attr]
        ]
        assert bool(changed) == trainable
        checkpoint.unlink()
        model = export(tmp_path / "run", tmp_path / "model")
        assert model.config["options"]["deterministic"] == {"pretrained": "ESRGAN"}  # type: ignore[index]
        loaded = VSpSR.from_pretrained(tmp_path / "model")
        y = torch.rand(1, 3, 16, 16)
        torch.testing.assert_close(loaded(y).sample(1), model(y).sample(1))

    def test_resumption_is_exact(self, checkpoint: Path, tmp_path: Path) -> None:
        photos = small.photographs(tmp_path / "photos")
        changes = {"deterministic": {"checkpoint": str(checkpoint), "trainable": True}}
        whole = small.run(small.recipe_of(photos, **changes), tmp_path / "run")
        for file in (tmp_path / "run" / "checkpoints").iterdir():
            if file.name != "step-00000005.pt":
                file.unlink()
        resumed = small.run(small.recipe_of(photos, **changes), tmp_path / "run", resume=True)
        assert small.different(small.weights(whole), small.weights(resumed)) == []

    def test_wrong_files(self, checkpoint: Path, tmp_path: Path) -> None:
        photos = small.photographs(tmp_path / "photos")
        options = {"scale": 8, "n_atoms": 4, "channels": 8, "blocks": 1}
        wrong = {"model": {"options": options}, "crop": 4, "deterministic": {"checkpoint": str(checkpoint)}}
        with pytest.raises(ModelError, match="upscales by 4, the model by 8"):
            small.run(small.recipe_of(photos, **wrong), tmp_path / "run")
        torch.save({"a": torch.zeros(3)}, checkpoint)
        with pytest.raises(ModelError, match="not a checkpoint of an SR network"):
            small.run(small.recipe_of(photos, deterministic={"checkpoint": str(checkpoint)}), tmp_path / "run")
        checkpoint.write_bytes(b"rubbish")
        with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
            small.run(small.recipe_of(photos, deterministic={"checkpoint": str(checkpoint)}), tmp_path / "run")
