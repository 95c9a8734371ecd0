"""JPEG on tensors against libjpeg, through Pillow."""

import io

import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from vspsr.degradation.jpeg import dct_matrix, jpeg, quality_tables, quantisation_map


def through_libjpeg(image: Tensor, quality: int, subsampling: str) -> tuple[Tensor, Tensor]:
    """(h, w, 3) uint8 → the same decoded, and its tables (2, 8, 8)."""
    file = io.BytesIO()
    Image.fromarray(image.numpy()).save(file, "JPEG", quality=quality, subsampling=subsampling)
    opened = Image.open(io.BytesIO(file.getvalue()))
    tables = torch.tensor([opened.quantization[0], opened.quantization[1]]).view(2, 8, 8)
    return torch.from_numpy(np.asarray(opened).copy()), tables


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_as_libjpeg(subsampling: str) -> None:
    photo = torch.from_numpy(data.astronaut()[:192, 64:320].copy())
    qualities = [30, 50, 75, 90, 97]
    pairs = [through_libjpeg(photo, q, subsampling) for q in qualities]
    tables = quality_tables(torch.tensor(qualities))
    assert torch.equal(tables, torch.stack([t for _, t in pairs]).float())
    batch = photo.permute(2, 0, 1)[None].float().expand(len(qualities), -1, -1, -1)
    ours = jpeg(batch, tables, torch.full((len(qualities),), subsampling == "4:2:0"))
    theirs = torch.stack([p for p, _ in pairs]).permute(0, 3, 1, 2).float()
    assert torch.equal(ours, theirs)


def test_each_picture_has_its_own_tables_and_subsampling() -> None:
    image = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0)).mul(255).round()
    tables, subsampled = quality_tables(torch.tensor([50, 97, 60, 80])), torch.tensor([True, False, False, True])
    whole = jpeg(image, tables, subsampled)
    for b in range(4):
        assert torch.equal(whole[b : b + 1], jpeg(image[b : b + 1], tables[b : b + 1], subsampled[b : b + 1]))


def test_sides_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"`image`.*40"):
        jpeg(torch.zeros(1, 3, 40, 48), quality_tables(torch.tensor([90])), torch.tensor([True]))


def test_the_map_says_how_coarse_and_where_the_grid_lies() -> None:
    tables = quality_tables(torch.tensor([100, 90, 50]))
    coarse = quantisation_map(tables, torch.tensor([False, False, True]), 24, 16)
    assert coarse.shape == (3, 3, 24, 16)
    assert torch.equal(coarse[0], torch.zeros(3, 24, 16))  # steps of 1: nothing is lost but by rounding
    assert torch.all(coarse[2, :2, 0, 0] > coarse[1, :2, 0, 0])
    assert torch.all(coarse[1, :2, 0, 0] > 0)
    assert coarse.max() <= 1
    column = coarse[1, 2, 4]
    assert torch.equal(column[:8], column[8:])
    assert torch.equal(column[:8], column[:8].flip(0))
    assert column.argmax() % 8 in (0, 7)


@pytest.mark.parametrize("n", [1, 8, 16, 21])
def test_the_dct_is_scipys_in_full_precision(n: int) -> None:
    eye = torch.eye(n, dtype=torch.float64)
    wanted = torch.from_numpy(scipy.fft.dct(eye.numpy(), norm="ortho", axis=0))
    torch.testing.assert_close(dct_matrix(n), wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(dct_matrix(n) @ dct_matrix(n).T, eye, rtol=0, atol=1e-14)
