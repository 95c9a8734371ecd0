"""Models by name, folder and Hub id: what is found, what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from spaces import NETWORKS, small_model

from vspsr import VSpSR
from vspsr.errors import ModelError

OPTIONS = NETWORKS["overlapping"][1]
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
    small_model().save_pretrained(tmp_path)
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
    model = small_model()
    model.temperature, model.calibration = 0.5, 1.5
    model.save_pretrained(tmp_path)
    space = VSpSR.from_pretrained(tmp_path)(torch.rand(1, 3, 4, 4))
    assert (space.temperature, space.calibration) == (0.5, 1.5)


def test_a_folder_of_a_model_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vspsr-x4").mkdir()
    assert VSpSR.from_pretrained("vspsr-x4").config["options"]["n_atoms"] == 96  # the folder holds no model
    small_model().save_pretrained("vspsr-x4")
    assert VSpSR.from_pretrained("vspsr-x4").config == small_model().config


@pytest.mark.parametrize("name", ["a" * 300, "a/" + "b" * 300, "a\0b", "\n", "../" * 2000, "/" * 300])
def test_names_that_are_no_paths(name: str) -> None:
    with pytest.raises(ModelError) as error:
        VSpSR.from_pretrained(name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_every_way_a_model_folder_can_be_broken(tmp_path: Path) -> None:
    model = small_model()
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
    with pytest.raises(ModelError, match=r"unknown model 'vspsr-x5': give one of vspsr-x4, vspsr-x4-explore, vspsr-x8"):
        VSpSR.from_pretrained("vspsr-x5")


def test_hub_ids_are_downloaded_and_failures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    small_model().save_pretrained(tmp_path)
    asked = []

    def snapshot(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        if hub_id == "user/none":
            raise OSError("no\nnetwork")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert VSpSR.from_pretrained("user/model").config == small_model().config
    assert asked == [("user/model", ["config.json", "model.safetensors"])]
    with pytest.raises(ModelError, match=r"unknown model 'user/none'.*no network"):
        VSpSR.from_pretrained("user/none")
