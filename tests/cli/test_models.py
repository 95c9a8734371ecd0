"""`vspsr info` of a model whose card is not what it should be, and devices that no model runs on."""

import os
import shutil
from pathlib import Path

import pytest
from command_line import Run, fails_clearly

import vspsr


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shipped = Path(vspsr.__file__).parent / "weights" / "vspsr-x4"
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(shipped / name, tmp_path / "model")
    return tmp_path / "model"


def test_a_card_that_cannot_be_read(run: Run, model: Path) -> None:
    card = model / "README.md"
    card.write_bytes("Größe\n".encode("latin-1"))
    fails_clearly(run("info", "model"), "model/README.md: is not text in UTF-8", code=2)
    card.write_bytes(b"x" * 1_000_001)
    fails_clearly(run("info", "model"), "model/README.md: has more than 1000000 bytes", code=2)
    card.unlink()
    os.mkfifo(card)
    fails_clearly(run("info", "model"), "model/README.md: is not a regular file", code=2)
    assert "scale" in run("info", "model", "--json").stdout
    card.unlink()
    card.write_bytes(b"\xef\xbb\xbf# Mine\r\nGr\xc3\xb6\xc3\x9fe\r\n")
    assert run("info", "model").stdout.endswith("\n# Mine\nGröße\n")


@pytest.mark.parametrize("device", ["meta", "hpu", "privateuseone", "cuda:²", "quantum", ""])
def test_devices_that_cannot_compute(run: Run, tmp_path: Path, device: str) -> None:
    (tmp_path / "photo.png").write_bytes(b"not read")
    fails_clearly(run("upscale", "photo.png", "--device", device), f"`--device` {device!r} cannot be used here", code=2)


def test_a_word_that_is_not_offered(run: Run) -> None:
    result = run("check", "hr.png", "lr.png", "--rounding", "x")
    fails_clearly(result, "'--rounding': 'x' is not one of 'per-pass', 'single'", code=2)
