"""Pictures of any origin, made consistent: exact, near, of every kind; files paired by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vspsr import Degradation, write_image
from vspsr.degradation import imresize
from vspsr.images.picture import Picture
from vspsr.upscaling import compare, degrade
from vspsr.upscaling.projected_files import pair_files, project_file
from vspsr.upscaling.projecting import project_picture


def hr_picture(channels: int = 3, bits: int = 8, alpha: bool = False, seed: int = 0) -> Picture:
    """A smooth random picture of 32×48 pixels."""
    coarse = torch.rand(1, channels + alpha, 4, 6, generator=torch.Generator().manual_seed(seed))
    hr = torch.nn.functional.interpolate(coarse, size=(32, 48), mode="bicubic").clamp(0, 1)
    planes = (hr[0] * (2**bits - 1)).round().int()
    return Picture(planes[:channels], bits, planes[channels:] if alpha else None)


def enlarged(lr: Picture) -> Picture:
    """By bicubic interpolation, as an image program does."""

    def up(x: torch.Tensor) -> torch.Tensor:
        return imresize(x.double(), scale=4).round().clamp(0, lr.white).int()

    return replace(lr, pixels=up(lr.pixels), alpha=None if lr.alpha is None else up(lr.alpha))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_every_kind_becomes_exact(channels: int, bits: int, alpha: bool) -> None:
    truth = hr_picture(channels, bits, alpha)
    lr = degrade(truth, Degradation(4))
    given = enlarged(lr)
    result = project_picture(given, lr)
    assert result.wrong_before == compare(given, lr).wrong > 0
    assert result.exactness.exact
    assert compare(result.picture, lr).exact
    assert (result.picture.bits, result.picture.is_grey, result.picture.alpha is None) == (
        bits,
        channels == 1,
        not alpha,
    )
    visible = torch.ones(32, 48, dtype=torch.bool) if given.alpha is None else given.alpha[0] > 0
    moved = (result.picture.pixels - given.pixels).double()[:, visible]
    assert result.exactness.moved_rms == pytest.approx(float(moved.square().mean().sqrt()))
    assert result.exactness.moved_max == float(moved.abs().max())
    if alpha:
        return  # what lies under transparent pixels has no truth
    before, after = ((p.pixels - truth.pixels).double().square().mean() for p in (given, result.picture))
    assert after < before  # the projection onto a set that holds the truth comes nearer to it


def test_it_moves_no_farther_than_the_pseudo_inverse() -> None:
    """‖D⁺(y − D x)‖ is the least that any picture of real numbers moves; rounding adds a little."""
    lr = degrade(hr_picture(), Degradation(4))
    given = enlarged(lr)
    lacking = lr.pixels.double() - Degradation(4).down(given.pixels.double())
    least = float(Degradation(4).pseudo_inverse(lacking).square().mean().sqrt())
    moved = project_picture(given, lr).exactness.moved_rms
    assert moved < (least**2 + 0.7**2) ** 0.5


def test_an_exact_picture_stays_as_it_is() -> None:
    truth = hr_picture(alpha=True)
    result = project_picture(truth, degrade(truth, Degradation(4)))
    assert torch.equal(result.picture.pixels, truth.pixels)
    assert (result.wrong_before, result.exactness.moved_max) == (0, 0)


def test_the_result_has_the_channels_of_the_lr_picture() -> None:
    truth = hr_picture(1, alpha=True)
    lr = degrade(truth, Degradation(4))
    coloured = Picture(enlarged(lr).pixels.expand(3, -1, -1).contiguous())  # without alpha
    result = project_picture(coloured, lr)
    assert result.picture.is_grey
    assert compare(result.picture, lr).exact
    opaque = replace(hr_picture(), alpha=torch.full((1, 32, 48), 255, dtype=torch.int32))
    lr = degrade(hr_picture(), Degradation(4))
    assert project_picture(opaque, lr).picture.alpha is None
    with pytest.raises(ValueError, match="SR has transparent pixels, LR has no alpha"):
        project_picture(hr_picture(alpha=True), lr)


def test_depths_may_differ() -> None:
    lr = degrade(hr_picture(), Degradation(4))
    deep = replace(enlarged(lr), pixels=enlarged(lr).pixels * 257, bits=16)
    assert project_picture(deep, lr).picture.bits == 16
    assert compare(project_picture(deep, lr).picture, lr).exact
    assert compare(project_picture(deep, lr, bits=8).picture, lr).exact


def test_what_does_not_go_together_is_named() -> None:
    lr = degrade(hr_picture(), Degradation(4))
    with pytest.raises(ValueError, match=r"SR 48×31 must be exactly 4 times LR 12×8"):
        project_picture(Picture(hr_picture().pixels[:, 1:]), lr)
    with pytest.raises(ValueError, match="`bits`"):
        project_picture(hr_picture(), lr, bits=12)


def test_files_are_paired_by_name(tmp_path: Path) -> None:
    for name in ("sr/cat_ESRGAN.png", "sr/cat2.png", "sr/dogx4_out.png", "lr/cat.png", "lr/cat2x4.png", "lr/dogx4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    pairs = {k.name: v.name for k, v in pair_files([tmp_path / "sr", tmp_path / "lr"]).items()}
    assert pairs == {"cat_ESRGAN.png": "cat.png", "cat2.png": "cat2x4.png", "dogx4_out.png": "dogx4.png"}
    assert set(pair_files([tmp_path / "sr", tmp_path / "lr/cat.png"]).values()) == {tmp_path / "lr/cat.png"}
    (tmp_path / "lr/cat_LR.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"cat_ESRGAN.png: cat.png and cat_LR.png may both be its LR file"):
        pair_files([tmp_path / "sr", tmp_path / "lr"])
    (tmp_path / "sr/cow.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"cow.png: no LR file for it in"):
        pair_files([tmp_path / "sr/cow.png", tmp_path / "lr"])


@pytest.mark.parametrize(
    ("images", "lr"),
    [
        ("a.png b.png", "b"),
        ("a_ESRGAN.png a_RCAN.png a.png", "a a"),
        ("a_ESRGAN.png b_ESRGAN.png a.png b.png", "a b"),
        ("a_ESRGAN.png b_ESRGAN.png b_RCAN.png ax4.png b.png", "ax4 b b"),
        ("sr/a.png sr/b.png lr/a.png lr/b.png", "a b"),
        ("one.png two.png three.png four.png", "four four four"),
        ("folder a.png b.png", "a b"),
        ("folder b.png", "b b"),
        ("folder folder/a_1.png b.png", "b b b"),
    ],
)
def test_the_last_files_are_lr_files(tmp_path: Path, images: str, lr: str) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a_1.png", "b_1.png"):
        (tmp_path / "folder" / name).write_bytes(b"x")
    pairs = pair_files([tmp_path / name for name in images.split()])
    assert [v.stem for v in pairs.values()] == lr.split()[: len(pairs)]
    assert all("lr" in str(v.relative_to(tmp_path)) for v in pairs.values()) == ("lr/" in images)
    with pytest.raises(ValueError, match="give upscaled images, or a folder of them, and then their LR images"):
        pair_files([tmp_path / "a.png"])


def test_several_lr_files_that_do_not_belong_to_all_are_refused(tmp_path: Path) -> None:
    """They would be taken for upscaled images, and the last for the LR image of all."""
    lr = degrade(hr_picture(), Degradation(4))
    for name, picture in (("a_big", hr_picture()), ("b_big", hr_picture()), ("a", lr), ("c", lr)):
        write_image(tmp_path / f"{name}.png", picture)
    images = [tmp_path / f"{name}.png" for name in ("a_big", "b_big", "a", "c")]
    with pytest.raises(
        ValueError, match=r"a\.png: is no larger than .*c\.png: give one LR image for all, or one for each"
    ):
        pair_files(images)
    assert set(pair_files([*images[:2], images[3]]).values()) == {images[3]}


def test_files_that_exist_are_kept_or_refused(tmp_path: Path) -> None:
    lr = degrade(hr_picture(), Degradation(4))
    sr_file, lr_file, out = tmp_path / "a.png", tmp_path / "a_lr.png", tmp_path / "out"
    write_image(sr_file, enlarged(lr))
    write_image(lr_file, lr)
    out.mkdir()
    first = project_file(sr_file, lr_file, out)
    assert (first["kept"], first["lr_values_wrong"]) == (False, 0)
    assert project_file(sr_file, lr_file, out)["kept"]
    write_image(out / "a.png", hr_picture(seed=1), overwrite=True)
    with pytest.raises(Exception, match="exists already"):
        project_file(sr_file, lr_file, out)
    with pytest.raises(Exception, match="would replace an input"):
        project_file(sr_file, lr_file, tmp_path, overwrite=True)
