"""The calibration file, and the pictures that it makes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vspsr import VSpSR, read_image, write_image
from vspsr.files import write_json
from vspsr.images.picture import Picture
from vspsr.model import model_file
from vspsr.upscaling import PictureSpace
from vspsr.upscaling.folders import upscale_file, upscale_files
from vspsr.upscaling.intervals import (
    FILE_NAME,
    CalibrationError,
    IntervalCalibration,
    model_digest,
    read_calibration,
    trust_mask,
)
from vspsr.upscaling.models import Models
from vspsr.upscaling.saving import Options

EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.png"


@pytest.mark.parametrize("name", ["vspsr-x4", "vspsr-x4-explore", "vspsr-x8"])
def test_the_calibrations_that_models_come_with_are_theirs(name: str) -> None:
    path = model_file(name, FILE_NAME)
    assert path is not None
    calibration = read_calibration(path)
    calibration.check_model(VSpSR.from_pretrained(name))
    assert calibration.model == name
    assert len(calibration.unlikeliness) == calibration.true_pictures >= 20


def calibration_for(model: VSpSR, factor: float = 2.5) -> IntervalCalibration:
    size = {"smallest": 0.5, "largest": 2.0, "share": 1.0, "coverage": 0.95}
    return IntervalCalibration(
        model="vspsr-x4",
        model_sha256=model_digest(model),
        scale=4,
        rounding="per-pass",
        alpha=0.1,
        delta=0.2,
        true_pictures=30,
        factor=factor,
        coverage=0.95,
        joint_coverage=0.8,
        by_size=(size,),
        gaussian_factor=1.645,
        gaussian_coverage=0.8,
        unlikeliness=(0.5, 1.5),
        foreign=(2.0, 3.0),
    )


def test_the_file_comes_back(model: VSpSR, tmp_path: Path) -> None:
    path, made = tmp_path / "c.json", calibration_for(model)
    write_json(path, made)
    assert read_calibration(path) == made
    assert "Bates" in json.loads(path.read_text())["method"]
    made.check_model(model, path)
    with pytest.raises(Exception, match="exists already"):
        write_json(path, made)


def test_the_digest_is_of_what_mean_and_stddev_depend_on(model: VSpSR) -> None:
    other = VSpSR.from_pretrained("vspsr-x4")
    assert model_digest(other) == model_digest(model)
    other.calibration *= 2
    assert model_digest(other) != model_digest(model)
    with pytest.raises(CalibrationError, match=r"c.json: was made for another model \(vspsr-x4, x4, digest .*\)"):
        calibration_for(model).check_model(other, Path("c.json"))
    other.calibration /= 2
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    assert model_digest(other) != model_digest(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("factor", "2"),
        ("factor", -1),
        ("scale", True),
        ("rounding", "twice"),
        ("unlikeliness", [1.0, "2"]),
        ("model", 4),
        ("unlikeliness", None),
        ("extra", 1),
    ],
)
def test_damaged_files_are_refused(model: VSpSR, tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "c.json"
    write_json(path, calibration_for(model))
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CalibrationError, match=r"c.json: is not a calibration file"):
        read_calibration(path)


def test_bounds_are_those_of_the_space(model: VSpSR, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    write_image(photo, Picture(read_image(EXAMPLE).pixels[:, 20:44, 40:76]))
    options = Options(samples=0, calibration=calibration_for(model), intervals=True, trust_mask=True)
    report = upscale_file(photo, tmp_path, model, "vspsr-x4", options)
    names = {f"photo_x4_{kind}.png" for kind in ("low", "high", "trust")}
    assert report["outputs"] == {name: {"factor": 2.5} for name in sorted(names)}
    low, high, trust = (read_image(tmp_path / f"photo_x4_{kind}.png") for kind in ("low", "high", "trust"))
    space = PictureSpace(model, read_image(photo)).space
    mean, half = 255 * space.mean[0].detach(), 255 * 2.5 * space.stddev[0]
    assert float((low.pixels - (mean - half).clamp(0, 255)).abs().max()) <= 0.501
    assert float((high.pixels - (mean + half).clamp(0, 255)).abs().max()) <= 0.501
    assert torch.equal(trust.pixels[0] == 255, (half < 8).all(0))
    assert 0.01 < float((trust.pixels == 255).double().mean()) < 0.99
    # Files of another factor are made again, those of the same are kept.
    assert upscale_file(photo, tmp_path, model, "vspsr-x4", options)["kept"]
    wider = replace(options, calibration=calibration_for(model, 5.0))
    assert not upscale_file(photo, tmp_path, model, "vspsr-x4", wider)["kept"]
    assert int((read_image(tmp_path / "photo_x4_high.png").pixels - high.pixels).max()) > 2


def test_what_does_not_go_together(model: VSpSR, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`calibration` and `intervals` or `trust_mask` go together"):
        Options(intervals=True)
    with pytest.raises(ValueError, match=r"`calibration` and `intervals` or `trust_mask` go together"):
        Options(calibration=calibration_for(model))
    with pytest.raises(ValueError, match=r"`calibration` was made for `rounding` per-pass, not single"):
        Options(calibration=calibration_for(model), intervals=True, rounding="single")
    other = replace(calibration_for(model), model_sha256="0" * 64)
    options = Options(calibration=other, intervals=True)
    with pytest.raises(CalibrationError, match="was made for another model"):
        upscale_files({EXAMPLE: Path()}, tmp_path, Models("vspsr-x4", load=lambda _: model), options)


def test_trust_mask() -> None:
    stddev = torch.tensor([[[1.0, 5.0]], [[3.9, 1.0]], [[0.0, 0.0]]]) / 255
    assert trust_mask(stddev, 2.0).pixels.tolist() == [[[255, 0]]]


def test_a_model_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert model_file(str(tmp_path), FILE_NAME) is None
    (tmp_path / "calibration.json").write_text("{}")
    assert model_file(str(tmp_path), FILE_NAME) == tmp_path / "calibration.json"
