"""The networks: the authors' numbers, shapes for every option, synthesis against the definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vspsr.nn.deterministic import Interpolation, ResidualTrunk, ResidualUpsampler
from vspsr.nn.overlapping import OverlappingVSpM, raised_cosine
from vspsr.nn.vspm import VSpM, convert_authors_state
from vspsr.space.parameters import SpaceParameters
from vspsr.space.synthesis import synthesize

Golden = Callable[[str], Any]
CASES = {
    "vspm_x4": {"scale": 4, "deterministic": "bilinear"},
    "vspm_x4_b2": {"scale": 4, "deterministic": "bilinear"},
    "vspm_x4_big": {"scale": 4, "deterministic": "bilinear"},
    "vspm_x4_noup": {"scale": 4, "deterministic": None},
    "vspm_x8": {"scale": 8, "deterministic": "bicubic"},
}


@pytest.mark.parametrize("name", CASES)
def test_every_intermediate_result_of_the_authors(golden: Golden, name: str) -> None:
    data = golden(name)
    network = VSpM(n_atoms=16, **CASES[name]).eval()
    state = {k.removeprefix("sd/"): torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")}
    network.load_state_dict(convert_authors_state(state))
    with torch.no_grad():
        p = network(torch.from_numpy(data["x"]))
        assert p.coefficient_mean is not None
        assert p.coefficient_log_var is not None
        assert p.refine is not None
        eps = torch.from_numpy(data["eps"]).view_as(p.coefficient_mean)
        weight = p.coefficient_mean + (0.5 * p.coefficient_log_var).exp() * eps
        patches = synthesize(weight, p.atoms, network.scale)
        refined = p.refine(patches)
    found = {
        "mu_w": p.coefficient_mean,
        "log_var_w": p.coefficient_log_var,
        "z": p.atoms,
        "weight": weight,
        "pre_final": patches,
        "final_branch_out": refined,
        "output": refined + p.deterministic,
    }
    if "upx" in data.files:
        found["upx"] = p.deterministic
    for key, value in found.items():
        expected = data[key]
        np.testing.assert_allclose(value.reshape(expected.shape).numpy(), expected, atol=1e-5, err_msg=key)


def test_gradients_of_the_authors_reconstruction_loss(golden: Golden) -> None:
    """MSE + 0.1·KL with their constant E[ρ]: every parameter's gradient."""
    data = golden("vspm_x4")
    network = VSpM(n_atoms=16, scale=4)
    state = {k.removeprefix("sd/"): torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")}
    network.load_state_dict(convert_authors_state(state))
    p = network(torch.from_numpy(data["x"]))
    m, log_var = p.coefficient_mean, p.coefficient_log_var
    weight = m + (0.5 * log_var).exp() * torch.from_numpy(data["eps"]).view_as(m)
    output = p.refine(synthesize(weight, p.atoms, 4)) + p.deterministic
    second = m.square() + log_var.exp()
    rho = ((3.0 + 0.5) / (1.0 + 0.5 * second)).detach()  # their α and β
    loss = F.mse_loss(output, torch.from_numpy(data["target"])) + 0.1 * (rho * second - log_var).mean()
    loss.backward()
    gradients = {k.removeprefix("grad/"): torch.from_numpy(data[k]) for k in data.files if k.startswith("grad/")}
    assert gradients
    parameters = dict(network.named_parameters())
    for key, expected in convert_authors_state(gradients).items():
        torch.testing.assert_close(parameters[key].grad, expected, rtol=1e-3, atol=1e-5, msg=key)


def test_an_unknown_key_of_a_checkpoint_is_named() -> None:
    with pytest.raises(ValueError, match=r"'stray\.weight'"):
        convert_authors_state({"stray.weight": torch.zeros(1)})


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("stochastic_basis", [False, True])
@pytest.mark.parametrize("stochastic_coefficients", [False, True])
@pytest.mark.parametrize("deterministic", ["bilinear", "bicubic", None])
@pytest.mark.parametrize("convolutions", [False, True])
def test_shapes_of_every_option_of_the_ablation(
    scale: int,
    stochastic_basis: bool,
    stochastic_coefficients: bool,
    deterministic: str | None,
    convolutions: bool,
) -> None:
    network = VSpM(scale, 8, stochastic_basis, stochastic_coefficients, deterministic, convolutions)
    p = network(torch.rand(2, 3, 5, 7))
    assert p.deterministic.shape == (2, 3, 5 * scale, 7 * scale)
    assert p.atoms.shape == (2, 3, 8, 1, scale, scale)
    assert p.coefficient_mean is not None
    assert p.coefficient_mean.shape == (2, 3, 8, 5, 7)
    assert (p.coefficient_log_var is not None) == stochastic_coefficients
    assert (p.basis is not None) == stochastic_basis
    assert (p.refine is not None) == convolutions
    if p.basis is not None:  # the atoms are decoded from the mean code
        torch.testing.assert_close(p.basis.decode(p.basis.mean), p.atoms)


def test_the_papers_configuration_has_its_size() -> None:
    assert sum(p.numel() for p in VSpM(4, 256).parameters()) == pytest.approx(4.4e6, rel=0.05)


def test_any_module_may_be_the_deterministic_part() -> None:
    network = VSpM(4, 8, deterministic=torch.nn.Upsample(scale_factor=4))
    y = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(network(y).deterministic, F.interpolate(y, scale_factor=4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 3}, "`scale` must be one of 4, 8, got 3"),
        ({"scale": True}, "`scale` must be one of 4, 8, got True"),
        ({"n_atoms": 6}, "`n_atoms` must be a positive multiple of 4, got 6"),
        ({"n_atoms": "64"}, "`n_atoms` must be an integer of at least 4, got '64'"),
        ({"n_atoms": 10**9}, "`n_atoms` must be an integer of at most 65536"),
        ({"convolutions": 1}, "`convolutions` must be true or false, got 1"),
        ({"stochastic_basis": "no"}, "`stochastic_basis` must be true or false, got 'no'"),
        ({"stochastic_coefficients": None}, "`stochastic_coefficients` must be true or false, got None"),
        ({"deterministic": ["bilinear"]}, "`mode` must be"),
        ({"deterministic": "nearest"}, "`mode` must be"),
    ],
)
def test_bad_options_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VSpM(**arguments)


def test_overlapping_network() -> None:
    network = OverlappingVSpM(4, n_atoms=6, channels=8, blocks=1, n_modes=2)
    p = network(torch.rand(2, 3, 1, 9))
    assert p.deterministic.shape == (2, 3, 4, 36)
    assert p.atoms.shape == (2, 1, 6, 3, 8, 8)
    assert p.coefficient_log_var is not None
    assert p.coefficient_log_var.shape == (2, 1, 6, 1, 9)
    assert not torch.equal(p.atoms[0], p.atoms[1])  # the basis is the image's own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 3}, "`scale` must be even for overlapping atoms, got 3"),
        ({"scale": 1e300}, "`scale` must be an integer of at most 64"),
        ({"n_atoms": 0}, "`n_atoms` must be an integer of at least 1, got 0"),
        ({"channels": 0}, "`channels` must be an integer of at least 1, got 0"),
        ({"blocks": 10**30}, "`blocks` must be an integer of at most 1000, got 10{30}"),
        ({"n_modes": -1}, "`n_modes` must be an integer of at least 0, got -1"),
        ({"deterministic": "bicubic"}, "`deterministic` must be .*Module .* None, got 'bicubic'"),
    ],
)
def test_bad_options_of_the_overlapping_network_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OverlappingVSpM(**arguments)


@pytest.mark.filterwarnings("error")
def test_every_image_has_the_same_basis_without_modes() -> None:
    p = OverlappingVSpM(4, n_atoms=6, channels=8, blocks=0, n_modes=0)(torch.rand(2, 3, 4, 4))
    assert torch.equal(p.atoms[0], p.atoms[1])


def test_window_shifts_sum_to_one() -> None:
    window = raised_cosine(8)
    tiled = sum(torch.roll(window, (i, j), (0, 1)) for i in (0, 4) for j in (0, 4))
    torch.testing.assert_close(tiled, torch.ones(8, 8))


def test_deterministic_parts() -> None:
    y = torch.rand(1, 3, 6, 5)
    features = ResidualTrunk(8, 1)(y)
    assert features.shape == (1, 8, 6, 5)
    assert ResidualUpsampler(4, 8)(features, y).shape == (1, 3, 24, 20)
    up = Interpolation(4, "bilinear")(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(up, torch.ones(1, 3, 8, 8))


def placed(coefficients: Tensor, atoms: Tensor, scale: int) -> Tensor:
    """The definition of `synthesize`, patch by patch."""
    b, g, _, h, w = coefficients.shape
    colours, k = atoms.shape[3], atoms.shape[-1]
    margin = (k - scale) // 2
    out = torch.zeros(b, g * colours, scale * h + 2 * margin, scale * w + 2 * margin, dtype=coefficients.dtype)
    for i in range(h):
        for j in range(w):
            patch = torch.einsum("bgc,bgcouv->bgouv", coefficients[..., i, j], atoms).flatten(1, 2)
            out[:, :, scale * i : scale * i + k, scale * j : scale * j + k] += patch
    return out[:, :, margin : margin + scale * h, margin : margin + scale * w]


@pytest.mark.parametrize(("scale", "k"), [(4, 4), (4, 8), (2, 4), (4, 6), (3, 5), (3, 3)])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_synthesis_is_the_sum_of_patches(scale: int, k: int, groups: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    coefficients = torch.randn(2, groups, 5, *size, dtype=torch.float64)
    atoms = torch.randn(2, groups, 5, 3 // groups, k, k, dtype=torch.float64)
    expected = placed(coefficients, atoms, scale)
    torch.testing.assert_close(synthesize(coefficients, atoms, scale), expected)
    with torch.no_grad():  # the path without gradients adds in place
        torch.testing.assert_close(synthesize(coefficients, atoms, scale), expected)


def test_synthesis_gradients() -> None:
    torch.manual_seed(0)
    coefficients = torch.randn(1, 1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    atoms = torch.randn(1, 1, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, a: synthesize(c, a, 2), (coefficients, atoms))


def test_tensors_are_visited_in_one_order() -> None:
    network = VSpM(4, 8, stochastic_basis=True)
    p: SpaceParameters = network(torch.rand(1, 3, 4, 4))
    doubled = p.map_tensors(lambda t: 2 * t)
    assert len(p.tensors()) == 6
    for a, b in zip(p.tensors(), doubled.tensors(), strict=True):
        torch.testing.assert_close(2 * a, b)


@pytest.mark.parametrize("scale", [4, 8])
def test_parameters_do_not_depend_on_the_number_of_threads(scale: int) -> None:
    network = OverlappingVSpM(scale, 64, 48, 2, 2)
    y, before = torch.rand(1, 3, 40, 40), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(network(y).tensors())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
