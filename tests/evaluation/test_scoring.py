"""The figures of one image: the challenge's, by its own numbers; those of published methods, by their papers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from command_line import Run, run
from evaluation_tools import AbsoluteDifference, image_set, noisy, photo, save, stand_in
from pydantic import TypeAdapter
from torch import Tensor

from vspsr import Degradation, VSpSR, read_image
from vspsr.evaluation.dataset import find_pairs
from vspsr.evaluation.request import Request
from vspsr.evaluation.scoring import Scorer
from vspsr.files import to_json
from vspsr.images.colours import to_srgb
from vspsr.images.io import write_image
from vspsr.images.picture import Picture, bicubic
from vspsr.metrics import PerceptualScore
from vspsr.report.records import ImageRecord
from vspsr.upscaling import compare

__all__ = ["run", "stand_in"]


def scored(request: Request, stem: str | None = None, folder: Path | None = None) -> ImageRecord:
    pairs = find_pairs(request.hr, request.scale, request.lr, request.results, request.samples)
    pair = next(p for p in pairs if stem in (None, p.stem))
    return Scorer(request, len(pair.samples)).score(pair, folder)


@pytest.mark.parametrize("scale", [4, 8])
def test_the_challenges_figures(
    golden: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: int
) -> None:
    """Files in, the numbers of the challenge's script out; its perceptual maps are taken as they are."""
    data = golden("diversity_golden")
    maps = torch.from_numpy(data["maps_f32"])
    save(tmp_path / "hr" / "0801.png", torch.from_numpy(data["gt_u8"]).permute(2, 0, 1).int())
    for i, sample in enumerate(data["samples_u8"]):
        save(tmp_path / "sr" / f"000000_sample{i:05d}.png", torch.from_numpy(sample).permute(2, 0, 1).int())
    given: list[tuple[int, ...]] = []

    class Golden(AbsoluteDifference):
        def score(self, samples: Tensor, truth: Tensor, pairwise: bool = False, peak: float = 1.0) -> PerceptualScore:
            given.append(tuple(truth.shape))
            return replace(super().score(samples, truth, pairwise), maps=maps[: len(samples)])

    monkeypatch.setattr("vspsr.evaluation.scoring.perceptual_backend", lambda _name, _device: Golden())
    record = scored(Request(hr=tmp_path / "hr", results=tmp_path / "sr", scale=scale))
    assert set(given) == {(3, 88, 72)}  # cropped to multiples of 8, at x4 and x8
    assert record.n_samples == 10
    np.testing.assert_allclose([r.distance for r in record.samples], data["global_each"], atol=1e-6)
    np.testing.assert_allclose([r.lr_psnr for r in record.samples], data[f"x{scale}/lr_psnr"], atol=1e-6)
    assert record.global_best == pytest.approx(float(data["global_best"]), abs=1e-6)
    assert record.local_best == pytest.approx(float(data["local_best"]), abs=1e-6)
    assert record.score == pytest.approx(float(data[f"x{scale}/score"]), abs=1e-4)
    from vspsr.report.summary import summarize

    figures = summarize({"versions": {}}, [record])["ntire21"]
    assert figures["distance"] == pytest.approx(float(data[f"x{scale}/LPIPS_mean"]), abs=1e-6)
    assert figures["lr_psnr_worst"] == pytest.approx(float(data[f"x{scale}/LRPSNR_worst"]), abs=1e-6)
    assert figures["lr_psnr_mean"] == pytest.approx(float(data[f"x{scale}/LRPSNR_mean"]), abs=1e-6)


@pytest.mark.parametrize(("method", "published"), [("RCAN", 32.63), ("RDN", 32.47), ("SAN", 32.64)])
def test_published_psnr(shared: Path, stand_in: None, method: str, published: float) -> None:
    """Set5 x4, Y, border of 4 cropped: what the papers print."""
    request = Request(
        hr=shared / "data/test/Set5", results=shared / "peers/Set5_x4" / method, scale=4, border=4, details=False
    )
    pairs = find_pairs(request.hr, 4, None, request.results)
    scorer = Scorer(request, 1)
    records = [scorer.score(pair) for pair in pairs]
    assert len(records) == 5
    assert sum(r.samples[0].psnr_y for r in records) / 5 == pytest.approx(published, abs=0.05)
    # MATLAB's bicubic, as all of these papers print it.
    assert sum(r.bicubic.psnr_y for r in records) / 5 == pytest.approx(28.42, abs=0.05)


def test_every_figure_of_results(tmp_path: Path, stand_in: None) -> None:
    image_set(tmp_path, n_samples=3)
    record = scored(Request(hr=tmp_path / "hr", results=tmp_path / "sr", scale=4), "c")
    hr = read_image(tmp_path / "hr" / "c.png").pixels
    images = torch.stack([read_image(tmp_path / "sr" / f"c_s{i:02d}.png").pixels for i in range(3)])
    lr = Degradation(4).down_integers(hr)
    for i, (row, image) in enumerate(zip(record.samples, images, strict=True)):
        mse = (image - hr).double().square().mean()
        down = Degradation(4).down_integers(image) - lr
        assert row.index == i
        assert row.psnr_rgb == pytest.approx(float(10 * torch.log10(255**2 / mse)))
        assert row.distance == pytest.approx(float((image - hr).abs().double().mean()) / 255, rel=1e-5)
        assert row.lr_pixels_wrong == int(down.any(0).sum())
        assert row.lr_psnr == pytest.approx(float(10 * torch.log10(255**2 / down.double().square().mean())))
        assert row.lr_psnr_file is None
    assert record.mean is not None
    mean = images.double().mean(0).round()
    assert record.mean.psnr_rgb == pytest.approx(float(10 * torch.log10(255**2 / (mean - hr).square().mean())))
    assert record.pixel_stddev == pytest.approx(float(images.double().std(0).mean()))
    assert record.lr_pixels == 14 * 14
    assert record.curve is not None
    assert record.curve[0] == 0
    assert record.curve[-1] == record.score
    assert record.pairwise is not None
    assert record.calibration is not None
    tally = record.calibration
    assert (tally.n_samples, tally.samples.n_values, tally.gaussian) == (3, hr.numel(), None)


def test_what_is_perfect_is_infinite_and_has_no_diversity_score(tmp_path: Path, stand_in: None) -> None:
    hr = photo(48, 48)
    for path in ("hr/a.png", "sr/a_0.png"):
        save(tmp_path / path, hr)
    save(tmp_path / "sr/a_1.png", noisy(hr, 1))
    record = scored(Request(hr=tmp_path / "hr", results=tmp_path / "sr", scale=4))
    assert record.samples[0].psnr_rgb == record.samples[0].lr_psnr == math.inf
    assert record.samples[0].lr_pixels_wrong == 0
    assert record.score is not None
    assert math.isnan(record.score)
    assert TypeAdapter(ImageRecord).validate_python(to_json(record)).score is None


def test_an_lr_file_is_what_counts(tmp_path: Path, stand_in: None) -> None:
    """LR-PSNR is the challenge's, on its crop; beside it stands that against the file, on the whole image."""
    hr = photo(44, 52)
    lr = noisy(Degradation(4).down_integers(hr), 1, levels=1)
    save(tmp_path / "hr/a.png", hr)
    save(tmp_path / "lr/ax4.png", lr)
    save(tmp_path / "sr/a.png", hr)
    record = scored(Request(hr=tmp_path / "hr", lr=tmp_path / "lr", results=tmp_path / "sr", scale=4))
    (row,) = record.samples
    difference = Degradation(4).down_integers(hr) - lr
    assert row.lr_psnr == math.inf
    assert row.lr_psnr_file == pytest.approx(float(10 * torch.log10(255**2 / difference.double().square().mean())))
    assert row.lr_pixels_wrong == int(difference.any(0).sum()) > 0
    # And it is what is super-resolved.
    bicubic_row = record.bicubic
    image = bicubic(Picture(lr), (hr.shape[-2], hr.shape[-1])).pixels
    assert bicubic_row.psnr_rgb == pytest.approx(
        float(10 * torch.log10(255**2 / (image - hr).double().square().mean()))
    )


@pytest.mark.parametrize("kind", ["rgb", "grey", "16 bits"])
def test_a_models_samples_downscale_exactly(tmp_path: Path, stand_in: None, kind: str) -> None:
    hr = photo(48, 64)
    hr, bits = (hr[:1], 8) if kind == "grey" else (hr * 257 + noisy(hr, 2) // 2, 16) if kind == "16 bits" else (hr, 8)
    hr = hr.clamp(0, 2**bits - 1)
    save(tmp_path / "hr/a.png", hr, bits)
    record = scored(Request(hr=tmp_path / "hr", model="vspsr-x4", samples=3, scale=4))
    assert [r.lr_pixels_wrong for r in record.samples] == [0, 0, 0]
    assert record.mean is not None
    assert record.mean.lr_pixels_wrong == 0
    assert record.mean.psnr_rgb > record.samples[0].psnr_rgb  # the mean is the best guess
    assert record.bits == bits
    assert record.calibration is not None
    tally = record.calibration
    assert tally.gaussian is not None
    assert tally.gaussian.n_values == tally.samples.n_values == 3 * 48 * 64
    assert 0.3 < tally.gaussian.coverage(0.9) <= 1


def test_a_model_and_its_files_have_the_same_figures(tmp_path: Path, stand_in: None, run: Run) -> None:
    """Scored directly, and through `vspsr degrade` and `vspsr upscale`: the same numbers to the last digit."""
    image_set(tmp_path)
    assert run("degrade", tmp_path / "hr", "-o", tmp_path / "lr").returncode == 0
    lrs = sorted((tmp_path / "lr").iterdir())
    for path in lrs:
        path.rename(path.with_name(path.name.replace("x4", "")))
    options = ["--samples", 3, "--seed", 5, "--temperature", 0.8, "--mean", "--stddev", "--contact-sheet"]
    assert run("upscale", tmp_path / "lr", "-o", tmp_path / "up", *options).returncode == 0
    common = {"hr": tmp_path / "hr", "lr": tmp_path / "lr", "scale": 4}
    of_model = Request(**common, model="vspsr-x4", samples=3, seed=5, temperature=0.8)
    direct, files = scored(of_model, "b"), scored(Request(**common, results=tmp_path / "up"), "b")
    for key in ("samples", "mean", "bicubic", "score", "curve", "pixel_stddev", "pairwise"):
        assert getattr(direct, key) == getattr(files, key), key
    assert direct.samples[0].lr_psnr_file == math.inf
    assert direct.calibration is not None
    assert files.calibration is not None
    assert direct.calibration.samples == files.calibration.samples


def test_samples_use_the_temperature_and_the_closed_form_the_calibration(tmp_path: Path, stand_in: None) -> None:
    image_set(tmp_path, n_samples=1)
    model = tmp_path / "model"
    VSpSR.from_pretrained("vspsr-x4").save_pretrained(model)
    config = json.loads((model / "config.json").read_text())
    variances = {}
    for calibration, temperature in ((1.0, 1.0), (2.0, 1.0), (1.0, 0.5)):
        (model / "config.json").write_text(json.dumps({**config, "calibration": calibration}))
        request = Request(hr=tmp_path / "hr", model=str(model), samples=4, temperature=temperature, scale=4)
        scorer = Scorer(request)
        settings = scorer.settings()
        assert (settings["calibration"], settings["temperature"]) == (calibration, temperature)
        tally = scorer.score(find_pairs(request.hr, 4)[0]).calibration
        assert tally is not None
        assert tally.gaussian is not None
        variances[calibration, temperature] = tally.gaussian.variance_sum, tally.samples.variance_sum
    (closed, drawn), twice, half = variances.values()
    assert twice == (pytest.approx(4 * closed), drawn)
    assert half == (pytest.approx(closed), pytest.approx(drawn / 4, rel=0.2))  # samples are rounded and clipped


def test_baselines_and_the_projection_behind_them(tmp_path: Path, stand_in: None) -> None:
    image_set(tmp_path, n_samples=1)
    plain = scored(Request(hr=tmp_path / "hr", baseline="bicubic", scale=4, samples=10))
    assert plain.n_samples == 1
    assert replace(plain.samples[0], index=None) == plain.bicubic
    exact = scored(Request(hr=tmp_path / "hr", baseline="bicubic", consistent=True, scale=4))
    assert plain.samples[0].lr_pixels_wrong > 0
    assert exact.samples[0].lr_pixels_wrong == 0
    assert exact.samples[0].psnr_rgb > plain.samples[0].psnr_rgb
    request = Request(hr=tmp_path / "hr", results=tmp_path / "sr", consistent=True, scale=4)
    assert scored(request).samples[0].lr_pixels_wrong == 0
    assert Scorer(request, 1).settings()["name"] == "sr+consistent"


def test_spaces_that_are_not_gaussian(tmp_path: Path, stand_in: None) -> None:
    """No closed form, no grey space: the mean is that of the samples, and grey is super-resolved as RGB."""
    torch.manual_seed(0)
    options = {"scale": 4, "n_atoms": 8, "stochastic_basis": True}
    VSpSR("vspm", options).save_pretrained(tmp_path / "model")
    save(tmp_path / "hr/a.png", photo(64, 64)[:1])
    record = scored(Request(hr=tmp_path / "hr", model=str(tmp_path / "model"), samples=3, scale=4))
    assert record.mean is not None
    assert record.calibration is not None
    assert record.calibration.gaussian is None


def test_pictures(tmp_path: Path, stand_in: None) -> None:
    from PIL import Image

    image_set(tmp_path, n_samples=1)
    request = Request(hr=tmp_path / "hr", model="vspsr-x4", samples=12, scale=4)
    record = scored(request, "a", tmp_path / "pictures")
    photographs = ["gt", "lr", "bicubic", *(f"s{i:02d}" for i in range(10)), "mean"]
    assert list(record.pictures) == [*photographs, "stddev", "error", "local_best"]
    assert {p.stem for p in (tmp_path / "pictures").iterdir()} == set(record.pictures)
    for name, end in record.pictures.items():
        with Image.open(tmp_path / "pictures" / f"{name}.webp") as image:
            assert image.format == "WEBP"
            assert image.size == ((12, 16) if name == "lr" else (48, 64))
            pixels = np.asarray(image.convert("RGB"))
        assert (end is None) == (name in photographs)
        if name == "gt":
            np.testing.assert_array_equal(pixels, read_image(tmp_path / "hr/a.png").pixels.permute(1, 2, 0).numpy())
    one = scored(Request(hr=tmp_path / "hr", results=tmp_path / "sr", scale=4), "a", tmp_path / "one")
    assert list(one.pictures) == ["gt", "lr", "bicubic", "s00", "error", "local_best"]


def test_pictures_of_photographs_with_a_profile_are_in_srgb(tmp_path: Path, stand_in: None) -> None:
    from PIL import Image

    profile = bytes(pyvips.Image.profile_load("p3"))
    image_set(tmp_path, n_samples=1)
    plain = read_image(tmp_path / "hr/a.png")
    given = replace(plain, metadata={"icc-profile-data": profile})
    write_image(tmp_path / "hr/a.png", given, overwrite=True)
    scored(Request(hr=tmp_path / "hr", results=tmp_path / "sr", scale=4), "a", tmp_path / "pictures")
    with Image.open(tmp_path / "pictures" / "gt.webp") as image:
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, to_srgb(given).pixels.numpy())
    assert not np.array_equal(pixels, plain.pixels.numpy())


def test_the_protocol_without_its_crop(tmp_path: Path, stand_in: None) -> None:
    save(tmp_path / "hr/a.png", photo(44, 52))
    save(tmp_path / "sr/a.png", noisy(photo(44, 52), 1))
    request = Request(hr=tmp_path / "hr", results=tmp_path / "sr", scale=4)
    cropped, whole = scored(request), scored(replace(request, protocol="whole"))
    assert cropped.samples[0].lr_psnr != whole.samples[0].lr_psnr
    assert cropped.samples[0].psnr_rgb == whole.samples[0].psnr_rgb
    result = compare(read_image(tmp_path / "sr/a.png"), Picture(Degradation(4).down_integers(photo(44, 52))))
    assert whole.samples[0].lr_psnr == pytest.approx(result.lr_psnr)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": "x", "results": Path("x")},
            "one of --model, --results and --baseline, got model and results",
        ),
        ({}, "got none"),
        ({"model": "x", "backend": "lpips"}, "`--backend` must be one of lpips-alex"),
        ({"model": "x", "protocol": "ntire22"}, "`--protocol` must be one of ntire21, whole"),
        ({"model": "x", "channel": "u"}, "`--channel` must be one of rgb, y"),
        ({"model": "x", "samples": 0}, "`--samples` must be at least 1, got 0"),
        ({"model": "x", "border": -1}, "`--border` must be at least 0"),
        ({"model": "x", "seed": -1}, "`seed` must be"),
        ({"model": "x", "temperature": -1.0}, "`temperature` must be"),
        ({"results": Path("x"), "temperature": 1.0}, "`--temperature` goes with --model"),
        ({"model": "x", "checkpoint": Path("x")}, "`--checkpoint` goes with --baseline"),
        ({"model": "x", "consistent": True}, "`--consistent` goes with"),
        ({"model": "x", "scale": 1}, "`scale` must be an integer of at least 2"),
    ],
)
def test_requests_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Request(**{"hr": Path("x"), "scale": 4, **change})
