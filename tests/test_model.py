"""Models: the call, files that come and go, what is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from spaces import small_model

from vspsr import VSpSR
from vspsr.errors import ModelError, OutputError
from vspsr.model import shipped_models


def test_call_gives_a_space_that_does_not_depend_on_the_batch() -> None:
    model = small_model(temperature=0.7, calibration=1.3)
    y = torch.rand(3, 3, 6, 5)
    with torch.no_grad():
        together, alone = model(y), model(y[1:2])
    assert (together.temperature, together.calibration, together.keys) == (0.7, 1.3, (0, 1, 2))
    assert torch.equal(together.sample(2)[:, 1], alone.with_keys([1]).sample(2)[:, 0])


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 40))
def test_shipped_models_take_any_size(h: int, w: int) -> None:
    model = VSpSR.from_pretrained("vspsr-x4")
    with torch.no_grad():
        space = model(torch.rand(1, 3, h, w))
        x = space.sample(1)[0]
    assert x.shape == (1, 3, 4 * h, 4 * w)
    torch.testing.assert_close(model.degradation.down(x), space.y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["vspsr-x4", "vspsr-x4-explore", "vspsr-x8"])
def test_shipped_models_load_without_a_network_and_are_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert name in shipped_models()
    model = VSpSR.from_pretrained(name)
    assert not model.training
    assert f"x{model.scale}" in name
    import vspsr

    folder = Path(vspsr.__file__).parent / "weights" / name
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 5_000_000
    assert (folder / "README.md").is_file()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.rand(3, 4, 4), r"`y` must be RGB images of shape \(B, 3, h, w\)"),
        (torch.rand(1, 1, 4, 4), r"`y` must be RGB images"),
        ("cat.png", r"`y` must be RGB images of shape \(B, 3, h, w\), got 'cat.png'"),
        (None, r"`y` must be RGB images of shape \(B, 3, h, w\), got None"),
        (torch.zeros(1, 3, 2, 2).to(torch.float8_e5m2), "`y` must be a floating-point image"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.complex64), "`y` must be a floating-point image"),
        (torch.rand(1, 3, 0, 4), "`y` must have at least one pixel"),
        (torch.full((1, 3, 2, 2), float("nan")), "`y` has values that are not finite"),
        (torch.full((1, 3, 2, 2), 1.5), r"`y` must lie in \[0, 1\], got values from 1.5"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), "`y` must be a floating-point image"),
    ],
)
def test_bad_images_are_refused(y: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_model(temperature=0.7, calibration=1.3)(y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "nothing"}, "`network` must be one of vspm, overlapping, correlated, got 'nothing'"),
        ({"options": {"atom": 3}}, "`options` of the network 'overlapping'.*atom"),
        ({"network": ["vspm"]}, "`network` must be one of vspm, overlapping"),
        ({"temperature": -1}, "`temperature` must be a finite number of at least 0, got -1"),
        ({"temperature": "warm"}, "`temperature` must be a finite number of at least 0, got 'warm'"),
        ({"calibration": float("nan")}, "`calibration` must be a finite number of at least 0, got nan"),
        ({"kernel": "foo"}, "`kernel` must be one of"),
    ],
)
def test_bad_constructor_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VSpSR(**arguments)


def test_save_and_load(tmp_path: Path) -> None:
    model = small_model(temperature=0.7, calibration=1.3)
    model.save_pretrained(tmp_path / "new" / "model")
    loaded = VSpSR.from_pretrained(tmp_path / "new" / "model")
    assert loaded.config == model.config
    y = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(model(y).sample(2), loaded(y).sample(2))
    assert sorted(p.name for p in (tmp_path / "new" / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_half_precision_is_only_for_storage(tmp_path: Path) -> None:
    model = small_model(temperature=0.7, calibration=1.3)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = VSpSR.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        next(model.parameters()).fill_(1e6)
    with pytest.raises(ModelError, match="has values that float16 cannot hold"):
        model.save_pretrained(tmp_path / "half", half=True)
    assert torch.equal(next(VSpSR.from_pretrained(tmp_path / "half").parameters()), next(loaded.parameters()))


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        small_model(temperature=0.7, calibration=1.3).save_pretrained(tmp_path / "model")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("in the way")
    with pytest.raises(OutputError, match="folder cannot be made"):
        small_model(temperature=0.7, calibration=1.3).save_pretrained(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "in the way"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_authors_checkpoints_are_imported(golden: Callable[[str], Any], tmp_path: Path, suffix: str) -> None:
    data = golden("vspm_x4")
    state = {k.removeprefix("sd/"): torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")}
    path = tmp_path / f"authors{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    model = VSpSR.from_authors_checkpoint(path, scale=4, n_atoms=16)
    with torch.no_grad():
        atoms = model(torch.from_numpy(data["x"]).clamp(0, 1)).parameters.atoms
    assert atoms.shape == (1, 3, 16, 1, 4, 4)
    with pytest.raises(ModelError, match="does not fit the model's configuration"):
        VSpSR.from_authors_checkpoint(path, scale=4, n_atoms=32)


class Payload:
    """What unpickling must never run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch pickled-code-ran",))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint of tensors"):
        VSpSR.from_authors_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "pickled-code-ran").exists()


def test_import_brings_little_along() -> None:
    """`import vspsr` pulls in torch and little else: no image, plotting, web, training or metric library."""
    code = "import sys, vspsr; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    unwanted = {
        "pyvips",
        "PIL",
        "matplotlib",
        "lightning",
        "torchvision",
        "fastapi",
        "typer",
        "ray",
        "huggingface_hub",
    }
    assert not unwanted & loaded
