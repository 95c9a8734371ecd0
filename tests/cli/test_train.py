"""`vspsr train` and `vspsr export` with bad arguments and folders: one line, exit code 2."""

from pathlib import Path

import pytest
import training_runs as small
from command_line import Run, fails_clearly

from vspsr.training.recipe_file import to_yaml


@pytest.fixture
def train(run: Run, tmp_path: Path) -> Run:
    """`vspsr train` for one step, in an empty folder with photographs in it."""
    photos = small.photographs(tmp_path / "photos")
    phases = [{"name": "a", "steps": 1, "losses": {"mean_l1": 1.0}}]
    recipe = small.recipe_of(photos, phases=phases, validation={"every": 1, "images": 1})
    (tmp_path / "tiny.yaml").write_bytes(to_yaml(recipe))
    return lambda *arguments: run("train", "--config", "tiny.yaml", "--accelerator", "cpu", *arguments)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("00:00:00", ["no time to train"]),
        ("0:00:00:00", ["no time to train"]),
        ("²:00:00", ["must be HH:MM:SS", "'²:00:00'"]),
        ("1" * 5000 + ":00:00", ["must be HH:MM:SS"]),
        ("1:00", ["must be HH:MM:SS"]),
        ("", ["must be HH:MM:SS"]),
    ],
)
def test_bad_times(train: Run, tmp_path: Path, time: str, words: list[str]) -> None:
    fails_clearly(train("-o", "run", "--max-time", time), "`--max-time`", *words, code=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", ["²", "0", "1" * 5000, "x"])
def test_bad_devices(train: Run, devices: str) -> None:
    fails_clearly(train("-o", "run", "--devices", devices), "`--devices`", devices[:20], "cannot be had here", code=2)


def test_a_run_and_its_model_replace_nothing(train: Run, run: Run, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = tmp_path / "own" / "recipe.yaml"
    own.write_text("# my comments\n" + (tmp_path / "tiny.yaml").read_text())
    fails_clearly(train("-o", "own"), "own/recipe.yaml: belongs to no run of this recipe", code=2)
    fails_clearly(train("-o", "photos"), "photos: would lie among the training images", code=2)
    assert own.read_text().startswith("# my comments\n")
    assert train("-o", "run", "--max-time", "0:01:00").returncode == 0
    fails_clearly(train("-o", "run"), "run: holds a run already: --resume", code=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "precious.png").write_bytes(b"mine")
    (tmp_path / "mine" / "example.png").symlink_to("../precious.png")
    fails_clearly(run("export", "run", "-o", "mine"), "mine/example.png: exists already: use `--overwrite`", code=2)
    (tmp_path / "run" / "metrics.csv").write_bytes("step,a\n1,ä\n".encode("utf-16"))
    fails_clearly(run("export", "run", "-o", "model"), "run/metrics.csv: no figures of a run", "move it away", code=2)
    fails_clearly(train("-o", "run", "--resume"), "run/metrics.csv: no figures of a run", "move it away", code=2)
    assert (tmp_path / "precious.png").read_bytes() == b"mine"
    assert not (tmp_path / "model").exists()
