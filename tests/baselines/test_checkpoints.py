"""Files of checkpoints: how they are wrapped, what is refused and how it is named."""

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_checkpoints import RELEASES, Release, edsr_pytorch, esrgan, lornatang, msrresnet, rcan
from baseline_files import complaint, picture, save
from safetensors.torch import save_file

from vspsr.baselines import Baseline, load_baseline

WRAPPINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "plain": lambda s: s,
    "BasicSR": lambda s: {"params": {k: torch.zeros_like(v) for k, v in s.items()}, "params_ema": s},
    "OpenMMLab": lambda s: {
        "meta": {"time": "2020"},
        "state_dict": {f"generator.{k}": v for k, v in s.items()} | {"discriminator.0.weight": torch.zeros(1)},
    },
    "Lornatang": lambda s: {"epoch": 3, "best_psnr": 28.1, "state_dict": s, "optimizer": {"state": {}}},
    "compiled": lambda s: {"state_dict": {f"_orig_mod.{k}": v for k, v in s.items()}},
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("make", [lambda: msrresnet("openmmlab"), lambda: esrgan("basicsr")], ids=["ours", "spandrel"])
def test_training_files_are_unwrapped(wrapping: str, make: Callable[[], Release], tmp_path: Path) -> None:
    release, y = make(), picture(5, 6)
    wanted = load_baseline(release.baseline, 4, save(release, tmp_path / "plain.pth"))(y)
    torch.save(WRAPPINGS[wrapping](release.state), tmp_path / "wrapped.pth.tar")
    found = load_baseline(release.baseline, 4, tmp_path / "wrapped.pth.tar")(y)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.05 if wrapping == "half" else 0)
    assert found.dtype == torch.float32


def test_file_formats(tmp_path: Path) -> None:
    release, y = lornatang("conv"), picture(5, 6)
    wanted = load_baseline("srgan", 4, save(release, tmp_path / "a.pth"))(y)
    torch.save(release.state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(release.state, tmp_path / "b.safetensors")
    older = {k: v for k, v in release.state.items() if not k.endswith("num_batches_tracked")}
    torch.save(older, tmp_path / "older.pth")
    for name in ("old.pt", "b.safetensors", "older.pth"):
        assert torch.equal(load_baseline("srgan", 4, tmp_path / name)(y), wanted)


@pytest.mark.parametrize("name", RELEASES)
def test_missing_unknown_and_misshapen_keys_are_named(name: str, tmp_path: Path) -> None:
    release = RELEASES[name]()
    path = tmp_path / "weights.pth"

    def load() -> Baseline:
        return load_baseline(release.baseline, release.scale, path)

    key = next(k for k in reversed(release.state) if k.endswith("bias") and "mean" not in k)
    torch.save({k: v for k, v in release.state.items() if k != key}, path)
    said = complaint(load)
    assert said.startswith(f"{path}: ")
    assert f"{key} is missing" in said or f'Missing key(s) in state_dict: "{key}"' in said
    save(release, path, **{"extra.weight": torch.zeros(1)})
    assert "extra.weight" in complaint(load)
    save(release, path, **{key: torch.zeros(77)})
    said = complaint(load)
    assert "size mismatch" in said if name.startswith(("esrgan", "rcan")) else f"{key} has shape (77,)" in said


class Harmful:
    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": edsr_pytorch(2, 8, 1).state, "args": Harmful()}, "harmful.pth")
    torch.save({"args": Harmful()}, "old.pth", _use_new_zipfile_serialization=False)
    Path("plain.pth").write_bytes(pickle.dumps(Harmful()))
    torch.save(torch.nn.Conv2d(3, 3, 1), "module.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; files of it are still about
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 1)), "script.pt")
    for name in ("harmful.pth", "old.pth", "plain.pth", "module.pth", "script.pt"):
        for load in (lambda n=name: load_baseline("edsr", 2, n), lambda n=name: load_baseline(n, 2)):
            said = complaint(load)
            assert said.startswith(f"{name}: cannot be read as a checkpoint of tensors")
            assert "weights_only=False" not in said
    assert not Path("unpickled").exists()


def test_wrong_files(tmp_path: Path) -> None:
    good = save(edsr_pytorch(4, 8, 1), tmp_path / "edsr.pth")
    (tmp_path / "cut.pth").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    torch.save({}, tmp_path / "nothing.pth")

    def said(name: str, baseline: str = "edsr", scale: int = 4) -> str:
        return complaint(lambda: load_baseline(baseline, scale, tmp_path / name)).removeprefix(f"{tmp_path / name}: ")

    assert said("absent.pth") == "no such file"
    assert said(".").endswith("is a folder, not a checkpoint")
    for name in ("cut.pth", "empty.pth"):
        assert said(name).startswith("cannot be read as a checkpoint of tensors")
    assert said("text.safetensors").startswith("cannot be read as safetensors")
    for name in ("list.pth", "epoch.pth", "nothing.pth"):
        assert said(name) == "holds no state dict of a network"
    assert said("edsr.pth", scale=2) == "its network enlarges by 4, not by 2"
    assert said("edsr.pth", "rcan") == "is EDSR-PyTorch, not RCAN: give the file itself as the baseline"
    save(rcan(basicsr=True), tmp_path / "rcan.pth")
    assert said("rcan.pth", "esrgan").startswith("is RCAN, read by spandrel, not ESRGAN")
    shape = {"tail.0.0.weight": torch.zeros(30, 8, 3, 3)}
    save(edsr_pytorch(4, 8, 1), tmp_path / "odd.pth", **shape)
    assert said("odd.pth") == "tail.0.0.weight has shape (30, 8, 3, 3): no sub-pixel convolution"
    save(edsr_pytorch(4, 8, 1), tmp_path / "nan.pth", **{"tail.1.bias": torch.full((3,), torch.nan)})
    assert said("nan.pth") == "tail.1.bias has values that are not finite"
    save(edsr_pytorch(4, 8, 1), tmp_path / "flat.pth", **{"tail.0.0.weight": torch.zeros(4)})
    assert "tail.0.0.weight has shape (4,)" in said("flat.pth")
    broken = {"head.0.weight": torch.full((8, 3, 3, 3), 1e38)}
    baseline = load_baseline("edsr", 4, save(edsr_pytorch(4, 8, 1), tmp_path / "large.pth", **broken))
    assert complaint(lambda: baseline(picture(4, 4))).startswith("edsr: the network made values that are not finite")


def test_a_width_is_compared_before_it_costs_memory(tmp_path: Path) -> None:
    """A million channels would be 36 TB."""
    path = save(edsr_pytorch(4, 8, 1), tmp_path / "wide.pth", **{"head.0.weight": torch.zeros(10**6, 3, 3, 3)})
    assert "has shape" in complaint(lambda: load_baseline("edsr", 4, path))


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(edsr_pytorch(4, 8, 1), Path("edsr"))
    assert load_baseline("edsr", 4).source == "edsr"
    Path("bicubic").mkdir()
    assert load_baseline("bicubic", 4).name == "bicubic"
    for name in ("a" * 300, "a\0b"):
        assert "unknown baseline" in complaint(lambda name=name: load_baseline(name, 4))
    for name in ("ck/no.pth", "no.safetensors", "./no"):
        told = complaint(lambda name=name: load_baseline(name, 4))
        assert told.startswith(f"{name}: no such file")
