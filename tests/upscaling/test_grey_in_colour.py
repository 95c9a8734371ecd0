"""Grey pictures that are stored in colour: they stay grey, and are what the same picture stored as grey becomes."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from explorer_tools import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_files import decoded, differs, saved, small_photo
from PIL import Image, ImageCms
from spaces import small_model
from torch import Tensor
from typer.testing import CliRunner

from vspsr.cli.main import app
from vspsr.degradation import Degradation
from vspsr.images import read_image
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.picture import Picture
from vspsr.images.sources import Source, read_source, source_of
from vspsr.space import NotGaussianError
from vspsr.upscaling import PictureSpace, Upscaled, compare, degrade, upscale
from vspsr.upscaling.assessment import assess
from vspsr.upscaling.folders import upscale_file
from vspsr.upscaling.projecting import project_picture
from vspsr.upscaling.saving import Options, upscale_stream

MODEL = small_model(temperature=0.1)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def in_colour(picture: Picture) -> Picture:
    """A grey picture with three equal channels."""
    return replace(picture, pixels=picture.pixels.repeat(3, 1, 1), mode="RGB")


def lr_picture(size: tuple[int, int] = (9, 11), bits: int = 8, alpha: bool = False, seed: int = 0) -> Picture:
    """A grey LR picture that exact HR pictures exist of."""
    generator, peak = torch.Generator().manual_seed(seed), 2**bits - 1
    coarse = torch.rand(1, 1 + alpha, 3, 3, generator=generator)
    hr = torch.nn.functional.interpolate(coarse, [4 * n for n in size], mode="bicubic").clamp(0.1, 0.9)
    planes = (hr[0] * peak).round().int()
    return degrade(Picture(planes[:1], bits, planes[1:] if alpha else None, mode="grey"), Degradation(4))


def is_grey(pixels: Tensor) -> bool:
    return len(pixels) == 3 and bool((pixels == pixels[:1]).all())


def assert_same(colour: Upscaled, grey: Upscaled) -> None:
    """Of a picture stored in colour, and of the same stored as grey."""
    assert colour.stddev.shape == (3, *grey.stddev.shape[1:])
    assert torch.equal(colour.stddev, grey.stddev.expand(3, -1, -1))
    for a, b in zip([*colour.samples, colour.mean], [*grey.samples, grey.mean], strict=True):
        assert is_grey(a.pixels)
        assert torch.equal(a.pixels[:1], b.pixels)
        assert (a.alpha is None) == (b.alpha is None)
        assert a.alpha is None or b.alpha is None or torch.equal(a.alpha, b.alpha)
        assert a.bits == b.bits


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    bits=st.sampled_from([8, 16]),
    out_bits=st.sampled_from(["auto", 8, 16]),
    alpha=st.booleans(),
    rounding=st.sampled_from(["per-pass", "single"]),
    denoise=st.sampled_from([None, "auto", 0.02, (0.02, 0.01)]),
    seed=st.integers(0, 99),
)
def test_pixels_of_every_kind(
    size: tuple[int, int], bits: int, out_bits: int | str, alpha: bool, rounding: str, denoise: object, seed: int
) -> None:
    grey = lr_picture(size, bits, alpha, seed)
    colour, options = in_colour(grey), {"bits": out_bits, "rounding": rounding, "denoise": denoise}
    results = [upscale(p, MODEL, samples=2, seed=seed, **options) for p in (colour, grey)]  # type: ignore[arg-type]
    assert_same(*results)
    for hr, exactness in zip([*results[0].samples, results[0].mean], results[0].exactness, strict=True):
        if exactness.noise_ratio is None:
            wrong = compare(hr, colour, 4, rounding=rounding).wrong
            assert exactness.lr_values_wrong == (wrong if hr.bits >= bits else 0)


@settings(max_examples=12)
@given(
    size=st.tuples(st.integers(1, 28), st.integers(1, 28)),
    quality=st.integers(10, 95),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    orientation=st.integers(1, 8),
    bits=st.sampled_from([8, 16]),
)
def test_jpegs_of_every_sampling(
    size: tuple[int, int], quality: int, subsampling: str, progressive: bool, orientation: int, bits: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = small_photo()[:1, : size[0], : size[1]] * 0.7 + 40
    options = {"progressive": progressive, "exif": exif.tobytes()}
    content = saved(image.repeat(3, 1, 1), quality=quality, subsampling=subsampling, **options)
    tables = [Image.open(io.BytesIO(content)).quantization[0]]
    alone = saved(image, qtables=tables, **options)
    results = [upscale(file, MODEL, samples=1, bits=bits) for file in (content, alone)]
    assert_same(*results)
    code = read_source(content).jpeg
    assert code is not None
    assert code.subsampling == subsampling
    for hr, exactness in zip([*results[0].samples, results[0].mean], results[0].exactness, strict=True):
        assert exactness.coefficients_wrong == differs(code.stored(hr.pixels), content, bits)
        found = compare(hr, read_source(content), 4)
        assert (found.wrong, found.total) == (exactness.coefficients_wrong, code.n_coefficients)
    pixels = [upscale(file, MODEL, samples=0, as_pixels=True) for file in (content, alone)]
    assert_same(*pixels)
    assert compare(pixels[0].mean, read_source(content, as_pixels=True), 4).wrong == (
        pixels[0].exactness[0].lr_values_wrong
    )


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_check_agrees_on_all_three_components(subsampling: str, tmp_path: Path) -> None:
    image = small_photo()[:1, :23, :29] * 0.7 + 40
    (tmp_path / "a.jpg").write_bytes(saved(image.repeat(3, 1, 1), quality=80, subsampling=subsampling))
    report = upscale_file(tmp_path / "a.jpg", tmp_path, MODEL, "small", Options(samples=1, mean=True))
    assert report["assumed"].endswith("; its equal channels are taken as grey")
    assert report["jpeg"]["subsampling"] == subsampling
    for name in ("a_x4_s00.png", "a_x4_mean.png"):
        done = CliRunner().invoke(app, ["check", str(tmp_path / name), str(tmp_path / "a.jpg"), "--json"])
        total = sum(c.numel() for c in read_coefficients((tmp_path / "a.jpg").read_bytes()).coefficients)
        assert (done.exit_code, json.loads(done.output)["coefficients"]) == (0, total)


@given(channel=st.integers(0, 2), row=st.integers(0, 8), column=st.integers(0, 10), change=st.sampled_from([-1, 1]))
def test_a_single_value_is_colour(channel: int, row: int, column: int, change: int) -> None:
    picture = in_colour(lr_picture())
    picture.pixels[channel, row, column] += change
    source = source_of(picture)
    assert not source.is_grey_in_colour
    assert source.in_grey is source
    assert source.assumed == ""


def test_coloured_pictures_are_what_they_were() -> None:
    picture = in_colour(lr_picture())
    picture.pixels[0, 3, 4] += 1
    result = upscale(picture, MODEL, samples=1)
    assert not is_grey(result.samples[0].pixels)
    assert len(result.space.y[0]) == 3
    as_colour = PictureSpace(MODEL, Source(in_colour(lr_picture()), as_colour=True))
    assert not is_grey(as_colour.sample(0)[0].pixels)


def test_chroma_that_vanishes_in_the_pixels_is_kept() -> None:
    """Coefficients of Cb that are too small to be seen: grey pixels would not give the file."""
    grey = read_source(saved(small_photo()[:1, :16, :16].repeat(3, 1, 1), quality=80))
    assert grey.jpeg is not None
    assert grey.is_grey_in_colour
    tinted = [values.clone() for values in grey.jpeg.coefficients]
    tinted[1][0, 0, 0, 1] = 1
    source = replace(grey, jpeg=replace(grey.jpeg, coefficients=tinted))
    assert not source.is_grey_in_colour
    assert PictureSpace(MODEL, source).sample(0)[1].coefficients_wrong == 0
    assert source_of(source.picture).is_grey_in_colour


def files_in_colour(folder: Path) -> list[str]:
    """Grey pictures in files with colours, and what Pillow calls their modes."""
    grey = np.asarray(lr_picture((12, 16)).pixels[0], np.uint8)
    image = Image.fromarray(grey)
    rgb = image.convert("RGB")
    rgb.save(folder / "rgb.png", icc_profile=PROFILE)
    rgb.save(folder / "rgb.tif", icc_profile=PROFILE)
    rgb.save(folder / "lossless.webp", lossless=True)
    rgb.save(folder / "jpeg.tif", compression="jpeg")
    image.convert("P").save(folder / "palette.png", icc_profile=PROFILE)
    hidden = np.dstack([grey, grey, grey, np.full_like(grey, 200)])
    hidden[:4, :4] = (255, 0, 255, 0)  # the colour of invisible pixels is arbitrary
    Image.fromarray(hidden).save(folder / "rgba.png")
    return sorted(path.name for path in folder.iterdir())


def test_files_keep_their_channels_and_their_profile(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in files_in_colour(tmp_path / "in"):
        path, folder = tmp_path / "in" / name, tmp_path / name
        folder.mkdir()
        options = Options(samples=1, mean=True, stddev=True, contact_sheet=True)
        report = upscale_file(path, folder, MODEL, "small", options)
        stem = f"{path.stem}_x4"
        assert "taken as grey" in report["assumed"], name
        assert "\n" not in report["assumed"]
        for kind in ("s00", "mean"):
            image = Image.open(folder / f"{stem}_{kind}.png")
            assert image.mode == ("RGBA" if name == "rgba.png" else "RGB")
            array = np.asarray(image)
            assert (array[..., :3] == array[..., :1]).all()
            with_profile = name in ("rgb.png", "rgb.tif", "palette.png")
            assert (image.info.get("icc_profile") == PROFILE) == with_profile
            found = compare(read_image(folder / f"{stem}_{kind}.png"), read_source(path))
            assert found.wrong == report["outputs"][f"{stem}_{kind}.png"]["lr_values_wrong"]
            assert report["lr_values"] == found.total
        assert np.load(folder / f"{stem}_stddev.npy").shape == (48, 64, 3)
        content, about = upscale_stream(path, MODEL, "small", Options(samples=1))
        assert "taken as grey" in about["assumed"]
        streamed = np.asarray(Image.open(io.BytesIO(content)))
        assert np.array_equal(streamed, np.asarray(Image.open(folder / f"{stem}_s00.png")))


def test_grey_that_the_decoder_of_webp_colours_is_colour() -> None:
    """Its green may differ by a level, and the promise is on its pixels."""
    image = small_photo()[:1, :24, :24].repeat(3, 1, 1)
    source = read_source(saved(image, "WEBP", quality=90))
    assert int((source.picture.pixels - source.picture.pixels[:1]).abs().max()) == 1
    assert not source.is_grey_in_colour


def test_arrays_and_pillow_images() -> None:
    grey = np.asarray(lr_picture().pixels[0], np.uint8)
    expected = upscale(grey, MODEL, samples=1)
    rgb = np.dstack([grey] * 3)
    for image in (rgb, Image.fromarray(rgb), Image.fromarray(grey).convert("RGB")):
        result = upscale(image, MODEL, samples=1)
        assert_same(result, expected)
        assert result.samples[0].to_array().shape == (36, 44, 3)


@pytest.mark.parametrize("own_tables", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_pixels_that_were_a_jpeg(subsampling: str, own_tables: bool, tmp_path: Path) -> None:
    tables = [[3 + 2 * (i // 8 + i % 8) for i in range(64)]] * 2
    options = {"qtables": tables} if own_tables else {"quality": 75}
    grey = small_photo()[:1] * 0.8 + 20
    content = saved(grey.repeat(3, 1, 1), subsampling=subsampling, **options)
    Image.fromarray(decoded(content).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    Image.fromarray(decoded(content)[0].numpy()).save(tmp_path / "grey.png")
    sources = [read_source(tmp_path / name, was_jpeg=True) for name in ("a.png", "grey.png")]
    components = [source.jpeg.coefficients for source in sources if source.jpeg is not None]
    assert [len(c) for c in components] == [3, 1]
    assert torch.equal(components[0][0], components[1][0])
    hr, exactness = PictureSpace(MODEL, sources[0]).sample(0)
    assert is_grey(hr.pixels)
    assert exactness.coefficients_wrong == compare(hr, sources[0]).wrong == 0


@pytest.mark.parametrize("alpha", [False, True])
def test_projection(alpha: bool) -> None:
    """Colours of the upscaled picture go, as for a picture stored as grey."""
    grey = lr_picture((8, 12), alpha=alpha)
    generator = torch.Generator().manual_seed(1)
    pixels = 100 + torch.randint(0, 60, (3, 32, 48), generator=generator, dtype=torch.int32)
    sr = Picture(pixels)
    colour, alone = project_picture(sr, in_colour(grey)), project_picture(sr, grey)
    assert is_grey(colour.picture.pixels)
    assert torch.equal(colour.picture.pixels[:1], alone.picture.pixels)
    assert compare(colour.picture, in_colour(grey)).exact
    assert alpha or colour.wrong_before == 3 * alone.wrong_before
    assert colour.exactness.moved_rms == pytest.approx(alone.exactness.moved_rms)
    content = saved(grey.pixels.repeat(3, 1, 1), quality=80, subsampling="4:2:0")
    result = project_picture(sr, read_source(content))
    assert is_grey(result.picture.pixels)
    assert differs(result.picture.pixels, content) == result.exactness.coefficients_wrong == 0


def test_assessment() -> None:
    """In grey if both are grey; colours that the upscaled picture adds count."""
    grey = lr_picture((8, 12))
    lr, sample = in_colour(grey), upscale(grey, MODEL, samples=1).samples[0]
    colour, alone = assess(in_colour(sample), lr, MODEL), assess(sample, grey, MODEL)
    assert colour.unlikeliness.whole == alone.unlikeliness.whole
    assert (colour.comparison.total, alone.comparison.total) == (3 * 96, 96)
    tinted = in_colour(sample).pixels
    tinted[0, 8:12, 8:12] += 20
    found = assess(replace(in_colour(sample), pixels=tinted), lr, MODEL)
    assert len(found.unlikeliness.outside) == 3
    assert found.lr_values_wrong > 0
    assert found.unlikeliness.whole > colour.unlikeliness.whole


def test_models_without_a_grey_space_work_in_colour() -> None:
    model = small_model("stochastic basis", temperature=0.1)
    space = PictureSpace(model, in_colour(lr_picture()))
    assert len(space.space.y[0]) == 3
    assert space.pictures.source.assumed == ""
    assert space.sample(0)[1].exact
    with pytest.raises(NotGaussianError):
        PictureSpace(model, lr_picture())


def test_large_pictures_are_made_by_place() -> None:
    model, colour = tiny_model(trained_on_jpegs=True), in_colour(lr_picture((16, 20)))
    content = saved(colour.pixels, quality=80, subsampling="4:2:0")
    for source in (source_of(colour), read_source(content)):
        hr, exactness = PictureSpace(model, source, by_place=True).sample(0)
        assert is_grey(hr.pixels)
        assert exactness.exact
