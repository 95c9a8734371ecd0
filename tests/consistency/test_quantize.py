"""Π and the way to integers: exact, nearest, and honest where there is no exact image."""

import json
import logging
import math
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import small_model

from vspsr import Consistent, Degradation, project, quantize, read_image, upscale
from vspsr.consistency.progress import estimate_progress
from vspsr.consistency.quantize import quantized
from vspsr.consistency.solve import SEARCH_LOG
from vspsr.degradation.resize import imresize
from vspsr.errors import ConsistencyWarning

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "consistency.py"
SIDES = st.integers(1, 12)
SCALES = st.sampled_from([2, 3, 4, 8])


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SCALES, st.sampled_from(["bicubic", "bilinear", "lanczos3", "box"]), SIDES, SIDES)
def test_projection_is_consistent_and_idempotent(scale: int, kernel: str, h: int, w: int) -> None:
    degradation = Degradation(scale, kernel)
    x, y = rand(2, 3, scale * h, scale * w), rand(2, 3, h, w, seed=1)
    once = project(x, y, degradation)
    torch.testing.assert_close(degradation.down(once), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(project(once, y, degradation), once, rtol=0, atol=1e-12)


def test_projection_is_the_nearest_consistent_image() -> None:
    degradation = Degradation(4)
    x, y = rand(1, 1, 12, 8), rand(1, 1, 3, 2, seed=1)
    dense = np.kron(degradation.axis(12).dense().numpy(), degradation.axis(8).dense().numpy())
    shift = np.linalg.lstsq(dense, (y - degradation.down(x)).numpy().ravel(), rcond=None)[0]
    np.testing.assert_allclose((project(x, y) - x).numpy().ravel(), shift, atol=1e-12)


def test_projection_is_differentiable_in_both_arguments() -> None:
    x, y = rand(1, 1, 4, 6).requires_grad_(), rand(1, 1, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(project, (x, y))


def test_any_network_is_made_consistent() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 48, 3, padding=1), torch.nn.PixelShuffle(4))
    y = torch.rand(2, 3, 7, 5)
    x = Consistent(network, Degradation(4))(y)
    torch.testing.assert_close(Degradation(4).down(x), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [4, 8])
def test_against_the_authors_consistency_module(golden: Callable[[str], Any], scale: int) -> None:
    """Theirs misses LR values at borders and everywhere a little; ours meets every one."""
    data = golden("cem_golden")
    x, y, theirs = (torch.from_numpy(data[f"x{scale}/{k}"]) for k in ("generated", "lr", "output"))
    degradation = Degradation(scale)
    error = {"theirs": (degradation.down(theirs) - y).abs(), "ours": (degradation.down(project(x, y)) - y).abs()}
    assert float(error["ours"].max()) < 1e-6
    assert float(error["theirs"].max()) > 1e-4


def rounded(x: torch.Tensor) -> torch.Tensor:
    return (255 * x).round().clamp(0, 255).to(torch.uint8)


def lr_psnr(image: torch.Tensor, y: torch.Tensor, degradation: Degradation) -> float:
    """Of an 8-bit image, without rounding the LR image: in dB."""
    return -10 * math.log10(float((degradation.down(image.double() / 255) - y).square().mean()))


@pytest.mark.parametrize("scale", [4, 8])
def test_their_lr_psnr_is_a_figure_to_beat(shared: Path, golden: Callable[[str], Any], scale: int) -> None:
    """Both to 8 bits: on the authors' own inputs, and on photographs beside what they reach on photographs."""
    truncated = runpy.run_path(str(BENCHMARK))["TruncatedFilters"](scale)
    data, degradation = golden("cem_golden"), Degradation(scale)
    x, y, theirs = (torch.from_numpy(data[f"x{scale}/{k}"]).double() for k in ("generated", "lr", "output"))
    torch.testing.assert_close(truncated.project(x, y), theirs, rtol=0, atol=1e-5)
    assert lr_psnr(rounded(project(x, y)), y, degradation) > lr_psnr(rounded(theirs), y, degradation) + 10
    rows = json.loads((shared / "golden" / "cem_lrpsnr.json").read_text())
    published = np.mean([r["after_round"] for r in rows if r["scale"] == scale and r["gen"] == "noise5"])
    assert published == pytest.approx({4: 51.3, 8: 50.7}[scale], abs=0.05)
    found = []
    for path in sorted((shared / "data" / "test" / "Set5").iterdir())[:3]:
        pixels = read_image(path).pixels.expand(3, -1, -1)[None, :, :192, :192].to(torch.uint8)
        y8 = degradation.down_uint8(pixels)
        y = y8.double() / 255
        x = imresize(y, scale=scale) + 5 / 255 * (rand(*pixels.shape, seed=2) - 0.5) * math.sqrt(12)
        found.append([lr_psnr(rounded(project(x, y)), y, degradation)])
        found[-1].append(lr_psnr(rounded(truncated.project(x, y)), y, degradation))
        result = quantize(x, y8)
        assert result.exact
        assert torch.equal(degradation.down_uint8(result.image), y8)
    ours, their_way = np.mean(found, 0)
    assert ours > published  # on other photographs
    assert ours > their_way + 8


def original(kind: str, h: int, w: int, scale: int, bits: int, seed: int) -> torch.Tensor:
    """A random HR image of integers (1, 3, s·h, s·w): smooth, noise, or saturated like text."""
    peak = 2**bits - 1
    noise = rand(1, 3, scale * h, scale * w, seed=seed)
    if kind == "smooth":
        noise = imresize(rand(1, 3, 3, 3, seed=seed), size=(scale * h, scale * w)).clamp(0, 1)
    elif kind == "text":
        noise = (imresize(rand(1, 3, 2 * h, 2 * w, seed=seed), size=(scale * h, scale * w)) > 0.5).double()
    return (noise * peak).round()


@settings(max_examples=40)
@given(
    st.sampled_from(["smooth", "noise"]),
    SIDES,
    SIDES,
    SCALES,
    st.sampled_from([8, 16]),
    st.sampled_from(["per-pass", "single"]),
    st.integers(0, 1000),
)
def test_an_lr_image_that_was_degraded_is_met(
    kind: str, h: int, w: int, scale: int, bits: int, rounding: str, seed: int
) -> None:
    degradation = Degradation(scale)
    y = degradation.down_integers(original(kind, h, w, scale, bits, seed), bits, rounding)
    x = imresize(y.double() / (2**bits - 1), scale=scale) + 0.05 * (rand(1, 3, scale * h, scale * w, seed=9) - 0.5)
    result = quantize(x, y, degradation, bits, rounding)
    assert result.exact
    assert result.image.dtype == (torch.uint8 if bits == 8 else torch.int32)
    assert torch.equal(degradation.down_integers(result.image, bits, rounding), y)
    if bits == 8 and rounding == "per-pass":
        assert torch.equal(degradation.down_uint8(result.image).int(), y)


@pytest.mark.parametrize("rounding", ["per-pass", "single"])
def test_saturated_text_is_met(rounding: str) -> None:
    degradation = Degradation(4)
    y = degradation.down_integers(original("text", 10, 10, 4, 8, 0), 8, rounding)
    x = project(imresize(y.double() / 255, scale=4), y.double() / 255)
    assert quantize(x, y, degradation, 8, rounding).exact


def test_an_exact_image_is_left_alone_and_batches_do_not_matter() -> None:
    degradation = Degradation(4)
    hr = original("smooth", 6, 7, 4, 8, 3)
    y = degradation.down_integers(hr)
    assert torch.equal(quantize(hr / 255, y).image.double(), hr)
    x = torch.cat([hr / 255, rand(1, 3, 24, 28)])
    both = quantize(x, torch.cat([y, y]))
    for i in range(2):
        assert torch.equal(both.image[i], quantize(x[i], y[0]).image)
    assert both.lr_values_wrong.shape == (2,)


def test_large_images_are_made_channel_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    y = (Degradation(4).down(rand(2, 3, 40, 48)) * 0.8 + 0.1).clamp(0, 1)
    x = project(rand(2, 3, 40, 48, seed=1) * 0.2 + 0.4, (y * 255).round() / 255)
    whole = quantize(x, y)
    monkeypatch.setattr(sys.modules["vspsr.consistency.quantize"], "_CHANNEL_BY_CHANNEL", 100)
    steps: list[tuple[int, int]] = []
    with estimate_progress(lambda done, total: steps.append((done, total))):
        parts = quantize(x, y)
    assert steps == [(i, 6) for i in range(6)]
    assert parts.exact
    assert torch.equal(parts.image, whole.image)
    torch.testing.assert_close(parts.moved_rms, whole.moved_rms)
    assert torch.equal(parts.moved_max, whole.moved_max)


def test_what_cannot_be_met_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    y = 255 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2)[None].expand(3, 8, 8)
    caplog.set_level(logging.INFO, SEARCH_LOG)
    with pytest.warns(ConsistencyWarning, match="LR values wrong, by at most"):
        result = quantize(rand(3, 32, 32), y)
    begun, ended = caplog.messages
    assert begun.startswith("searching for exact integers")
    assert ended == ""
    difference = (Degradation(4).down_integers(result.image) - y).abs()
    assert not result.exact
    assert int(result.lr_values_wrong) == int((difference > 0).sum()) > 0
    assert int(result.lr_max_deviation) == int(difference.max()) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: project(rand(1, 3, 8, 8), torch.full((1, 3, 2, 2), math.nan)), "`y` has values that are not finite"),
        (lambda: project(rand(1, 3, 8, 8) * math.inf, rand(1, 3, 2, 2)), "`x` has values that are not finite"),
        (lambda: project(rand(1, 3, 8, 20), rand(1, 3, 2, 2)), "`x` 20×8 is no integer multiple of `y` 2×2"),
        (
            lambda: project(rand(1, 3, 13, 13), rand(1, 3, 2, 2)),
            "`x` 13×13 downscales at scales 7 … 12 to `y` 2×2",
        ),
        (lambda: project(rand(1, 3, 8, 8), rand(1, 1, 2, 2)), "`x` .* does not downscale to `y`"),
        (lambda: project(rand(1, 3, 8, 8), rand(1, 3, 2, 2), Degradation(2)), "at scale 2"),
        (lambda: quantize(rand(3, 8, 8), 2 * rand(3, 2, 2) + 1), r"`y` must lie in \[0, 1\]"),
        (lambda: quantize(rand(3, 8, 8), torch.full((3, 2, 2), 300)), r"`y` must lie in 0 … 255, got 300"),
        (
            lambda: project(rand(2, 3, 8, 8), rand(3, 3, 2, 2)),
            r"leading axes of `x` \(2,\) and `y` \(3,\) must broadcast",
        ),
        (lambda: quantize(rand(2, 3, 8, 8), rand(3, 3, 2, 2)), "must broadcast"),
        (lambda: quantize(rand(3, 8, 8), torch.full((2, 2), 9)), r"`y` must be an image"),
        (lambda: quantize(rand(3, 8, 8), rand(3, 2, 2), bits=8.0), "`bits` must be one of 8, 16, got 8.0"),  # type: ignore[arg-type]
        (lambda: quantize(rand(3, 8, 8), rand(3, 2, 2), bits=10), "`bits` must be one of 8, 16, got 10"),
        (lambda: quantize(rand(3, 8, 8), rand(3, 2, 2), rounding="up"), "`rounding` must be"),
        (lambda: quantize(rand(3, 7, 8), rand(3, 2, 2), Degradation(4)), "`x` 8×7 must be exactly 4 times `y` 2×2"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("name", ["Set14", "BSD100"])
def test_every_image_of_the_test_sets(shared: Path, name: str, scale: int) -> None:
    from vspsr import VSpSR, read_image

    model = VSpSR.from_pretrained(f"vspsr-x{scale}")
    missed = {}
    for path in sorted((shared / "data" / "test" / name).iterdir()):
        pixels = read_image(path).pixels.expand(3, -1, -1)
        height, width = (n // scale * scale for n in pixels.shape[1:])
        y = model.degradation.down_integers(pixels[:, :height, :width])[None]
        with torch.no_grad():
            samples = model(y.float() / 255).sample(3)
        missed[path.name] = int(quantize(samples, y).lr_values_wrong.sum())
    assert {k: v for k, v in missed.items() if v} == {}


def test_only_quantize_warns() -> None:
    """Filters of warnings belong to the process: no thread may change them while it works."""
    i = torch.arange(12)
    y = (255 * ((i[:, None] + i) % 2)).expand(3, -1, -1)
    x = rand(3, 48, 48)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = quantized(x, y, None, 8, "per-pass", 0)
        assert not caught
        again = quantize(x, y, budget=0)
    assert [w.category for w in caught] == [ConsistencyWarning]
    assert caught[0].filename == __file__
    assert int(made.lr_values_wrong) == int(again.lr_values_wrong) > 0


def test_upscaling_changes_no_filter_of_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    board, model = (255 * np.indices((12, 12)).sum(0) % 510).astype(np.uint8), small_model()
    made = upscale(board, model, samples=1)  # what is imported first may change them

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the filters of all threads")

    with monkeypatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", refuse)
        again = upscale(board, model, samples=1)
    assert torch.equal(again.samples[0].pixels, made.samples[0].pixels)
