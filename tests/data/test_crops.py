"""Crops as a pure function of (seed, step, index): whatever the batch, and what augmentation does to them."""

import pytest
import torch
from skimage import data
from torch import Tensor

from vspsr import Degradation
from vspsr.data.augment import dihedral, recoloured, shrunk, unsharp_masked
from vspsr.data.crops import Batch, Crops, Jpegs
from vspsr.data.photographs import Photographs
from vspsr.degradation import imresize
from vspsr.degradation.jpeg import jpeg, quality_tables


def photographs() -> list[Tensor]:
    found = [data.astronaut()[:200], data.coffee()[:260, :210], data.chelsea()[:201, :333]]
    return [torch.from_numpy(p.copy()).permute(2, 0, 1).contiguous() for p in found]


def crops(**options: object) -> Crops:
    return Crops(Photographs(photographs()), Degradation(4), 0, **options)  # type: ignore[arg-type]


EVERYTHING = {"shrink": 2.0, "sharpen": 1.0, "colour": 0.6, "jpegs": Jpegs(0.5, (50, 97), (420, 444))}


def equal(a: Batch, b: Batch, part: slice = slice(None)) -> bool:
    return all(torch.equal(getattr(a, k)[part], getattr(b, k)) for k in ("hr", "lr", "quantisation", "coded"))


@pytest.mark.parametrize("options", [{}, EVERYTHING])
def test_a_crop_does_not_depend_on_its_batch(options: dict[str, object]) -> None:
    whole = crops(**options).batch(3, 0, 10, 10, 32)
    assert equal(whole, crops(**options).batch(3, 4, 3, 10, 32), slice(4, 7))
    assert not equal(whole, crops(**options).batch(4, 0, 10, 10, 32))


def test_every_image_comes_once_a_pass() -> None:
    seen = crops()._images(0, 9).reshape(3, 3)
    assert all(sorted(row) == [0, 1, 2] for row in seen.tolist())


def test_plain_crops_are_parts_of_their_photographs() -> None:
    batch = crops(turn=False).batch(0, 0, 6, 6, 32)
    for hr, lr, index in zip(batch.hr, batch.lr, crops()._images(0, 6), strict=True):
        photo, crop = photographs()[index], (hr * 255).round().to(torch.uint8)
        windows = photo.unfold(1, 128, 1).unfold(2, 128, 1)
        assert (windows == crop[:, None, None]).all(-1).all(-1).all(0).any()
        assert torch.equal((lr * 255).round().int(), Degradation(4).down_integers(crop.int()))
    assert not batch.quantisation.any()


def test_crops_with_lr_files_lie_on_their_grid() -> None:
    hr = [p[:, :200, :200] for p in photographs()]
    lr = [Degradation(4).down_uint8(p) for p in hr]
    pairs = Crops(Photographs(hr), Degradation(4), 0, Photographs(lr), shrink=2.0, colour=1.0)
    batch = pairs.batch(0, 0, 8, 8, 16)
    inner = Degradation(4).down(batch.hr)[..., 2:-2, 2:-2]
    # LR files were rounded after each axis, and clipped.
    assert (inner - batch.lr[..., 2:-2, 2:-2]).abs().mean() < 0.5 / 255


def test_a_share_of_lr_crops_is_jpegs() -> None:
    options = {**EVERYTHING, "jpegs": Jpegs(0.5, (60, 60), (420,))}
    batch = crops(**options).batch(0, 0, 40, 40, 32)
    clean = crops(**{**options, "jpegs": None}).batch(0, 0, 40, 40, 32)
    coded = batch.quantisation.amax((1, 2, 3)) > 0
    assert torch.equal(coded, batch.coded)
    assert not clean.coded.any()
    assert 10 <= int(coded.sum()) <= 30
    assert torch.equal(batch.hr, clean.hr)
    assert torch.equal(batch.lr[~coded], clean.lr[~coded])
    tables = quality_tables(torch.full((int(coded.sum()),), 60))
    expected = jpeg((clean.lr[coded] * 255).round(), tables, torch.ones(len(tables), dtype=torch.bool))
    assert torch.equal((batch.lr[coded] * 255).round(), expected)


def test_jpegs_of_quality_100_are_known_to_be_jpegs() -> None:
    """Their values differ from the clean ones, though all steps of their quantisation are 1."""
    batch, clean = (crops(jpegs=j).batch(0, 0, 4, 4, 32) for j in (Jpegs(1.0, (100, 100), (444,)), None))
    assert not batch.quantisation.any()
    assert not torch.equal(batch.lr, clean.lr)
    assert batch.coded.all()


def test_windows_beyond_an_image_repeat_its_border() -> None:
    store, (photo, *_) = Photographs(photographs()), photographs()
    window = store.windows(torch.tensor([0]), torch.tensor([190]), torch.tensor([-5]), 20)[0]
    assert torch.equal(window[:, :10, 5:], photo[:, 190:200, :15])
    assert torch.equal(window[:, 15, 5:], photo[:, 199, :15])
    assert torch.equal(window[:, 3, 0], photo[:, 193, 0])


def test_shrunk_as_imresize_does() -> None:
    image = photographs()[0][None, :, :128, :128].float()
    whole = shrunk(image, torch.tensor([2.0]), 64)
    assert torch.allclose(whole[..., 4:-4, 4:-4], imresize(image, scale=0.5)[..., 4:-4, 4:-4], atol=1e-2)
    assert torch.equal(shrunk(image, torch.tensor([1.0]), 100), image[..., :100, :100])


def test_augmentation_at_strength_zero_changes_nothing() -> None:
    image = photographs()[0][None, :, :64, :64].float()
    one = torch.ones(1)
    assert torch.allclose(unsharp_masked(image, one, torch.zeros(1)), image)
    assert torch.allclose(recoloured(image, one, torch.ones(1, 3), one), image, atol=1e-3)
    turned = torch.stack([dihedral(image, torch.tensor([k]))[0] for k in range(8)])
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert torch.equal(turned[0], image[0])
