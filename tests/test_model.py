"""Models: the call, files that come and go, what is refused."""

import json
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
from safetensors.torch import load_file, save_file

from vspsr import VSpSR
from vspsr.errors import ModelError, OutputError
from vspsr.model import shipped_models


def small() -> VSpSR:
    torch.manual_seed(0)
    return VSpSR("overlapping", OPTIONS, temperature=0.7, calibration=1.3)


def test_call_gives_a_space_that_does_not_depend_on_the_batch() -> None:
    model = small()
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


@pytest.mark.parametrize("name", ["vspsr-x4", "vspsr-x8"])
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
        small()(y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "nothing"}, "`network` must be one of vspm, overlapping, got 'nothing'"),
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
    model = small()
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
    model = small()
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


OPTIONS = {"scale": 4, "n_atoms": 4, "channels": 8, "blocks": 1, "n_modes": 3}
BROKEN_CONFIGS: list[Any] = [
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b" " * 2_000_000 + b"{}",
    [],
    "vspsr",
    {},
    {"options": []},
    {"options": OPTIONS, "surprise": 1},
    {"options": {"atom": 3}},
    *({"options": OPTIONS, "network": network} for network in (None, ["vspm"], {}, "vspm2")),
    *(
        {"options": OPTIONS, key: v}
        for key in ("temperature", "calibration")
        for v in (None, -1, "1", [], True, 10**400)
    ),
    *({"options": OPTIONS, "kernel": kernel} for kernel in (None, 3, {}, [], ["1"], [[1.0]], [1, -1], "cubic")),
]


@pytest.mark.parametrize("option", ["scale", "n_atoms", "channels", "blocks", "n_modes", "deterministic"])
@pytest.mark.parametrize("value", [0, -1, 2, 65_536, 1e300, 10**30, 2.5, "4", True, [], {}, float("nan")], ids=repr)
def test_no_value_of_an_option_is_built_before_it_is_compared(option: str, value: Any, tmp_path: Path) -> None:
    """65,536 channels would be 150 GB, 1e30 blocks would never end."""
    small().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["options"][option] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as error:
        VSpSR.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["vspsr-x4", "vspsr-x8"])
def test_shipped_models_are_calibrated(name: str) -> None:
    model = VSpSR.from_pretrained(name)
    assert (model.temperature, model.calibration) == (0.9, 1.1)


def test_configurations_of_older_versions_load(tmp_path: Path) -> None:
    """Without `calibration`; with the prior of the loss among the options of the paper's network."""
    model = VSpSR("vspm", {"scale": 4, "n_atoms": 8}, temperature=0.8)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["calibration"]
    config["options"] |= {"alpha": 3.0, "beta": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = VSpSR.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert (loaded.temperature, loaded.calibration) == (0.8, 1.0)


def test_the_temperature_and_calibration_of_a_model_are_saved(tmp_path: Path) -> None:
    model = small()
    model.temperature, model.calibration = 0.5, 1.5
    model.save_pretrained(tmp_path)
    space = VSpSR.from_pretrained(tmp_path)(torch.rand(1, 3, 4, 4))
    assert (space.temperature, space.calibration) == (0.5, 1.5)


def test_a_folder_of_a_model_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vspsr-x4").mkdir()
    assert VSpSR.from_pretrained("vspsr-x4").config["options"]["n_atoms"] == 96  # the folder holds no model
    small().save_pretrained("vspsr-x4")
    assert VSpSR.from_pretrained("vspsr-x4").config == small().config


@pytest.mark.parametrize("name", ["a" * 300, "a/" + "b" * 300, "a\0b", "\n", "../" * 2000, "/" * 300])
def test_names_that_are_no_paths(name: str) -> None:
    with pytest.raises(ModelError) as error:
        VSpSR.from_pretrained(name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_every_way_a_model_folder_can_be_broken(tmp_path: Path) -> None:
    model = small()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    state, text = load_file(weights), config.read_text()

    def expect(message: str) -> None:
        with pytest.raises(ModelError, match=message) as error:
            VSpSR.from_pretrained(folder)
        assert "\n" not in str(error.value)

    first = next(iter(state))
    save_file({k: v for k, v in state.items() if k != first}, weights)
    expect(f"{first} is missing")
    save_file({**state, "stray": torch.zeros(1)}, weights)
    expect("stray is not known")
    save_file({**state, first: torch.zeros(1)}, weights)
    expect(r"has shape \(1,\)")
    save_file(state, weights)
    for content in BROKEN_CONFIGS:
        config.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        expect(r"config\.json: " if isinstance(content, bytes) else "not the configuration of a vspsr model")
    config.write_text(text)
    VSpSR.from_pretrained(folder)
    weights.write_bytes(b"not safetensors at all")
    expect("cannot be read as safetensors")
    weights.unlink()
    expect("no such file")
    config.unlink()
    expect("has no config.json")
    os.mkfifo(config)  # would be waited for
    expect("is not a regular file")


def test_unknown_names() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'vspsr-x5': give one of vspsr-x4, vspsr-x8"):
        VSpSR.from_pretrained("vspsr-x5")


def test_hub_ids_are_downloaded_and_failures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    small().save_pretrained(tmp_path)
    asked = []

    def snapshot(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        if hub_id == "user/none":
            raise OSError("no\nnetwork")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert VSpSR.from_pretrained("user/model").config == small().config
    assert asked == [("user/model", ["config.json", "model.safetensors"])]
    with pytest.raises(ModelError, match=r"unknown model 'user/none'.*no network"):
        VSpSR.from_pretrained("user/none")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        small().save_pretrained(tmp_path / "model")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("in the way")
    with pytest.raises(OutputError, match="folder cannot be made"):
        small().save_pretrained(tmp_path / "model")
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
