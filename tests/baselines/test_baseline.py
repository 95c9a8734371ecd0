"""The baselines: published checkpoints give what their papers' mathematics gives, projected ones are consistent."""

import copy
from pathlib import Path

import pytest
import torch
from baseline_checkpoints import RELEASES, edsr_pytorch, esrgan, msrresnet, rcan
from baseline_files import complaint, picture, save
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vspsr import Degradation, quantize, read_image
from vspsr.baselines import BASELINES, load_baseline
from vspsr.baselines.networks import EDSR, MSRResNet
from vspsr.degradation.resize import imresize

CAT = Path(__file__).parents[2] / "examples" / "cat.png"


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
