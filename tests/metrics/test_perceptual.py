"""Perceptual backends against the packages lpips and stlpips-pytorch."""

import copy
import importlib
import itertools
import subprocess
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.metrics import (
    BACKENDS,
    Backend,
    perceptual_backend,
)
from vspsr.metrics.stlpips_nets import BlurPool, BlurredConv, SlidingMaximum

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}
SIZE = (88, 101)
VGG = pytest.param("vgg", marks=pytest.mark.slow)  # its unused classifier takes ten seconds to initialise


def images(n: int = 3, size: tuple[int, int] = SIZE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Samples of growing distance from a smooth truth, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 8, 9, generator=generator)
    truth = nn.functional.interpolate(small, size=size, mode="bicubic").clamp(0, 1)[0]
    noise = torch.randn(n, 3, *size, generator=generator) * torch.linspace(0.02, 0.15, n)[:, None, None, None]
    return (truth + noise).clamp(0, 1), truth


@lru_cache
def random_lpips(net: str) -> Any:
    """The lpips package's module over a seeded random backbone."""
    lpips = pytest.importorskip("lpips", reason="the package lpips (extra eval) is not installed")
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net=net, pnet_rand=True, spatial=True, verbose=False)


@torch.no_grad()
def by_package(module: Any, samples: Tensor, truth: Tensor, spatial: bool) -> Tensor:
    """As the challenge's script calls it: one sample after the other, in [-1, 1]."""
    module.spatial = spatial
    values = [module(2 * s[None] - 1, 2 * truth[None] - 1)[0, 0] for s in samples]
    return torch.stack(values) if spatial else torch.stack([v.squeeze() for v in values])


def check_parity(module: Any, backend: Backend, size: tuple[int, int] = SIZE) -> None:
    samples, truth = images(size=size)
    score = backend.score(samples, truth, pairwise=True)
    maps = by_package(module, samples, truth, spatial=True)
    assert score.maps.shape == maps.shape == (3, *size)
    torch.testing.assert_close(score.maps, maps, rtol=0, atol=1e-5)
    assert float(maps.max()) > 1e-3  # something to compare
    distances = by_package(module, samples, truth, spatial=False).double()
    torch.testing.assert_close(score.distances, distances, rtol=1e-5, atol=1e-7)
    pairs = [by_package(module, a[None], b, False).item() for a, b in itertools.combinations(samples, 2)]
    assert score.pairwise == pytest.approx(np.mean(pairs), rel=1e-5)
    alone = backend.score(samples, truth)
    assert torch.equal(alone.distances, score.distances)
    assert alone.pairwise is None


@pytest.mark.parametrize("net", ["alex", VGG, "squeeze"])
def test_equals_the_lpips_package_on_random_backbones(net: str) -> None:
    module = random_lpips(net)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    backend = Backend(module, f"random-{net}", "seed 0")
    check_parity(module, backend, (48, 53) if net == "vgg" else SIZE)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("net", ["alex", VGG])
def test_equals_the_stlpips_package(net: str) -> None:
    for name in ("IPython", "torchsummary", "stlpips_pytorch"):
        pytest.importorskip(name, reason=f"{name} is not installed: the package stlpips-pytorch cannot be run")
    reference = importlib.import_module("stlpips_pytorch.stlpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = reference.LPIPS(net=net, variant="shift_tolerant", verbose=False).eval()
    check_parity(module, perceptual_backend(f"stlpips-{net}"), (48, 53) if net == "vgg" else SIZE)
    if net == "alex":
        check_parity(module, perceptual_backend("stlpips-alex"), (21, 50))


@pytest.mark.parametrize("net", ["alex", VGG, "squeeze"])
def test_loads_torchvisions_weights_from_its_cache(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of seeded random weights in the place and layout of torchvision's: the same as the package with them."""
    module = random_lpips(net)
    state = {}
    for key, value in module.net.state_dict().items():  # slice2.3.weight is features.3.weight
        state["features." + key.partition(".")[2]] = value
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / FILES[net])
    backend = perceptual_backend(f"lpips-{net}")
    assert backend.name == f"lpips-{net}"
    assert backend.version.startswith("lpips 0.1")
    assert "torchvision" in backend.version
    assert "sha256" in backend.version
    samples, truth = images(size=(48, 53))
    wanted = by_package(module, samples, truth, spatial=True)
    torch.testing.assert_close(backend.score(samples, truth).maps, wanted, rtol=0, atol=1e-5)

    state.pop(next(k for k in state if k.endswith("bias")))
    torch.save(state, folder / FILES[net])
    with pytest.raises(ModelError, match=r"features\.\d+.*bias' is missing"):
        perceptual_backend(f"lpips-{net}")
    (folder / FILES[net]).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="use stlpips-alex or stlpips-vgg"):
        perceptual_backend(f"lpips-{net}")


def test_no_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(ModelError, match=r"alexnet-owt-7be5be79.pth.*Name or service not known.*stlpips-alex") as error:
        perceptual_backend("lpips-alex")
    assert "\n" not in str(error.value)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setattr("vspsr.metrics.backends.find_spec", lambda _: None)
    for name in ("lpips-alex", "stlpips-alex"):
        with pytest.raises(ModelError, match=r"install vspsr\[eval\]"):
            perceptual_backend(name)


def test_stlpips_runs_nothing_of_the_package() -> None:
    pytest.importorskip("stlpips_pytorch")
    code = (
        "import sys; sys.modules['IPython'] = sys.modules['torchsummary'] = None\n"
        "from vspsr.metrics import perceptual_backend; b = perceptual_backend('stlpips-alex')\n"
        "assert not [m for m in sys.modules if m.startswith(('stlpips_pytorch', 'torchvision', 'torchmetrics'))]\n"
        "print(b.version)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "vST0.0" in out
    assert "sha256" in out


@pytest.mark.parametrize("size", [(31, 31), (32, 32), (40, 47), (47, 64)])
def test_blurred_convolution_is_convolution_then_blur(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv, blur = nn.Conv2d(3, 4, 11, padding=2).double(), BlurPool(4).double()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    wanted = blur(conv(x))
    assert wanted.shape[-2:] == tuple((n - 6 + 1) // 2 + 1 for n in size)
    torch.testing.assert_close(BlurredConv(conv, blur)(x), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
def test_sliding_maximum_is_max_pooling(size: int) -> None:
    x = torch.rand(2, 4, 9, 11, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    out = SlidingMaximum(size)(x)
    assert torch.equal(out, nn.functional.max_pool2d(x, size, 1))
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_identical_images_and_independence_of_the_batch() -> None:
    backend = Backend(random_lpips("alex"), "random", "0")
    samples, truth = images(4)
    samples[2] = truth
    score = backend.score(samples, truth, pairwise=True)
    assert not score.maps[2].any()
    assert score.distances[2] == 0
    for i in range(4):
        assert torch.equal(backend.score(samples[i : i + 1], truth).maps[0], score.maps[i])
    assert backend.score(truth.expand(3, -1, -1, -1), truth, pairwise=True).pairwise == 0
    for peak in (255, 65535):
        x, y = ((v * peak).round().int() for v in (samples, truth))
        whole, parts = backend.score(x, y, True, peak=peak), backend.score(x / peak, y / peak, True)
        torch.testing.assert_close(whole.maps, parts.maps, rtol=1e-4, atol=1e-7)
        assert whole.pairwise == pytest.approx(parts.pairwise, rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(backend.score(samples, truth).maps, score.maps)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("stlpips-alex", 21),
        ("stlpips-vgg", 18),
        ("alex", 31),
        ("squeeze", 17),
        pytest.param("vgg", 16, marks=pytest.mark.slow),
    ],
)
def test_least_sizes(name: str, least: int) -> None:
    if name in BACKENDS:
        pytest.importorskip("stlpips_pytorch")
        backend = perceptual_backend(name)
    else:
        backend = Backend(random_lpips(name), name, "0", min_size=least)
    assert backend.min_size == least
    assert backend.score(*images(1, (least, least + 1))).maps.isfinite().all()
    with pytest.raises(ValueError, match=f"at least {least}×{least} pixels"):
        backend.score(*images(1, (least - 1, 50)))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of lpips-alex.*got 'alex'"):
        perceptual_backend("alex")
    module = random_lpips("alex")
    backend = Backend(module, "random", "0")
    samples, truth = images()
    for call, message in [
        (lambda: backend.score(samples, truth[:, :-1]), "must have the same channels and size"),
        (lambda: backend.score(samples[0], truth), r"`samples` must be RGB \(n, 3, H, W\)"),
        (lambda: backend.score((samples * 255).int(), truth), "`samples` must be RGB.*integers need their `peak`"),
        (lambda: backend.score(samples * 255, truth), "`samples` must lie in 0 … 1"),
        (lambda: backend.score(samples, truth[:1]), r"`truth` must be RGB \(3, H, W\)"),
        (lambda: backend.score(samples[:1], truth, pairwise=True), "at least two for a distance between them, got 1"),
        (lambda: Backend(nn.Conv2d(3, 3, 1), "conv", "0"), "must have `net`, lin0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    module = copy.deepcopy(module)
    module.version = "0.0"
    with pytest.raises(ValueError, match=r"must be LPIPS v0\.1"):
        Backend(module, "old", "0")
