"""The baselines: published checkpoints give what their papers' mathematics gives, projected ones are consistent."""

import copy
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_checkpoints import RELEASES, Release, edsr_pytorch, esrgan, lornatang, msrresnet, rcan
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vspsr import Degradation, quantize, read_image
from vspsr.baselines import BASELINES, Baseline, load_baseline
from vspsr.baselines.networks import EDSR, MSRResNet
from vspsr.degradation.resize import imresize
from vspsr.errors import ModelError

CAT = Path(__file__).parents[2] / "examples" / "cat.png"
ONE_LINE = re.compile(r"[^\n]{1,420}")


def save(release: Release, path: Path, **changes: Any) -> Path:
    torch.save(release.state | changes, path)
    return path


def picture(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(5))


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as info:
        call()
    assert ONE_LINE.fullmatch(str(info.value)), str(info.value)
    return str(info.value)


@pytest.mark.parametrize("name", RELEASES)
def test_published_checkpoints_compute_what_the_papers_say(name: str, tmp_path: Path) -> None:
    release = RELEASES[name]()
    # Random networks give values anywhere: bring many of them into range, where clipping hides no difference.
    release.soften(0.05 if release.baseline == "esrgan" else 0.2)
    baseline = load_baseline(release.baseline, release.scale, save(release, tmp_path / "weights.pth"))
    y = picture(7, 9)
    with torch.no_grad():
        expected = release.expected(y)
    inside = (expected > 0) & (expected < 1)
    assert inside.float().mean() > 0.2
    torch.testing.assert_close(baseline(y), expected.clamp(0, 1), rtol=0, atol=2e-5)
    assert baseline.name == release.baseline
    assert baseline.licence == "unknown"
    assert "weights.pth, sha256 " in baseline.version


def test_published_sizes() -> None:
    """Parameters without the mean's: 43M and 1.5M in Lim et al. 2017, table 1; MSRResNet is AIM 2020's baseline."""

    def size(network: torch.nn.Module) -> int:
        return sum(p.numel() for key, p in network.named_parameters() if "mean" not in key)

    with torch.device("meta"):
        assert round(size(EDSR(256, 32, [2, 2])) / 1e6) == 43
        assert round(size(EDSR(64, 16, [2, 2])) / 1e6, 1) == 1.5
        assert size(MSRResNet(64, 16, [2, 2])) == 1_517_571


def test_spandrels_own_networks_agree(tmp_path: Path) -> None:
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.RCAN import RCAN

    y = picture(6, 5)
    for name, network in (("rcan", RCAN(n_resgroups=2, n_resblocks=2)), ("esrgan", ESRGAN(num_blocks=2, scale=2))):
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        with torch.no_grad():
            expected = network(y.clone()).clamp(0, 1)
        assert torch.equal(load_baseline(name, network.scale, tmp_path / f"{name}.pth")(y), expected)


def test_any_network_that_spandrel_reads(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    network = Compact(num_feat=8, num_conv=2, upscale=2)
    path = tmp_path / "2x_mine.safetensors"
    save_file(network.state_dict(), path)
    baseline = load_baseline(str(path), 2, consistent=True)
    assert baseline.name == "2x_mine+consistent"
    assert baseline.source == str(path)
    y = picture(5, 8)
    torch.testing.assert_close(Degradation(2).down(baseline(y)), y, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(load_baseline(str(path), 2)(y), network(y).clamp(0, 1))


def test_networks_of_other_purposes_are_refused(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    grey = Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2)
    torch.save(grey.state_dict(), tmp_path / "grey.pth")
    assert "maps 1 channels to 1" in complaint(lambda: load_baseline(str(tmp_path / "grey.pth"), 2))
    torch.save({"layer.weight": torch.zeros(2), "layer.bias": torch.zeros(2)}, tmp_path / "other.pth")
    assert "its keys: layer.bias, layer.weight" in complaint(lambda: load_baseline(str(tmp_path / "other.pth"), 2))


@given(st.sampled_from([2, 3, 4, 8]), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=20)
def test_bicubic(scale: int, height: int, width: int) -> None:
    y = picture(height, width)
    baseline = load_baseline("bicubic", scale)
    assert torch.equal(baseline(y), imresize(y, scale=scale).clamp(0, 1))
    consistent = load_baseline("bicubic", scale, consistent=True)
    torch.testing.assert_close(Degradation(scale).down(consistent(y)), y, rtol=0, atol=1e-5)
    assert (baseline.name, consistent.name) == ("bicubic", "bicubic+consistent")


PHOTOGRAPHIC = {
    "bicubic": None,
    "edsr": lambda: edsr_pytorch(4, 8, 2),
    "rcan": lambda: rcan(basicsr=False),
    "srgan": lambda: msrresnet("openmmlab"),
    "esrgan": lambda: esrgan("new"),
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_photograph_is_reproduced_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Whatever the network makes of it: here small random textures."""
    make, path = PHOTOGRAPHIC[name], None
    if make is not None:
        release = make()
        release.soften(0.02)
        path = save(release, tmp_path / "weights.pth")
    baseline = load_baseline(name, 4, path, consistent=True)
    pixels = read_image(CAT).pixels[None]
    y = pixels.float() / 255
    x = baseline(y)
    assert baseline.name == f"{name}+consistent"
    assert (Degradation(4).down(x) - y).abs().max() < 1e-5
    result = quantize(x, pixels)
    assert result.exact
    assert torch.equal(Degradation(4).down_uint8(result.image).int(), pixels)
    plain = load_baseline(name, 4, path)(y)
    assert (Degradation(4).down(plain) - y).abs().max() > 1e-3


def test_a_batch_is_its_images_and_arguments_are_left_alone(tmp_path: Path) -> None:
    baseline = load_baseline("rcan", 4, save(rcan(basicsr=False), tmp_path / "rcan.pth"))
    y = torch.cat([picture(6, 7), picture(6, 7).flip(-1) ** 2]).requires_grad_()
    before = y.detach().clone()
    both = baseline(y)
    assert torch.equal(y.detach(), before)
    assert not both.requires_grad
    assert torch.equal(both, torch.cat([baseline(y[:1]), baseline(y[1:])]))
    both.mul_(2)  # no tensor of inference mode
    assert baseline(y.detach().double()).dtype == torch.float64
    assert torch.equal(copy.deepcopy(baseline)(y), baseline(y))


def test_double_precision_is_consistent_to_double_precision(tmp_path: Path) -> None:
    baseline = load_baseline("edsr", 2, save(edsr_pytorch(2, 8, 1), tmp_path / "edsr.pt"), consistent=True)
    y = picture(6, 5).double()
    torch.testing.assert_close(Degradation(2).down(baseline(y)), y, rtol=0, atol=1e-12)


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


def test_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "unknown baseline 'espcn': give one of bicubic, edsr" in complaint(lambda: load_baseline("espcn", 4))
    assert "fetch 'rcan-x8'" in complaint(lambda: load_baseline("rcan", 8))
    assert "fetch 'srgan-kair-x4' (MIT)" in complaint(lambda: load_baseline("srgan-kair-x4", 4))
    assert "no weights for x8 are published (those at x2, x3, x4 are)" in complaint(lambda: load_baseline("edsr", 8))
    with pytest.raises(ValueError, match="`scale` must be an integer of at least 2, got 1"):
        load_baseline("bicubic", 1)
    with pytest.raises(ValueError, match="`checkpoint`: bicubic has no weights"):
        load_baseline("bicubic", 4, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="`checkpoint` goes with one of"):
        load_baseline("mine.pth", 4, tmp_path / "weights.pth")
    baseline = load_baseline("bicubic", 4)
    for y in (picture(4, 4)[0], picture(4, 4)[:, :1], 2 * picture(4, 4), picture(4, 4).mul(255).byte()):
        with pytest.raises(ValueError, match="`y` must"):
            baseline(y)


def test_spandrel_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    path = save(esrgan("new"), tmp_path / "esrgan.pth")
    assert "pip install spandrel" in complaint(lambda: load_baseline("esrgan", 4, path))
    load_baseline("srgan", 4, save(msrresnet("kair"), tmp_path / "srgan.pth"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["edsr-basicsr", "srgan-lornatang", "rcan", "esrgan-old"])
def test_on_a_gpu(name: str, tmp_path: Path) -> None:
    release = RELEASES[name]()
    path, y = save(release, tmp_path / "weights.pth"), picture(8, 8)
    for consistent in (False, True):
        baseline = load_baseline(release.baseline, release.scale, path, consistent)
        expected = baseline(y)
        torch.testing.assert_close(baseline.cuda()(y.cuda()).cpu(), expected, rtol=0, atol=5e-3)
