"""`vspsr train` and `vspsr export`: bad arguments and folders are one line, exit code 2; what a run shows."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
import training_runs as small
from command_line import Run, fails_clearly
from rich.console import Console
from typer.testing import CliRunner

from vspsr.cli import console
from vspsr.cli.main import app
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


class TestShown:
    """Step, time left and crops a second before all else, then the losses, the whole loss first."""

    PACE = r", \d+:\d\d:\d\d left, \d+\.\d crops/s, "

    def arguments(self, folder: Path, **changes: Any) -> list[str]:
        photos = small.photographs(folder / "photos")
        (folder / "recipe.yaml").write_bytes(to_yaml(small.recipe_of(photos, **changes)))
        return ["train", "--config", str(folder / "recipe.yaml"), "--accelerator", "cpu", "-o", str(folder / "run")]

    @pytest.mark.parametrize(("time", "of"), [([], " of 6"), (["--max-time", "01:00:00"], "")])
    def test_on_a_terminal_of_80_columns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: list[str], of: str
    ) -> None:
        stream = io.StringIO()
        monkeypatch.setattr(console, "_err", Console(file=stream, force_terminal=True, width=80, markup=False))
        result = CliRunner().invoke(app, [*self.arguments(tmp_path), *time])
        assert result.exit_code == 0
        assert "crops/s" not in result.output
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).strip())
        assert re.search(rf"━+ 100% 0:\d\d:\d\d step 6{of}{self.PACE}pixels: .*…$", lines[-1])
        assert max(map(len, lines)) == 80

    def test_in_a_file(self, tmp_path: Path) -> None:
        """A line at each log, from the first on, and at the ends of phases; a resumed run goes on counting."""
        losses = {"mean_l1": 1.0, "mean_mse": 1.0}
        phases = [{"name": "a", "steps": 3, "losses": losses}, {"name": "b", "steps": 3, "losses": losses}]
        arguments = self.arguments(tmp_path, phases=phases)
        result = CliRunner().invoke(app, arguments)
        lines = result.output.splitlines()
        assert lines[1] == "6 steps"
        shown = [re.fullmatch(rf"0:00:\d\d (step \d of 6){self.PACE}(.): loss .* mean_l1 .*", s) for s in lines[2:6]]
        assert [m and (m[1], m[2]) for m in shown] == [
            (f"step {s} of 6", p) for s, p in zip((2, 3, 4, 6), "aabb", strict=True)
        ]
        assert lines[6].startswith("done: 6 steps")
        (tmp_path / "run" / "checkpoints" / "step-00000006.pt").unlink()
        again = CliRunner().invoke(app, [*arguments, "--resume", "--max-time", "01:00:00"]).output.splitlines()
        assert again[1] == "60 minutes of training, at most 6 steps"
        assert "resuming at step 5" in again[2]
        assert re.match(r"0:00:\d\d step 6, b: loss ", again[3])
