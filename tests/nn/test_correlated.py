"""The network of correlated coefficients: shapes, tiles of a picture, what it says about its input."""

import pytest
import torch
from torch import Tensor

from vspsr.nn.correlated import CorrelatedVSpM, thumbnail
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import IndependentNoise, NoiseChain, Synthesis


def network(**options: object) -> CorrelatedVSpM:
    torch.manual_seed(0)
    small = {"n_atoms": 5, "channels": 8, "blocks": 2, "noise_channels": 3, "dilations": [1, 2], "n_modes": 3}
    return CorrelatedVSpM(**{**small, **options}).eval()  # type: ignore[arg-type]


def image(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_modes", [0, 3])
@pytest.mark.parametrize("dilations", [[], [1, 2]])
def test_shapes(scale: int, n_modes: int, dilations: list[int]) -> None:
    p = network(scale=scale, n_modes=n_modes, dilations=dilations)(image(0, 2, 3, 5, 7))
    assert p.deterministic.shape == (2, 3, 5 * scale, 7 * scale)
    assert p.atoms.shape == (2, 1, 5, 3, 2 * scale, 2 * scale)
    assert p.coefficient_log_var is None
    assert p.coefficient_mean is None
    assert p.chain is not None
    assert p.chain.gains.shape == (2, len(dilations) + 1, 3, 5, 7)
    assert p.chain.output_gain.shape == (2, 5, 5, 7)
    a = p.synthesis(scale)
    assert isinstance(a, Synthesis)
    assert isinstance(a.noise, NoiseChain)
    assert a.apply(image(1, 2, a.channels, 5, 7)).shape == p.deterministic.shape
    assert torch.equal(p.atoms[0], p.atoms[1]) == (n_modes == 0)


def test_independent_coefficients() -> None:
    p = network(correlated=False)(image(0, 2, 3, 5, 7))
    assert p.coefficient_log_var is not None
    assert p.coefficient_log_var.shape == (2, 1, 5, 5, 7)
    a = p.synthesis(4)
    assert isinstance(a, Synthesis)
    assert isinstance(a.noise, IndependentNoise)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (37, 50)])
def test_a_thumbnail_has_one_size(size: tuple[int, int]) -> None:
    assert thumbnail(image(0, 2, 3, *size)).shape == (2, 5, 16, 16)


def test_a_thumbnail_shows_colour_and_texture() -> None:
    y = image(0, 1, 3, 32, 48)
    found = thumbnail(y)
    torch.testing.assert_close(found[:, :3], y.unflatten(2, (16, 2)).unflatten(4, (16, 3)).mean((3, 5)))
    flat = thumbnail(torch.full((1, 3, 32, 32), 0.3))
    assert not flat[:, 3:].any()
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::2] = 1  # along the rows brightness changes, along the columns it does not
    assert float(thumbnail(stripes)[:, 3].mean()) > 0.9
    assert not thumbnail(stripes)[:, 4].any()


def cropped(p: SpaceParameters, rows: slice, columns: slice, scale: int = 4) -> list[Tensor]:
    """Everything at some LR pixels."""
    assert p.chain is not None
    hr = [slice(scale * s.start, scale * s.stop) for s in (rows, columns)]
    places = [t[..., rows, columns] for t in (p.chain.gains, p.chain.output_gain)]
    return [p.deterministic[..., hr[0], hr[1]], *places, p.atoms]


def test_a_tile_is_as_in_the_whole() -> None:
    """Given the picture's thumbnail, and as many pixels around it as the network says that it sees."""
    made, y, coarse = network(), image(0, 1, 3, 40, 44), image(1, 1, 3, 40, 44)
    margin = made.receptive_field
    with torch.no_grad():
        whole = made(y, coarse)
        rows, columns = slice(10, 40), slice(0, 30)  # cut above and at the right; the others are borders of the picture
        tile = made(y[..., rows, columns], coarse[..., rows, columns], thumbnail(y))
        alone = made(y[..., rows, columns], coarse[..., rows, columns])
    inner = cropped(tile, slice(margin, 30), slice(0, 30 - margin))
    expected = cropped(whole, slice(10 + margin, 40), slice(0, 30 - margin))
    for ours, theirs in zip(inner, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone.atoms, whole.atoms, atol=1e-5)


def test_the_receptive_field_is_no_larger_than_it_says() -> None:
    """And not much smaller: by the gradient of what is known at one LR pixel."""
    made, y = network(), image(0, 1, 3, 41, 41).requires_grad_()
    p = made(y, overview=torch.zeros(1, 5, 16, 16))
    assert p.chain is not None
    here = (p.deterministic[..., 80:84, 80:84], p.chain.gains[..., 20, 20], p.chain.output_gain[..., 20, 20])
    (gradient,) = torch.autograd.grad(torch.stack([t.sum() for t in here]).sum(), y)
    touched = gradient.abs().sum((0, 1)).nonzero()
    reach = int((touched - 20).abs().max())
    assert made.receptive_field - 2 <= reach <= made.receptive_field


def test_quantisation_changes_what_is_said() -> None:
    made, y = network(), image(0, 1, 3, 8, 8)
    exact, coarse = made(y), made(y, torch.full_like(y, 0.5))
    assert torch.equal(made(y, torch.zeros_like(y)).deterministic, exact.deterministic)
    assert exact.chain is not None
    assert coarse.chain is not None
    assert not torch.allclose(coarse.chain.gains, exact.chain.gains, atol=1e-3)  # the mean head begins at zero


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 3}, "`scale` must be even"),
        ({"dilations": 3}, "`dilations` must be a list of at most 16 integers, got 3"),
        ({"dilations": [1] * 17}, "`dilations` must be a list"),
        ({"dilations": [0]}, "`dilations` must be"),
        ({"noise_channels": 0}, "`noise_channels` must be"),
        ({"n_modes": -1}, "`n_modes` must be"),
        ({"correlated": 1}, "`correlated` must be"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**options)
