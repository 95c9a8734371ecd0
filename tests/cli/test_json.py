"""`--json` prints what docs/json.md says: the same keys, none more, none fewer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Run
from PIL import Image
from skimage import data

from vspsr import write_image
from vspsr.degradation import Degradation
from vspsr.images.picture import Picture
from vspsr.upscaling import degrade

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
TABLE = re.compile(r"^\| (?P<name>[^|]+?) \| \|\n\|---\|---\|\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE)


def documented() -> dict[str, set[str]]:
    """Title of a table → the names in its first column."""
    tables = {}
    for table in TABLE.finditer(PAGE.read_text("utf-8")):
        cells = [row.split(" | ")[0] for row in table["rows"].splitlines()]
        tables[table["name"]] = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return tables


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a photograph, hr.png, its LR image, lr.png, and that as a JPEG, photo.jpg."""
    hr = Picture(torch.from_numpy(data.astronaut()[60:108, 170:218].copy()).permute(2, 0, 1).int().contiguous())
    lr = degrade(hr, Degradation(4))
    write_image(tmp_path / "hr.png", hr)
    write_image(tmp_path / "lr.png", lr)
    Image.fromarray(lr.pixels.permute(1, 2, 0).byte().numpy()).save(tmp_path / "photo.jpg", quality=75)
    return tmp_path


def test_pictures(run: Run, files: Path) -> None:
    def out(*arguments: object) -> Any:
        return json.loads(run(*arguments, "--json").stdout)

    keys = documented()
    (files / "bad.png").write_bytes(b"no picture")
    of_png, of_jpeg, failed = out("upscale", "lr.png", "photo.jpg", "bad.png", "-o", "out", "--samples", 1, "--mean")
    assert set(of_png) == set(of_jpeg) == keys["upscale"]
    assert set(failed) == keys["failed"]
    noisy = out("upscale", "lr.png", "-o", "noisy", "--samples", 1, "--denoise", 0.04)[0]["outputs"]
    assert set(of_jpeg["outputs"]["photo_x4_s00.png"]) == keys["outputs"] - {"noise_ratio"}
    assert set(of_png["outputs"]["lr_x4_mean.png"]) == keys["outputs"] - {"noise_ratio", "coefficients_wrong"}
    assert set(noisy["lr_x4_s00.png"]) == keys["outputs"] - {"coefficients_wrong"}
    assert set(of_jpeg["jpeg"]) == {"subsampling", "progressive", "orientation", "tables"}
    assert set(json.loads((files / "out/lr_x4.json").read_text())) == keys["upscale"] - {"kept"}
    assert set(out("degrade", "hr.png", "-o", "small")[0]) == keys["degrade"]
    assert set(out("check", "hr.png", "lr.png")) == keys["check"]
    assert set(out("check", "out/photo_x4_s00.png", "photo.jpg")) == keys["check with a JPEG"]
    assert set(out("project", "hr.png", "lr.png", "-o", "moved")[0]) == keys["project"]
    of_jpeg = out("project", "hr.png", "photo.jpg", "-o", "moved-jpeg")[0]
    assert set(of_jpeg) ^ keys["project"] == {
        *("lr_values", "lr_values_wrong_before"),
        *("coefficients", "coefficients_wrong_before", "coefficients_wrong"),
    }
    assert set(out("assess", "hr.png", "lr.png")) == keys["assess"]
    for i in range(3):
        patch = torch.from_numpy(data.astronaut()[40 * i : 40 * i + 32, 170:202].copy()).permute(2, 0, 1)
        (files / "photos").mkdir(exist_ok=True)
        write_image(files / "photos" / f"{i}.png", Picture(patch.int().contiguous()))
    assert set(out("calibrate", "photos", "--alpha", 0.5, "--delta", 0.5, "-o", "c.json")) == keys["calibrate"]


def test_lists_and_scores(run: Run, files: Path) -> None:
    def out(*arguments: object) -> Any:
        return json.loads(run(*arguments, "--json").stdout)

    keys = documented()
    model = out("info", "vspsr-x4")
    assert model["parameters"] == out("models")[0]["parameters"]
    assert all(set(row) == keys["models"] for row in out("models"))
    assert all(set(row) == keys["baselines"] for row in out("baselines"))
    (files / "HR").mkdir()
    (files / "hr.png").rename(files / "HR" / "hr.png")
    summary = out("evaluate", "--baseline", "bicubic", "--scale", 4, "--hr", "HR", "-o", "report", "--challenge-only")
    assert set(summary) == keys["evaluate"]
    assert set(summary["ntire21"]) == {"distance", "lr_psnr_worst", "lr_psnr_mean", "diversity", "distance_ratio"}
    assert summary == json.loads((files / "report" / "summary.json").read_text())
