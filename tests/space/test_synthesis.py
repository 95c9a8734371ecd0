"""A and its adjoint: against dense algebra, the definition, and parts against the whole."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vspsr.space import SpaceParameters
from vspsr.space.synthesis import IndependentNoise, NoiseChain, Synthesis, analyze, synthesize


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def independent(h: int, w: int, scale: int = 4, patch: int = 8, groups: int = 1, batch: int = 1) -> Synthesis:
    atoms = normal(0, batch, groups, 5, 3 // groups, patch, patch)
    return Synthesis(atoms, scale, IndependentNoise(normal(1, batch, groups, 5, h, w).exp()))


def correlated(h: int, w: int, dilations: tuple[int, ...] = (1, 2), batch: int = 1) -> Synthesis:
    kernels = tuple(0.1 * normal(2 + i, 6, 6, 3, 3) for i in range(len(dilations)))
    gains = normal(8, batch, len(dilations) + 1, 6, h, w)
    atoms, output = normal(0, batch, 1, 5, 3, 8, 8), 0.1 * normal(9, 5, 6, 3, 3)
    return Synthesis(atoms, 4, NoiseChain(gains, normal(10, batch, 5, h, w), kernels, output, dilations))


def dense(a: Synthesis, h: int, w: int) -> Tensor:
    """A as a matrix (HR values, noise values), column by column."""
    columns = torch.eye(a.channels * h * w, dtype=torch.float64).view(-1, 1, a.channels, h, w)
    return torch.stack([a.apply(eps).flatten() for eps in columns], 1)


@pytest.mark.parametrize("kind", [independent, correlated])
def test_the_adjoint_is_the_transpose(kind: type[Synthesis]) -> None:
    a = kind(3, 4)
    matrix = dense(a, 3, 4)
    z = normal(20, 1, 3, 12, 16)
    assert torch.allclose(a.adjoint(z).flatten(), matrix.T @ z.flatten(), atol=1e-12)


@settings(max_examples=25)
@given(
    h=st.integers(1, 6),
    w=st.integers(1, 6),
    patch=st.sampled_from([4, 6, 8, 10]),
    groups=st.sampled_from([1, 3]),
    batch=st.integers(1, 2),
)
def test_inner_products_agree(h: int, w: int, patch: int, groups: int, batch: int) -> None:
    for a in (independent(h, w, 4, patch, groups, batch), correlated(h, w, (1, 2, 3), batch)):
        eps, z = normal(3, batch, a.channels, h, w), normal(4, batch, 3, 4 * h, 4 * w)
        assert torch.isclose((a.apply(eps) * z).sum(), (eps * a.adjoint(z)).sum(), rtol=1e-10)


@pytest.mark.parametrize("kind", [independent, correlated])
def test_a_factor_by_place_is_one_on_the_patches_of_each_lr_pixel(kind: type[Synthesis]) -> None:
    a = kind(5, 7)
    eps, left = normal(3, 1, a.channels, 5, 7), torch.zeros(5, 7, dtype=torch.float64)
    left[:, :3] = 1
    part, rest = a.apply(eps, left), a.apply(eps, 1 - left)
    assert torch.allclose(part + rest, a.apply(eps), atol=1e-12)
    assert not part[..., 4 * 3 + 2 :].any()  # patches overhang by 2
    assert not rest[..., : 4 * 3 - 2].any()
    assert float(part.square().sum()) > 0
    if kind is independent:
        assert torch.allclose(part, a.apply(left * eps), atol=1e-12)


def test_synthesis_is_the_sum_of_atoms() -> None:
    w, atoms = normal(0, 1, 1, 2, 3, 2), normal(1, 1, 1, 2, 3, 8, 8)
    expected = torch.zeros(1, 3, 12 + 4, 8 + 4, dtype=torch.float64)
    for i in range(3):
        for j in range(2):
            expected[0, :, 4 * i : 4 * i + 8, 4 * j : 4 * j + 8] += (
                w[0, 0, :, i, j, None, None, None] * atoms[0, 0]
            ).sum(0)
    assert torch.allclose(synthesize(w, atoms, 4), expected[..., 2:-2, 2:-2])
    assert analyze(expected[..., 2:-2, 2:-2], atoms, 4).shape == w.shape


@pytest.mark.parametrize("kind", [independent, correlated])
def test_noise_reaches_no_farther_than_it_says(kind: type[Synthesis]) -> None:
    a = kind(15, 15)
    eps = torch.zeros(1, a.channels, 15, 15, dtype=torch.float64)
    eps[..., 7, 7] = 1
    touched = a.apply(eps).abs().amax((0, 1)).view(15, 4, 15, 4).amax((1, 3)) > 0
    assert int(touched.any(1).nonzero().min()) == 7 - a.reach
    assert int(touched.any(0).nonzero().max()) == 7 + a.reach


@pytest.mark.parametrize("kind", [independent, correlated])
def test_a_part_is_as_in_the_whole(kind: type[Synthesis]) -> None:
    a, mean = kind(20, 24), normal(6, 1, 3, 80, 96)
    if isinstance(a.noise, NoiseChain):
        parameters = SpaceParameters(mean, a.atoms, None, None, chain=a.noise)
    else:
        parameters = SpaceParameters(mean, a.atoms, None, 2 * a.noise.sigma.log())
    eps = normal(5, 1, a.channels, 20, 24)
    rows, columns, reach = slice(4, 20), slice(0, 16), a.reach
    cropped = parameters.crop(rows, columns, 4)
    assert torch.equal(cropped.deterministic, mean[..., 16:80, 0:64])
    cut = cropped.synthesis(4)
    assert cut is not None
    part = cut.apply(eps[..., rows, columns])
    whole = a.apply(eps)[..., 16:80, 0:64]
    # The image's own borders are no cuts.
    assert torch.allclose(part[..., 4 * reach :, : 64 - 4 * reach], whole[..., 4 * reach :, : 64 - 4 * reach])
    assert not torch.allclose(part[..., :4, :], whole[..., :4, :])


def test_one_image_of_a_batch() -> None:
    a = correlated(5, 5, batch=2)
    eps = normal(6, 2, a.channels, 5, 5)
    assert torch.allclose(a.map_images(lambda t: t[1:]).apply(eps[1:]), a.apply(eps)[1:])


def test_gradients_reach_the_gains() -> None:
    a = correlated(4, 4)
    chain = a.noise
    assert isinstance(chain, NoiseChain)
    chain.gains.requires_grad_()
    eps = normal(7, 1, a.channels, 4, 4)
    assert torch.autograd.gradcheck(
        lambda gains: Synthesis(a.atoms, 4, replace(chain, gains=gains)).apply(eps),
        (chain.gains,),
    )
