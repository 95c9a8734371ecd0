"""Calibration of a folder: the promise, grey and 16 bits, and what the file says."""

from pathlib import Path

import pytest
import torch
from skimage import data

from vspsr import VSpSR, write_image
from vspsr.evaluation.calibrating import calibrate_folder, truth_and_space
from vspsr.evaluation.dataset import find_pairs
from vspsr.evaluation.request import Request
from vspsr.evaluation.sources import ModelSource
from vspsr.images.picture import Picture
from vspsr.metrics.intervals import IntervalTally, hoeffding_bentkus
from vspsr.upscaling import degrade


@pytest.fixture(scope="module")
def model() -> VSpSR:
    return VSpSR.from_pretrained("vspsr-x4")


def crops(folder: Path, count: int, left: int, bits: int = 8, channels: int = 3) -> Path:
    folder.mkdir()
    coffee = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1).int()[:channels]
    for i in range(count):
        top, start = 48 * (i // 4), left + 48 * (i % 4)
        pixels = coffee[:, top : top + 44, start : start + 44] * (257 if bits == 16 else 1)
        write_image(folder / f"{i:02d}.png", Picture(pixels.contiguous(), bits))
    return folder


def test_the_figures_are_those_of_the_intervals(model: VSpSR, tmp_path: Path) -> None:
    folder = crops(tmp_path / "a", 24, 100)
    steps: list[tuple[str, float]] = []
    found = calibrate_folder(folder, model, "m", 0.2, 0.2, step=lambda name, done: steps.append((name, done)))
    assert sum(done for _, done in steps) == found.true_pictures == 24
    shares = []
    for pair in find_pairs(folder, 4):
        space, truth = truth_and_space(model, pair)
        inside = (truth.to_float() - space.mean).abs() <= found.factor * space.stddev
        shares.append(float(inside.double().mean()))
    assert found.coverage == pytest.approx(sum(shares) / 24, abs=1e-3)
    assert found.joint_coverage == pytest.approx(sum(s >= 0.8 for s in shares) / 24, abs=0.05)
    assert hoeffding_bentkus(1 - found.coverage, 24, 0.2) <= 0.2
    assert sum(c["share"] * c["coverage"] for c in found.by_size) == pytest.approx(found.coverage, abs=1e-3)
    assert len(found.unlikeliness) == len(found.foreign) == 24
    # On other parts of the photograph, values lie within as promised.
    tally = IntervalTally()
    for pair in find_pairs(crops(tmp_path / "b", 24, 300), 4):
        space, truth = truth_and_space(model, pair)
        tally.update(truth.to_float()[0], space.mean[0].detach(), space.stddev[0])
    assert tally.coverage(found.factor) >= 0.8


@pytest.mark.parametrize(("bits", "channels"), [(16, 3), (8, 1)])
def test_other_kinds(model: VSpSR, tmp_path: Path, bits: int, channels: int) -> None:
    found = calibrate_folder(crops(tmp_path / "a", 6, 100, bits, channels), model, "m", 0.4, 0.4)
    assert found.coverage >= 0.6


def test_grey_that_is_stored_in_colour_counts_in_colour(model: VSpSR, tmp_path: Path) -> None:
    """As it is scored: three channels."""
    pixels = torch.from_numpy(data.coffee().copy()[:44, :44, :1]).permute(2, 0, 1).int()
    write_image(tmp_path / "a.png", Picture(pixels.repeat(3, 1, 1)))
    pair = find_pairs(tmp_path, 4)[0]
    assert truth_and_space(model, pair)[0].mean.shape == (1, 3, 44, 44)
    source = ModelSource("vspsr-x4", Request(hr=tmp_path, model="vspsr-x4", samples=1, scale=4), "cpu")
    lr = degrade(Picture(pixels.repeat(3, 1, 1)), model.degradation)
    drawn = source.draw(pair, lr)
    (sample,) = drawn.samples
    assert not torch.equal(sample[:1], sample[1:2])


def test_too_few_pictures_are_said_at_once(model: VSpSR, tmp_path: Path) -> None:
    folder = crops(tmp_path / "a", 5, 100)

    def step(*_: object) -> None:
        raise AssertionError("something was computed")

    with pytest.raises(ValueError, match=r"`alpha` 0.1 and `delta` 0.1 need at least 22 pictures, got 5"):
        calibrate_folder(folder, model, "m", step=step)
