"""The solver behind `quantize`: where an exact image is known to exist it is found, and the parts do what they say."""

import logging
import math
import re
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vspsr import Degradation
from vspsr.consistency.integer_image import IntegerImage, axis_of
from vspsr.consistency.interior_point import nearest_within
from vspsr.consistency.solve import solve_integers, splitting_iterates
from vspsr.consistency.windows import FAR, Problem, Window, missed_groups
from vspsr.degradation.resize import imresize


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def original(kind: str, h: int, w: int, scale: int, seed: int = 0) -> Tensor:
    """An HR image (1, s·h, s·w) in [0, 1]: noise, or black and white only, so that the range leaves no room."""
    height, width = scale * h, scale * w
    i, j = torch.arange(height)[:, None], torch.arange(width)
    if kind == "noise":
        return rand(1, height, width, seed=seed)
    if kind == "black or white":
        return (rand(1, height, width, seed=seed) > 0.5).double()
    if kind == "text":
        return (imresize(rand(1, h, w, seed=seed), size=(height, width)) > 0.5).double()
    if kind == "LR blocks":
        return (rand(1, h, w, seed=seed) > 0.5).double().repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    side = int(kind.removeprefix("checkerboard "))
    return ((i // side + j // side) % 2).double()[None]


def start(y: Tensor, scale: int) -> Tensor:
    """Bicubic with noise: far from the original."""
    x = imresize(y[None], scale=scale)[0]
    return x + 0.05 * (rand(*x.shape, seed=9) - 0.5)


KINDS = ["noise", "black or white", "text", "LR blocks", *(f"checkerboard {n}" for n in (1, 2, 3, 5))]


@pytest.mark.parametrize("rounding", ["per-pass", "single"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_degraded_is_met(kind: str, scale: int, bits: int, rounding: str) -> None:
    degradation, peak = Degradation(scale), 2**bits - 1
    y = degradation.down_integers(original(kind, 5, 6, scale) * peak // 1, bits, rounding).double()
    for x in (start(y / peak, scale), torch.full((1, 5 * scale, 6 * scale), 0.5)):
        integers, lr = solve_integers(x, y, degradation, bits, rounding)
        assert torch.equal(integers, integers.round())
        assert 0 <= float(integers.min()) <= float(integers.max()) <= peak
        assert torch.equal(degradation.down_integers(integers, bits, rounding).double(), lr)
        assert int((lr != y).sum()) == 0


@settings(max_examples=25)
@given(
    st.sampled_from(["noise", "black or white", "text"]),
    st.sampled_from([2, 3, 4]),
    st.sampled_from(["bilinear", "box", "lanczos3"]),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from(["per-pass", "single"]),
    st.integers(0, 1000),
)
def test_other_kernels(kind: str, scale: int, kernel: str, size: tuple[int, int], rounding: str, seed: int) -> None:
    degradation = Degradation(scale, kernel)
    y = degradation.down_integers(original(kind, *size, scale, seed) * 255 // 1, 8, rounding).double()
    _, lr = solve_integers(start(y / 255, scale), y, degradation, 8, rounding)
    assert torch.equal(lr, y)


@pytest.mark.parametrize("rounding", ["per-pass", "single"])
@pytest.mark.parametrize("bits", [8, 16])
def test_what_no_image_has_ends_soon_and_is_told(bits: int, rounding: str) -> None:
    """LR pixels that alternate between black and white: bicubic downscaling cannot make them."""
    degradation, peak = Degradation(4), 2**bits - 1
    y = peak * ((torch.arange(48)[:, None] + torch.arange(40)) % 2)[None].double()
    began = time.thread_time()
    integers, lr = solve_integers(start(y / peak, 4), y, degradation, bits, rounding)
    assert time.thread_time() - began < 10
    again = degradation.down_integers(integers, bits, rounding).double()
    assert torch.equal(lr, again)
    assert int((again != y).sum()) > 0.9 * y.numel()
    # As near as can be: the best in range, from a solver that is not ours, on a piece with the same pattern.
    scipy = pytest.importorskip("scipy.optimize")
    dense = np.kron(degradation.axis(24).dense().numpy(), degradation.axis(24).dense().numpy())
    small = (y[0, :6, :6] / peak).numpy()
    best = scipy.lsq_linear(dense, small.ravel(), (0, 1)).fun
    _, found = solve_integers(start(y[:, :6, :6] / peak, 4), y[:, :6, :6], degradation, bits, rounding)
    ours = (found[0].numpy() / peak - small).ravel()
    assert np.sqrt((ours**2).mean()) < 1.1 * np.sqrt((best**2).mean()) + 1 / peak


@settings(max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from([2, 4]),
    st.booleans(),
    st.data(),
)
def test_what_changed_is_looked_at_again(h: int, w: int, scale: int, per_pass: bool, data: st.DataObject) -> None:
    """After `update_residual_near` everything is as if the whole image had been downscaled anew."""
    degradation = Degradation(scale)
    state = IntegerImage(255 * rand(2, scale * h, scale * w), 255 * rand(2, h, w), degradation, 255, per_pass)
    channel = data.draw(st.integers(0, 1))
    row = data.draw(st.integers(0, h - 1))
    margin = data.draw(st.integers(2, 5))
    height = slice(scale * row, scale * (row + 1))
    state.integers[channel, height] = (255 * rand(scale, scale * w, seed=5)).round()
    # D reaches two LR rows up and down.
    state.update_residual_near(torch.tensor([channel]), torch.tensor([row]), margin)
    fresh = IntegerImage(state.integers.clone(), state.target, degradation, 255, per_pass)
    for name in ("vertical", "inner", "value"):
        torch.testing.assert_close(getattr(state, name), getattr(fresh, name), rtol=0, atol=1e-9)


@given(st.integers(1, 40), st.sampled_from([2, 3, 4, 8]), st.data())
def test_a_window_of_an_axis(n_lr: int, scale: int, data: st.DataObject) -> None:
    """All LR pixels that the HR pixels of a window touch, and D between them."""
    degradation = Degradation(scale)
    axis, dense = axis_of(degradation, n_lr), degradation.axis(scale * n_lr).dense()
    first = data.draw(st.integers(0, n_lr - 1))
    last = data.draw(st.integers(first + 1, n_lr))
    hr, touched, down = axis.window(first, last)
    assert hr == slice(scale * first, scale * last)
    assert torch.equal(down, dense[touched, hr])
    outside = dense[:, hr].clone()
    outside[touched] = 0
    assert not outside.any()
    # The bumps are columns of D⁺, cut off where they are small, and what D sees of them is nearly a unit vector.
    full = torch.zeros(n_lr, scale * n_lr, dtype=torch.float64).scatter_(1, axis.index(torch.arange(n_lr)), axis.bumps)
    inverse = degradation.axis_pseudo_inverse(scale * n_lr).dense().T
    assert float((full - inverse).abs().max()) < 0.03 * float(inverse.abs().max())
    seen = (axis.bumps * axis.weights).sum(1)
    torch.testing.assert_close(seen, torch.ones_like(seen), rtol=0, atol=0.02)


def test_targets_at_the_ends_of_the_range_are_met_by_all_beyond() -> None:
    degradation = Degradation(2)
    target = torch.tensor([[[0.0, 255.0, 100.0]]], dtype=torch.float64)
    state = IntegerImage(torch.zeros(1, 2, 6, dtype=torch.float64), target, degradation, 255, per_pass=False)
    state.value = torch.tensor([[[-3.0, 260.0, 100.4]]], dtype=torch.float64)
    assert not state.residual().any()
    state.value = torch.tensor([[[0.7, 254.2, 99.4]]], dtype=torch.float64)
    torch.testing.assert_close(state.residual(), torch.tensor([[[-0.7, 0.8, 0.6]]]).double())


@pytest.mark.parametrize("per_pass", [True, False])
def test_windows_settle_what_is_missed_and_leave_the_state_true(per_pass: bool) -> None:
    degradation, peak = Degradation(4), 255
    hr = original("text", 12, 14, 4) * peak
    y = degradation.down_integers(hr, 8, "per-pass" if per_pass else "single").double()
    # Met, but for a hole.
    image = hr.clone()
    image[:, 20:28, 24:32] = 128
    state = IntegerImage(image, y, degradation, peak, per_pass)
    before = state.residual()
    outside = image.clone()
    for group in missed_groups(before != 0, extent=12):
        window = Window.around(state, group, margin=3)
        problem = window.problem(slack=0.3)
        x, _ = nearest_within(problem, problem.clipped(0.5 / peak), 0.01 / peak, math.inf)
        window.improve(x * peak)
    assert int(state.residual().count_nonzero()) < int(before.count_nonzero()) / 2
    assert float(state.image.min()) >= 0
    assert float(state.image.max()) <= peak
    fresh = IntegerImage(state.image.clone(), y, degradation, peak, per_pass)
    for name in ("integers", "vertical", "inner", "value"):
        torch.testing.assert_close(getattr(state, name), getattr(fresh, name), rtol=0, atol=1e-9)
    # Nothing moves beyond margin and what was missed.
    rows = before.nonzero()[:, 1]
    far = torch.ones(48, dtype=torch.bool)
    far[4 * max(int(rows.min()) - 3, 0) : 4 * (int(rows.max()) + 4)] = False
    assert torch.equal(state.image[:, far], outside[:, far])


def by_scipy(problem: Problem) -> Tensor:
    """The same problem as one bounded least-squares problem in (x, a, y), solved with an active-set method."""
    scipy = pytest.importorskip("scipy.optimize")
    (h, height), (w, width) = problem.down_v.shape, problem.down_h.shape
    nx, na, ny = height * width, h * width, h * w
    penalty = 1e5  # the root of the one on e²
    of_rows, of_values = np.kron(problem.down_v, np.eye(width)), np.kron(np.eye(h), problem.down_h)
    matrix = np.zeros((nx + na + ny, nx + na + ny))
    matrix[:nx, :nx] = np.eye(nx)
    matrix[nx : nx + na, :nx], matrix[nx : nx + na, nx : nx + na] = -penalty * of_rows, penalty * np.eye(na)
    matrix[nx + na :, nx : nx + na], matrix[nx + na :, nx + na :] = penalty * of_values, -penalty * np.eye(ny)
    right = np.concatenate([problem.x0.numpy().ravel(), penalty * problem.row_offset.numpy().ravel(), np.zeros(ny)])
    low = np.concatenate([np.zeros(nx), np.full(na, -FAR), problem.low.numpy().ravel()])
    high = np.concatenate([np.ones(nx), np.full(na, FAR), problem.high.numpy().ravel()])
    found = scipy.lsq_linear(matrix, right, (low, high), method="bvls", tol=1e-15, max_iter=5000)
    return torch.from_numpy(found.x[:nx]).view(height, width)


def small_problem(seed: int, feasible: bool) -> Problem:
    degradation = Degradation(4)
    down_v, down_h = degradation.axis(12).dense(), degradation.axis(8).dense()
    around = 0.02 * rand(3, 8, seed=seed + 1)
    y = (down_v @ (rand(12, 8, seed=seed) > 0.4).double() + around) @ down_h.T
    if not feasible:
        y = (rand(3, 2, seed=seed) > 0.5).double()
    slack, nothing = 0.1 / 255, torch.zeros_like(y)
    return Problem(rand(12, 8, seed=seed + 2), down_v, down_h, around, nothing, y - slack, y + slack, clips=False)


def values(problem: Problem, x: Tensor) -> Tensor:
    rows = problem.down_v @ x + problem.row_offset
    return (rows.clamp(0, 1) if problem.clips else rows) @ problem.down_h.T + problem.value_offset


def miss(problem: Problem, x: Tensor) -> float:
    y = values(problem, x)
    return float((y - torch.minimum(torch.maximum(y, problem.low), problem.high)).norm())


@pytest.mark.parametrize("seed", range(3))
def test_the_interior_point_method_finds_the_nearest_image(seed: int) -> None:
    problem = small_problem(seed, feasible=True)
    x, status = nearest_within(problem, problem.clipped(0.0), 0.01 / 255, math.inf)
    best = by_scipy(problem)
    assert status == "converged"
    assert miss(problem, x) < 1e-4
    assert float((x - problem.x0).norm()) == pytest.approx(float((best - problem.x0).norm()), rel=1e-4)
    torch.testing.assert_close(x, best, rtol=0, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_where_bounds_cannot_be_met_the_miss_is_the_smallest(seed: int) -> None:
    problem = small_problem(seed, feasible=False)
    x, _ = nearest_within(problem, problem.clipped(0.0), 0.01 / 255, math.inf)
    assert miss(problem, x) > 0.05
    assert miss(problem, x) == pytest.approx(miss(problem, by_scipy(problem)), rel=1e-3)


def test_no_step_is_taken_into_the_void() -> None:
    """At 16 bits the gaps to the bounds shrink until floating point holds no more: the last image is kept."""
    degradation = Degradation(2)
    down = degradation.axis(8).dense()
    y = down @ original("checkerboard 2", 4, 4, 2)[0] @ down.T
    nothing = torch.zeros(4, 8).double()
    problem = Problem(rand(8, 8), down, down, nothing, torch.zeros_like(y), y, y + 1e-12, clips=False)
    x, status = nearest_within(problem, problem.clipped(0.0), 1e-18, math.inf)
    assert status != "converged"
    assert x.isfinite().all()
    assert float((down @ x @ down.T - y).abs().max()) < 1e-4


@pytest.mark.parametrize("side", [5, 6, 8])
def test_splitting_gets_close_where_rows_are_clipped(side: int) -> None:
    degradation = Degradation(4)
    down_v, down_h = degradation.axis(24).dense(), degradation.axis(20).dense()
    truth = original(f"checkerboard {side}", 6, 5, 4)[0]
    assert bool((down_v @ truth > 1.01).any())
    y = (down_v @ truth).clamp(0, 1) @ down_h.T
    slack = 0.1 / 255
    nothing = torch.zeros(6, 20).double()
    problem = Problem(rand(24, 20), down_v, down_h, nothing, torch.zeros_like(y), y - slack, y + slack, clips=True)
    iterates = splitting_iterates(problem, 100)
    misses = [miss(problem, next(iterates)) for _ in range(8)]
    assert min(misses) < 0.01 * miss(problem, problem.x0)


def test_missed_groups_are_connected_and_bounded() -> None:
    missed = torch.zeros(2, 60, 60, dtype=torch.bool)
    missed[0, 3, 3] = missed[1, 3, 3] = missed[0, 5, 6] = True
    missed[1, 30:60, 20:22] = True
    groups = missed_groups(missed, extent=12)
    assert sorted(map(len, groups)) == [len(g) for g in groups]
    assert sum(len(g) for g in groups) == int(missed.sum())
    assert all(int((g.amax(0) - g.amin(0)).max()) < 12 for g in groups)
    assert all(len(g[:, 0].unique()) == 1 for g in groups)
    assert any({tuple(place) for place in g.tolist()} == {(0, 3, 3), (0, 5, 6)} for g in groups)
    assert missed_groups(torch.zeros_like(missed), 12) == []


def test_how_each_step_ended_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """LR values of text that are moved by up to 3 levels: no image in range has them all."""
    degradation, generator = Degradation(4), torch.Generator().manual_seed(0)
    y = degradation.down_integers(original("text", 16, 16, 4) * 255, 8, "per-pass").double()
    y = (y + torch.randint(-3, 4, y.shape, generator=generator)).clamp(0, 255)
    with caplog.at_level(logging.DEBUG, "vspsr.consistency"):
        _, lr = solve_integers(start(y / 255, 4), y, degradation, 8, "per-pass", budget=4)
    assert int((lr != y).sum()) > 0
    assert re.search(r"splitting: (stalled|iteration limit|time limit), \d+ LR values? missed", caplog.text)
    assert re.search(r"\d+ values missed: interior point [a-z ]+, improved (True|False)", caplog.text)
