"""True pictures, members and invented detail have different distances; the statement is calibrated by ranks."""

from dataclasses import replace

import pytest
import torch
from skimage import data

from vspsr import Degradation, VSpSR, project
from vspsr.images.picture import Picture
from vspsr.model import model_file
from vspsr.upscaling import PictureSpace, degrade
from vspsr.upscaling.assessment import Assessment, assess, pictures_of, unlikeliness
from vspsr.upscaling.intervals import FILE_NAME, read_calibration


@pytest.fixture(scope="module")
def truth() -> Picture:
    """96×96 pixels of a photograph."""
    return Picture(torch.from_numpy(data.astronaut()[60:156, 170:266].copy()).permute(2, 0, 1).int().contiguous())


@pytest.fixture(scope="module")
def lr(truth: Picture) -> Picture:
    return degrade(truth, Degradation(4))


def pasted(truth: Picture, lr: Picture) -> Picture:
    """A foreign patch, 32×32 pixels of noise as strong as texture, in a picture that still downscales to LR nearly."""
    x = truth.pixels.double() / 255
    noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 48:80, 32:64] += 0.15 * noise
    y = lr.pixels.double() / 255
    return replace(truth, pixels=(255 * project(x, y, Degradation(4))).round().clamp(0, 255).int())


def test_a_foreign_patch_is_found(model: VSpSR, truth: Picture, lr: Picture) -> None:
    true, false = (assess(p, lr, model).unlikeliness for p in (truth, pasted(truth, lr)))
    assert false.whole > true.whole
    assert false.distance > true.distance
    inside = false.by_pixel[12:20, 8:16].mean()
    assert inside > 10 * false.by_pixel[:, 20:].mean()
    # What no member has lies in the patch, too, and D does not see it: in float64, whose solve does not stop early.
    space = model(lr.to_float().double())
    energy = unlikeliness(space, pasted(truth, lr).to_float().double()).outside.square().mean(0)
    assert energy[48:80, 32:64].mean() > 10 * energy[:, 72:].mean()
    assert float(Degradation(4).down(false.outside[None]).abs().max()) < 1e-5


@pytest.mark.parametrize("side", [192, 256])
def test_the_most_foreign_place_is_the_patch(model: VSpSR, side: int) -> None:
    array = data.astronaut()[60 : 60 + side, 170 : 170 + side].copy()
    truth = Picture(torch.from_numpy(array).permute(2, 0, 1).int().contiguous())
    lr = degrade(truth, Degradation(4))
    true, false = (assess(p, lr, model).unlikeliness for p in (truth, pasted(truth, lr)))
    assert false.foreign > 1.2 * true.foreign
    row, column = false.at
    assert 12 <= row < 20
    assert 8 <= column < 16
    darker = replace(truth, pixels=(truth.pixels - 9).clamp(0, 255))  # wrong LR values are no foreign detail
    assert assess(darker, lr, model).unlikeliness.foreign == pytest.approx(true.foreign, rel=0.1)


def test_members_are_likelier_than_the_truth_and_foreign_detail_less(model: VSpSR, truth: Picture, lr: Picture) -> None:
    mirrored = truth.pixels.flip(2).double() / 255
    foreign = (255 * project(mirrored, lr.pixels.double() / 255, Degradation(4))).round().clamp(0, 255).int()
    sample = PictureSpace(model, lr).sample(0)[0]
    found = [assess(p, lr, model) for p in (sample, truth, replace(truth, pixels=foreign))]
    scores = [f.unlikeliness.whole for f in found]
    assert scores == sorted(scores)
    assert scores[2] > 2 * scores[1]
    assert found[0].unlikeliness.distance < found[0].unlikeliness.expected
    assert [f.lr_values_wrong for f in found[:2]] == [0, 0]
    assert found[2].lr_values_wrong > 0


def test_p_values_are_ranks(model: VSpSR, truth: Picture, lr: Picture) -> None:
    score = assess(truth, lr, model).unlikeliness
    whole, foreign = (score.whole / 2, score.whole * 2, score.whole * 3), tuple([score.foreign / 2] * 30)
    shipped = model_file("vspsr-x4", FILE_NAME)
    assert shipped is not None
    reference = replace(read_calibration(shipped), unlikeliness=whole, foreign=foreign)
    found = assess(truth, lr, model, reference)
    assert (found.p_whole, found.p_foreign, found.p_smooth) == (3 / 4, 1 / 31, 2 / 4)
    assert not found.supported
    assert "more unlikely than that of true pictures" in found.verdict
    assert "p = 0.032" in found.verdict
    usual = replace(found, p_foreign=0.5)
    assert usual.supported
    assert usual.verdict.startswith("downscales to LR exactly; its detail is no more unlikely")
    smooth = replace(usual, p_smooth=0.02)
    assert smooth.supported
    assert "more as expected than true pictures are, so smoothed or generated: " in smooth.verdict
    assert "on average (p = 0.02)" in smooth.verdict
    wrong = replace(usual, comparison=replace(usual.comparison, wrong=7))
    assert not wrong.supported
    assert wrong.verdict.startswith("7 of 1728 LR values are wrong;")
    jpeg = replace(usual, comparison=replace(usual.comparison, wrong=7, unit="coefficients"))
    assert jpeg.verdict.startswith("7 of 1728 JPEG coefficients are wrong;")
    alone = assess(truth, lr, model)
    assert alone.supported
    assert (alone.p_whole, alone.comparison.total) == (None, 24 * 24 * 3)


def test_p_values_are_uniform() -> None:
    """Of exchangeable pictures: P(p ≤ t) ≤ t, up to the ranks' step."""
    from vspsr.upscaling.assessment import _p_value

    values = torch.rand(400, 20, generator=torch.Generator().manual_seed(0)).tolist()
    p = torch.tensor([_p_value(v[0], v[1:]) for v in values])
    for t in (0.05, 0.2, 0.5):
        assert abs(float((p <= t + 1e-6).double().mean()) - t) < 0.06


def test_every_kind(model: VSpSR, truth: Picture) -> None:
    """Grey, 16 bits and alpha; the colours of a picture whose LR picture is grey do not count."""
    grey = replace(truth, pixels=257 * truth.pixels[:1], bits=16, mode="grey")
    lr = degrade(grey, model.degradation)
    found = assess(grey, lr, model)
    assert (found.lr_values_wrong, found.unlikeliness.outside.shape[0]) == (0, 1)
    coloured = replace(grey, pixels=grey.pixels.expand(3, -1, -1).contiguous())
    assert assess(coloured, lr, model).unlikeliness.whole == pytest.approx(found.unlikeliness.whole, rel=1e-3)
    alpha = torch.full((1, 96, 96), 255, dtype=torch.int32)
    with_alpha = replace(truth, alpha=alpha)
    assert assess(with_alpha, degrade(with_alpha, model.degradation), model).lr_values_wrong == 0
    with pytest.raises(ValueError, match=r"SR 96×92 must be exactly 4 times LR 24×24"):
        assess(replace(truth, pixels=truth.pixels[:, :92]), degrade(truth, model.degradation), model)


def test_pictures_show_the_maps(model: VSpSR, truth: Picture, lr: Picture) -> None:
    shown = pictures_of(assess(pasted(truth, lr), lr, model))
    assert shown["unlikely"].size == (160, 96 + 90)
    assert shown["unsupported"].size == (96, 96)
    spread = (shown["unsupported"].pixels - 128).abs().double().mean(0)
    assert spread[48:80, 32:64].mean() > 3 * spread[:, 72:].mean()
    bright = shown["unlikely"].pixels[:, :96, :96].double().mean(0)
    assert bright[48:80, 32:64].mean() > bright[:, 72:96].mean()


def test_the_map_has_a_red_dot_in_each_wrong_lr_pixel(model: VSpSR, truth: Picture, lr: Picture) -> None:
    patched = replace(truth, pixels=truth.pixels.clone())
    patched.pixels[:, 40:64, 20:52] = truth.pixels[:, 8:32, 60:92]
    wrong = (degrade(patched, model.degradation).pixels != lr.pixels).any(0)
    shown = pictures_of(assess(patched, lr, model))["unlikely"].pixels
    red = (shown == torch.tensor([255, 80, 80])[:, None, None]).all(0)
    places = red[:96, :96].nonzero().tolist()
    assert {(row // 4, column // 4) for row, column in places} == {(r, c) for r, c in wrong.nonzero().tolist()}
    assert len(places) == 4 * int(wrong.sum())  # the colour around a dot still tells how unlikely the place is
    assert red[140:160, 96:].any()  # and what a dot means stands below the scale
    exact = pictures_of(assess(truth, lr, model))["unlikely"].pixels
    assert not (exact == torch.tensor([255, 80, 80])[:, None, None]).all(0).any()


def test_the_smallest_pictures(model: VSpSR) -> None:
    tiny = Picture(torch.tensor([90, 100, 110], dtype=torch.int32)[:, None, None].repeat(1, 4, 8))
    space = PictureSpace(model, degrade(tiny, model.degradation)).space
    assert unlikeliness(space, tiny.to_float()).by_pixel.shape == (1, 2)
    assert isinstance(assess(tiny, degrade(tiny, model.degradation), model), Assessment)
