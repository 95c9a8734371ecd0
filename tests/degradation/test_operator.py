"""D, Dᵀ and D⁺: adjointness, exact inversion, linear storage, errors."""

import gc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vspsr.degradation import operator
from vspsr.degradation.operator import Degradation, fitting_scales

KERNELS = ["bicubic", "bilinear", "lanczos3", "box", (0.1, 0.2, 0.4, 0.2, 0.1)]
SCALES = st.sampled_from([2, 3, 4, 8])
SIDES = st.integers(1, 40)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SCALES, st.sampled_from(KERNELS), SIDES, SIDES)
def test_adjointness(scale: int, kernel: Any, height: int, width: int) -> None:
    degradation = Degradation(scale, kernel)
    x = rand(2, 3, height, width)
    y = degradation.down(x)
    assert y.shape[-2:] == degradation.lr_size(height, width) == (-(-height // scale), -(-width // scale))
    u = rand(*y.shape, seed=1)
    torch.testing.assert_close((y * u).sum(), (x * degradation.adjoint(u, (height, width))).sum())


@given(SCALES, st.sampled_from(KERNELS[:4]), SIDES, SIDES)
def test_down_of_the_pseudo_inverse_is_the_identity(scale: int, kernel: Any, h: int, w: int) -> None:
    degradation = Degradation(scale, kernel)
    u = rand(1, 2, h, w)
    torch.testing.assert_close(degradation.down(degradation.pseudo_inverse(u)), u, rtol=0, atol=1e-12)
    single = degradation.down(degradation.pseudo_inverse(u.float()))
    torch.testing.assert_close(single, u.float(), rtol=0, atol=1e-5)


@given(SCALES, st.sampled_from(KERNELS[:4]), SIDES, SIDES)
def test_the_pseudo_inverse_and_its_adjoint(scale: int, kernel: Any, h: int, w: int) -> None:
    degradation, u = Degradation(scale, kernel), rand(2, h, w)
    x = rand(2, scale * h, scale * w, seed=1)
    back = degradation.pseudo_inverse_adjoint(x)
    torch.testing.assert_close((degradation.pseudo_inverse(u) * x).sum(), (u * back).sum())
    torch.testing.assert_close(degradation.pseudo_inverse_adjoint(x.float()), back.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS[:4])
@pytest.mark.parametrize("n", [7, 33, 4 * 230, 4 * 230 - 3])
def test_pseudo_inverse_is_that_of_the_dense_matrix(kernel: str, n: int) -> None:
    """Also where a long axis is put together from a short one."""
    degradation = Degradation(4, kernel)
    dense = degradation.axis(n).dense()
    torch.testing.assert_close(degradation.axis_pseudo_inverse(n).dense(), torch.linalg.pinv(dense), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("hr", "lr", "scales"),
    [
        ((16, 12), (4, 3), [4]),
        ((400, 5), (100, 2), [4]),
        ((13, 13), (2, 2), [7, 8, 9, 10, 11, 12]),
        ((14, 14), (2, 2), [7]),  # of several, the exact multiple
        ((8, 20), (2, 2), []),
        ((8, 8), (8, 8), []),
    ],
)
def test_scales_that_fit_two_sizes(hr: tuple[int, int], lr: tuple[int, int], scales: list[int]) -> None:
    assert fitting_scales(hr, lr) == scales
    assert all(Degradation(s).lr_size(*hr) == lr for s in scales)


def test_long_axes_are_stored_in_linear_space() -> None:
    degradation = Degradation(4)
    for matrix in (degradation.axis(100_000), degradation.axis_pseudo_inverse(100_000)):
        assert matrix.weights.numel() <= 100 * 100_000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept(dtype: torch.dtype) -> None:
    degradation = Degradation(4)
    y = degradation.down(rand(1, 3, 8, 8).to(dtype))
    assert y.dtype == degradation.pseudo_inverse(y).dtype == degradation.adjoint(y).dtype == dtype


def test_gradients() -> None:
    degradation = Degradation(2)
    x = rand(1, 1, 5, 6).requires_grad_()
    u = rand(1, 1, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(degradation.down, (x,))
    assert torch.autograd.gradcheck(degradation.pseudo_inverse, (u,))
    assert torch.autograd.gradcheck(degradation.adjoint, (u,))


def test_box_is_average_pooling() -> None:
    x = rand(1, 3, 12, 20)
    torch.testing.assert_close(Degradation(4, "box").down(x), torch.nn.functional.avg_pool2d(x, 4))


@pytest.mark.parametrize(("kernel", "filter_"), [("bicubic", 3), ("bilinear", 2), ("lanczos3", 1), ("box", 4)])
def test_kernels_agree_with_pillow_away_from_borders(kernel: str, filter_: int) -> None:
    from PIL import Image

    x = rand(64, 80)
    image = Image.fromarray(x.float().numpy()).resize((20, 16), Image.Resampling(filter_))
    ours = Degradation(4, kernel).down(x[None, None])[0, 0]
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(ours[inner].numpy(), np.asarray(image)[inner], atol=1e-4)


def test_taps_of_the_users_own() -> None:
    taps = np.exp(-(np.linspace(-2, 2, 9) ** 2))
    x = rand(30)
    padded = np.pad(x.numpy(), 9, mode="symmetric")
    start = 9 + np.floor((3 - 9) / 2).astype(int)
    expected = [padded[start + 3 * j : start + 3 * j + 9] @ taps / taps.sum() for j in range(10)]
    found = Degradation(3, taps).axis(30).apply(x[None], -1)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_an_ill_conditioned_kernel_is_refused() -> None:
    wide = torch.exp(-(torch.linspace(-3, 3, 61) ** 2))
    degradation = Degradation(3, wide)
    assert degradation.down(rand(1, 1, 60, 60)).shape == (1, 1, 20, 20)
    with pytest.raises(ValueError, match=r"too ill conditioned to be inverted.*use a less blurring kernel"):
        degradation.pseudo_inverse(rand(1, 1, 20, 20))


def test_equality_and_names() -> None:
    assert Degradation(4) == Degradation(4, "bicubic") != Degradation(4, "box")
    assert len({Degradation(4), Degradation(4), Degradation(8)}) == 2
    assert repr(Degradation(4)) == "Degradation(scale=4, kernel='bicubic')"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Degradation(1), "`scale` must be an integer of at least 2, got 1"),
        (lambda: Degradation(2.5), "`scale` must be an integer of at least 2, got 2.5"),  # type: ignore[arg-type]
        (lambda: Degradation(True), "`scale` must be an integer"),
        (lambda: Degradation(4, "foo"), "`kernel` must be one of .*'foo'"),
        (lambda: Degradation(4, [1.0, float("nan")]), "`kernel` must be a finite number"),
        (lambda: Degradation(4, [1.0, -1.0]), "`kernel` must have a sum other than 0"),
        (lambda: Degradation(4, None), "`kernel` must be one of .*None"),  # type: ignore[arg-type]
        (lambda: Degradation(4, [[1.0]]), "`kernel` must be a finite number"),  # type: ignore[list-item]
        (lambda: Degradation("4"), "`scale` must be an integer of at least 2, got '4'"),  # type: ignore[arg-type]
        (lambda: Degradation(10**400), "`scale` must be an integer of at most 1024"),
        (lambda: Degradation(4).down(torch.zeros(8)), r"`x` must be an image \(\.\.\., H, W\) .*\(8,\)"),
        (lambda: Degradation(4).down(torch.zeros(1, 1, 8, 8, dtype=torch.int32)), "`x` must be floating point"),
        (lambda: Degradation(4).down_uint8(torch.zeros(1, 8, 8)), "`x` must be uint8"),
        (lambda: Degradation(4).down_integers(torch.zeros(1, 8, 8), bits=12), "`bits` must be one of 8, 16, got 12"),
        (lambda: Degradation(4).down_integers(torch.zeros(1, 8, 8), rounding="x"), "`rounding` must be .*'x'"),
        (lambda: Degradation(4).adjoint(torch.zeros(1, 2, 2, dtype=torch.int32)), "`u` must be floating point"),
        (lambda: Degradation(4).pseudo_inverse(torch.zeros(1, 2, 2, dtype=torch.int32)), "`u` must be floating point"),
        (lambda: Degradation(4).reach(2), "`tolerance` must be at most 1, got 2"),
        (lambda: Degradation(4, [1e308, 1e308]), "`kernel` must have a finite sum"),
        (lambda: Degradation(4).adjoint(rand(1, 1, 2, 2), (9, 8)), r"`size` \(9, 8\) does not downscale to \(2, 2\)"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-7])
@pytest.mark.parametrize("kernel", ["bicubic", "box", "lanczos3"])
def test_a_change_is_not_felt_beyond_the_reach(kernel: str, tolerance: float) -> None:
    d, middle = Degradation(4, kernel), 30
    x = torch.zeros(1, 4 * 61, dtype=torch.float64).expand(4, -1).clone()
    x[:, 4 * middle : 4 * middle + 4] = torch.tensor([1.0, -1.0, 0.5, 2.0])
    felt = d.pseudo_inverse(d.down(x)).abs().amax(0).view(61, 4).amax(1)
    reach = d.reach(tolerance)
    assert 0 < reach < middle
    assert float(felt[: middle - reach].max()) < 3 * tolerance
    assert float(felt[middle + reach + 1 :].max()) < 3 * tolerance
    assert d.reach(1e-3) <= d.reach(1e-7)


def test_pictures_of_many_sizes_take_no_more_memory() -> None:
    d = Degradation(4)
    for i in range(40):
        d.pseudo_inverse(d.down(rand(2000 + 4 * i, 4)), (2000 + 4 * i, 4))
    gc.collect()
    kept = [o for o in gc.get_objects() if type(o) is operator._Axis and o.n > 1000]
    assert len(kept) < 10
