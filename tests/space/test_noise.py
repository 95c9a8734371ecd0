"""Noise: the same for a sample in any company, new for every seed, sample, image and place."""

import math

import pytest
import torch
from spaces import make_space
from torch import Tensor

from vspsr import SRSpace
from vspsr.space import image_key
from vspsr.space.noise import BLOCK, noise_rows


@pytest.mark.parametrize("kind", ["overlapping", "many atoms"])
def test_a_sample_is_the_same_image_in_any_company(kind: str) -> None:
    space = make_space(BLOCK + 3, 5, batch=3, kind=kind)
    ten = space.sample(10, seed=7)
    assert torch.equal(space.sample(3, seed=7), ten[:3])
    assert torch.equal(next(space.iter_samples(1, seed=7, start=6)), ten[6])
    alone = SRSpace(space.y[1:2], space.parameters.map_tensors(lambda t: t[1:2]), space.degradation, keys=[1])
    assert torch.equal(alone.sample(2, seed=7)[:, 0], ten[:2, 1])
    assert torch.equal(alone.mean[0], space.mean[1])
    assert torch.equal(alone.stddev[0], space.stddev[1])
    assert not torch.equal(ten[0], ten[1])
    assert not torch.equal(space.sample(1, seed=8)[0], ten[0])


def test_noise_is_standard_normal_and_addressed_by_place() -> None:
    noise = noise_rows(0, 0, 0, 4, 0, 80)
    assert noise.shape == (4, BLOCK, 80)
    assert noise.dtype == torch.float32
    assert torch.equal(noise_rows(0, 0, 0, 4, 0, 33), noise[..., :33])
    many = torch.cat([noise_rows(0, i, 0, 64, 0, 64).flatten() for i in range(4)])
    n = math.sqrt(len(many))
    assert abs(float(many.mean())) < 5 / n
    assert abs(float(many.var()) - 1) < 5 * math.sqrt(2) / n
    assert abs(float((many**4).mean()) - 3) < 5 * math.sqrt(96) / n
    assert abs(float((many.abs() > 1.959964).double().mean()) - 0.05) < 5 * 0.22 / n


def correlations(fields: Tensor) -> Tensor:
    """Correlation of every pair of rows: (rows, n) → (rows·(rows − 1)/2,)."""
    matrix = torch.corrcoef(fields)
    i, j = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[i, j]


def test_noise_of_other_seeds_samples_images_and_places_is_uncorrelated() -> None:
    addresses = [(seed, sample, key, row) for seed in (0, 1) for sample in (0, 1) for key in (0, 1) for row in (0, 1)]
    addresses += [(2**64 - 1, 0, 0, 0), (0, 2**31 - 2, 0, 0), (0, 0, 2**32, 0), (0, 0, 2**64 - 1, 0)]
    fields = torch.stack([noise_rows(s, i, k, 8, r, 2 * BLOCK).flatten() for s, i, k, r in addresses])
    assert correlations(fields).abs().max() < 6 / math.sqrt(fields.shape[1])
    blocks = torch.cat([fields[:4].view(4, -1, 2, BLOCK).transpose(1, 2).reshape(8, -1)])
    assert correlations(blocks).abs().max() < 6 / math.sqrt(blocks.shape[1])


@pytest.mark.parametrize("kind", ["overlapping", "paper", "many atoms"])
def test_samples_are_uncorrelated_across_samples_images_and_seeds(kind: str) -> None:
    """Of equal images in one batch, whose samples would be equal with shared noise."""
    one = make_space(40, 40, kind=kind)
    space = SRSpace(
        one.y.repeat(3, 1, 1, 1), one.parameters.map_tensors(lambda t: t.repeat_interleave(3, 0)), one.degradation
    )
    drawn = torch.stack([(space.sample(3, seed=seed) - space.mean) / space.stddev for seed in (0, 1)])
    fields = drawn.flatten(3).flatten(0, 2)  # 2 seeds · 3 samples · 3 images
    # Neighbouring pixels are correlated: about one independent value for each LR value, 4800 of them.
    assert correlations(fields).abs().max() < 6 / math.sqrt(3 * 40 * 40)
    same = space.with_keys([5, 5, 5]).sample(1)[0]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[:1], one.with_keys([5]).sample(1)[0])


def test_keys_by_content() -> None:
    pixels = torch.arange(24, dtype=torch.int32).view(3, 2, 4)
    key = image_key(pixels)
    assert 0 <= key < 2**64
    for equal in (pixels.long(), pixels.to(torch.uint8), pixels.transpose(1, 2).contiguous().transpose(1, 2)):
        assert image_key(equal) == key
    for other in (pixels + 1, pixels.view(3, 4, 2), pixels[:1], pixels.flip(0)):
        assert image_key(other) != key


def test_the_streams_stay_what_they_are() -> None:
    """What a seed gives is a promise: these numbers may change only together with the version."""
    assert image_key(torch.arange(12, dtype=torch.int32).view(3, 2, 2)) == KEY
    torch.testing.assert_close(noise_rows(7, 3, 5, 2, 1, 3)[1, 2], torch.tensor(NOISE), rtol=0, atol=1e-5)


KEY = 4378048693252812049
NOISE = [0.8210329413, -0.0228926037, 0.4291864336]
