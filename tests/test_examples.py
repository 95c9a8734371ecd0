"""The examples: each runs as a reader would run it, and what it writes is what it says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vspsr import read_image
from vspsr.upscaling import compare

EXAMPLES = Path(__file__).parents[1] / "examples"
LR = EXAMPLES / "cat.png"


def run(name: str, *out: Path, folder: Path | None = None) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, out)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_all_examples_are_here() -> None:
    """A new example needs a test."""
    assert {p.name for p in EXAMPLES.glob("*.py")} == {"any_network.py", "sample_space.py", "uncertainty.py"}


@pytest.mark.parametrize("name", ["any_network.py", "sample_space.py", "uncertainty.py"])
def test_they_run_without_arguments(name: str, tmp_path: Path) -> None:
    run(name, folder=tmp_path)
    assert any((tmp_path / "vspsr-examples").glob("*.png"))


def test_sample_space(tmp_path: Path) -> None:
    printed = run("sample_space.py", tmp_path / "new" / "out")
    pictures = {p.stem: read_image(p) for p in (tmp_path / "new" / "out").iterdir()}
    assert sorted(pictures) == ["mean", *(f"sample{i}" for i in range(4)), *(f"walk{i}" for i in range(5))]
    lr = read_image(LR)
    for picture in pictures.values():
        assert compare(picture, lr).exact
    assert printed.count(": 0 LR values wrong") == len(pictures)
    assert torch.equal(pictures["walk0"].pixels, pictures["sample0"].pixels)
    assert len({picture.pixels.numpy().tobytes() for picture in pictures.values()}) == len(pictures) - 1


def test_any_network(tmp_path: Path) -> None:
    printed = run("any_network.py", tmp_path)
    assert "as 8-bit integers: 0 LR values wrong" in printed
    assert compare(read_image(tmp_path / "consistent.png"), read_image(LR)).exact
    assert not compare(read_image(tmp_path / "plain.png"), read_image(LR)).exact


def test_uncertainty(tmp_path: Path) -> None:
    printed = run("uncertainty.py", tmp_path)
    height, width = (4 * n for n in read_image(LR).size)
    stddev = np.load(tmp_path / "stddev.npy")
    assert stddev.shape == (3, height, width)
    levels = 255 * np.sqrt((stddev.astype(np.float64) ** 2).mean(0))
    assert f"largest {levels.max():.1f}" in printed
    side_by_side = read_image(tmp_path / "uncertainty.png").pixels
    assert side_by_side.shape[1] == max(height, 160)
    assert side_by_side.shape[2] > 2 * width
    # The map is bright where the standard deviation is large: viridis runs from dark to light.
    brightness = side_by_side[:, :height, width + 8 : 2 * width + 8].double().mean(0).numpy()
    assert np.corrcoef(brightness.ravel(), np.minimum(levels, np.quantile(levels, 0.995)).ravel())[0, 1] > 0.95
