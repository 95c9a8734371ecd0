"""PSNR, SSIM and LR-PSNR against scikit-image, published figures and golden vectors of the challenge."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vspsr import Degradation, project, quantize, read_image
from vspsr.metrics import crop_to_multiple, crop_to_size, lr_agreement, pixel_stddev, psnr, ssim
from vspsr.metrics.images import luma


def pair(seed: int = 0, size: tuple[int, int] = (40, 53), peak: int = 255) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(3, *size, generator=generator)
    b = (a + 0.1 * torch.randn(3, *size, generator=generator)).clamp(0, 1)
    return (a * peak).round().int(), (b * peak).round().int()


@pytest.mark.parametrize("peak", [255, 65535])
@pytest.mark.parametrize("border", [0, 4])
def test_psnr_and_ssim_equal_scikit_images(peak: int, border: int) -> None:
    a, b = pair(peak=peak)
    inner = (slice(None), slice(border, 40 - border), slice(border, 53 - border))
    x, y = (v[inner].numpy().astype(np.float64) for v in (a, b))
    assert float(psnr(a, b, peak, border=border)) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=peak))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": peak}
    wanted = structural_similarity(x, y, channel_axis=0, **options)
    assert float(ssim(a, b, peak, border=border)) == pytest.approx(wanted, abs=1e-10)
    luma_x, luma_y = (luma(v, peak)[0, border : 40 - border, border : 53 - border].numpy() for v in (a, b))
    wanted = structural_similarity(luma_x, luma_y, **options)
    assert float(ssim(a, b, peak, "y", border)) == pytest.approx(wanted, abs=1e-10)
    wanted = peak_signal_noise_ratio(luma_x, luma_y, data_range=peak)
    assert float(psnr(a, b, peak, "y", border)) == pytest.approx(wanted)


def test_luma_is_matlabs() -> None:
    """Values that MATLAB's documentation of rgb2ycbcr and BT.601 give: black 16, white 235, primaries."""
    rgb = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]).T[:, None]
    wanted = [16, 235, 81.481, 144.553, 40.966]
    assert luma(rgb, 255).flatten().tolist() == pytest.approx(wanted)
    assert (luma(rgb.double() / 255, 1) * 255).flatten().tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(("method", "published"), [("RCAN", 32.63), ("RDN", 32.47), ("SAN", 32.64)])
def test_published_psnr_of_published_images(shared: Path, method: str, published: float) -> None:
    """Set5 x4, Y channel, border of 4: within 0.05 dB of the papers' tables."""
    values = []
    for path in sorted((shared / "peers" / "Set5_x4" / method).glob("*.png")):
        (truth,) = [p for p in (shared / "data" / "test" / "Set5").iterdir() if p.stem.split("_")[0] == path.stem]
        sr = read_image(path).pixels.int()
        hr = crop_to_size(read_image(truth).pixels.int().expand(3, -1, -1), *sr.shape[-2:])
        values.append(float(psnr(sr, hr, channel="y", border=4)))
    assert len(values) == 5
    assert np.mean(values) == pytest.approx(published, abs=0.05)


def test_identical_images() -> None:
    a, _ = pair()
    assert float(psnr(a, a)) == float("inf")
    assert float(ssim(a, a)) == pytest.approx(1, abs=1e-12)
    decibels, wrong = lr_agreement(a, Degradation(4).down_integers(a), Degradation(4))
    assert (float(decibels), int(wrong)) == (float("inf"), 0)


@given(st.integers(0, 100), st.integers(1, 3), st.integers(11, 30), st.integers(11, 30))
def test_leading_axes_broadcast_and_ranges_hold(seed: int, n: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(0, 256, (2, n, 3, height, width), generator=generator)
    b = torch.randint(0, 256, (3, height, width), generator=generator)
    for metric, low, high in ((psnr, 0, float("inf")), (ssim, -1, 1)):
        values = metric(a, b)
        assert values.shape == (2, n)
        assert bool((values >= low).all())
        assert bool((values <= high).all())
        assert values[1, 0] == metric(a[1, 0], b)
        torch.testing.assert_close(values, metric(b, a))


def test_golden_lr_psnr_of_the_challenge(golden: Callable[[str], Any]) -> None:
    data = golden("diversity_golden")
    truth = crop_to_multiple(torch.from_numpy(data["gt_u8"]).permute(2, 0, 1))
    assert truth.shape == (3, 88, 72)
    samples = crop_to_size(torch.from_numpy(data["samples_u8"]).permute(0, 3, 1, 2), 88, 72)
    for scale in (4, 8):
        degradation = Degradation(scale)
        values, _ = lr_agreement(samples, degradation.down_integers(truth), degradation)
        np.testing.assert_allclose(values.numpy(), data[f"x{scale}/lr_psnr"], rtol=0, atol=1e-6)
        assert float(values.min()) == pytest.approx(float(data[f"x{scale}/LRPSNR_worst"]), abs=1e-6)
        assert float(values.mean()) == pytest.approx(float(data[f"x{scale}/LRPSNR_mean"]), abs=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_mismatches_count_pixels(bits: int) -> None:
    degradation, peak = Degradation(4), 2**bits - 1
    a, _ = pair(peak=peak)
    lr = degradation.down_integers(a, bits)
    assert int(lr_agreement(a, lr, degradation, bits)[1]) == 0
    wrong = lr.clone()
    wrong[:, 2, 3] = (wrong[:, 2, 3] + 5) % peak  # three values of one pixel
    wrong[1, 0, 0] = (wrong[1, 0, 0] + 5) % peak
    decibels, pixels = lr_agreement(torch.stack([a, a]), torch.stack([lr, wrong]), degradation, bits)
    assert pixels.tolist() == [0, 2]
    mse = float((wrong - lr).double().square().mean())
    wanted = 10 * np.log10(peak**2 / mse)
    assert decibels.tolist() == [float("inf"), pytest.approx(wanted)]


def test_what_quantize_promises_is_what_the_metric_sees() -> None:
    generator = torch.Generator().manual_seed(3)
    y = torch.rand(1, 3, 12, 10, generator=generator) * 0.5 + 0.25
    y8 = (y * 255).round().int()
    x = project(torch.rand(1, 3, 48, 40, generator=generator) * 0.2 + 0.4, y)
    images = quantize(x, y8)
    assert images.exact
    decibels, wrong = lr_agreement(images.image, y8, Degradation(4))
    assert (decibels.tolist(), wrong.tolist()) == ([float("inf")], [0])


def test_16_bits_of_any_dtype() -> None:
    """Also as numpy and files have them."""
    a, b = pair(peak=65535)
    unsigned = [torch.from_numpy(x.numpy().astype(np.uint16)) for x in (a, b)]
    for metric in (psnr, ssim):
        assert metric(*unsigned, peak=65535) == metric(a, b, peak=65535)
    lr = Degradation(4).down_integers(a, 16)
    found = lr_agreement(unsigned[0], torch.from_numpy(lr.numpy().astype(np.uint16)), Degradation(4), 16)
    assert float(found[0]) == math.inf
    with pytest.raises(ValueError, match="`a` must lie in 0 … 255"):
        psnr(*unsigned)


def test_golden_file_and_its_summary_agree(shared: Path, golden: Callable[[str], Any]) -> None:
    summary = json.loads((shared / "golden" / "diversity_golden.json").read_text())
    np.testing.assert_allclose(golden("diversity_golden")["x4/lr_psnr"], summary["x4"]["lr_psnr"], atol=1e-9)


A, B = pair()
LOW = Degradation(4).down_integers(A)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psnr(A, B[:, :-1]), r"`a` \(3, 40, 53\) and `b` \(3, 39, 53\) must have the same channels and size"),
        (lambda: psnr(A[:1], B), "expand grey to three channels"),
        (lambda: psnr(A * 257, B), "`a` must lie in 0 … 255.*16 bits measured as 8"),
        (lambda: psnr(A / 255 - 1, B / 255, 1), "`a` must lie in 0 … 1, got values from -1"),
        (lambda: psnr(torch.full((3, 9, 9), torch.nan), B), "`a` must lie in"),
        (lambda: psnr(torch.stack([A, A]), torch.stack([B] * 3)), "must broadcast"),
        (lambda: psnr(A, B, 0), "`peak` must be above 0"),
        (lambda: pixel_stddev(torch.stack([A, B]), 0), "`peak` must be above 0"),
        (lambda: lr_agreement(torch.stack([A] * 2), torch.stack([LOW] * 3), Degradation(4)), "must broadcast"),
        (lambda: psnr(A, B, channel="v"), "`channel` must be one of rgb, y, got 'v'"),
        (lambda: psnr(A[:1], B[:1], channel="y"), "must have three channels"),
        (lambda: psnr(A, B, border=20), "`border` must leave something of 53×40, got 20"),
        (lambda: ssim(A[..., :10], B[..., :10]), "at least 11×11 pixels within the border, got 10×40"),
        (lambda: lr_agreement(A / 255, B, Degradation(4)), "`sr` must hold integers 0 … 255, got fractions"),
        (lambda: lr_agreement(A, B, Degradation(4), bits=10), "`bits` must be one of 8, 16, got 10"),
        (
            lambda: lr_agreement(A, B, Degradation(4)),
            r"`lr` \(3, 40, 53\) must be \(3, 10, 14\), the LR image of `sr`",
        ),
        (lambda: crop_to_multiple(A[..., :7]), "`x` 7×40 pixels are too few: 8 on each side are needed"),
        (lambda: crop_to_size(A, 41, 8), "`x` 53×40 must be at least 8×41"),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
