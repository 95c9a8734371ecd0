"""Spaces given observations: against dense algebra and Monte Carlo, consistency, further conditions, contradictions."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from dense_spaces import Dense, dense, exploring_space
from spaces import make_space, small_model
from torch import Tensor

from vspsr import SRSpace
from vspsr.errors import ConditionWarning
from vspsr.space import Average, ConditionedSpace, Linear, NotGaussianError, Observation, Pixels, Same

EXACT = ["independent", "correlated"]
KINDS = [*EXACT, "noisy"]
H, W = 5, 6
SIGMA = 0.02


def mask(top: int, left: int, height: int, width: int, size: tuple[int, int] = (4 * H, 4 * W)) -> Tensor:
    made = torch.zeros(size, dtype=torch.bool)
    made[top : top + height, left : left + width] = True
    return made


def observations(space: SRSpace) -> list[tuple[Observation, Tensor, Tensor]]:
    """Of every kind, with the matrix that it is and its values."""
    shape = space.event_shape
    index = torch.arange(space.mean.numel()).view(shape)
    truth = space.sample(1, seed=9)[0, 0]

    def rows(places: Tensor, sign: float = 1) -> Tensor:
        matrix = torch.zeros(len(places), index.numel(), dtype=torch.float64)
        matrix[torch.arange(len(places)), places] = sign
        return matrix

    scribble, area, moved = mask(5, 6, 4, 7), mask(9, 9, 5, 6), mask(5, 14, 4, 7)
    value = truth[:, area].mean(1)
    average = torch.stack([rows(index[c][area]).mean(0) for c in range(3)])
    operator = torch.randn(2, index.numel(), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    target = operator @ truth.flatten()
    return [
        (Pixels(scribble, truth, SIGMA), rows(index[:, scribble].flatten()), truth[:, scribble].flatten()),
        (Average(area, value, SIGMA), average, value),
        (Average(area, float(value.mean()), SIGMA), average.mean(0, keepdim=True), value.mean()[None]),
        (
            Same(scribble, moved, SIGMA),
            rows(index[:, moved].flatten()) + rows(index[:, scribble].flatten(), -1),
            torch.zeros(84, dtype=torch.float64),
        ),
        (Linear(lambda x: operator @ x.flatten(), target, SIGMA), operator, target),
    ]


def conditioned(model: Dense, matrix: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return model.given(matrix, values, SIGMA)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(5))
@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning")
def test_mean_and_covariance_are_those_of_dense_algebra(kind: str, number: int) -> None:
    space = exploring_space(kind, H, W)
    observation, matrix, values = observations(space)[number]
    given = space.condition(observation)
    mean, covariance = conditioned(dense(space), matrix, values)
    torch.testing.assert_close(given.mean.flatten(), mean, rtol=0, atol=1e-8)
    product = given._covariance()
    x = torch.randn(3, *space.event_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (x.flatten(1) @ covariance).view_as(x)
    torch.testing.assert_close(product.product(x), expected, rtol=0, atol=1e-8 * float(expected.abs().max()))
    torch.testing.assert_close(product.quadratic(x), (x * expected).flatten(1).sum(1), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning")
def test_several_conditions_at_once_and_one_after_the_other(kind: str) -> None:
    space = exploring_space(kind, H, W)
    (a, g, v), (b, other, u) = observations(space)[:2]
    at_once, one_by_one = space.condition(a, b), space.condition(a).condition(b)
    mean, _ = conditioned(dense(space), torch.cat([g, other]), torch.cat([v, u]))
    torch.testing.assert_close(at_once.mean.flatten(), mean, rtol=0, atol=1e-8)
    torch.testing.assert_close(one_by_one.mean, at_once.mean, rtol=0, atol=1e-10)
    assert torch.equal(one_by_one.sample(1, seed=2), at_once.sample(1, seed=2))
    for kept, given in zip(one_by_one.observations, (a, b), strict=True):
        assert type(kept) is type(given)
        assert vars(kept).keys() == vars(given).keys()
        assert all(torch.equal(torch.as_tensor(vars(kept)[k]), torch.as_tensor(v)) for k, v in vars(given).items())
    assert isinstance(at_once, ConditionedSpace)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_conditional_mean_and_covariance(kind: str) -> None:
    """Monte Carlo, in a few directions; and the stated standard deviation, within its error."""
    space = exploring_space(kind, 4, 4, scale=2, calibration=1.0)
    observed = mask(2, 2, 3, 3, (8, 8))
    given = space.condition(Pixels(observed, space.sample(1, seed=9)[0, 0], SIGMA))
    n = 300
    samples = given.sample(n, seed=1)[:, 0].flatten(1) - given.mean.flatten()
    directions = torch.randn(6, samples.shape[1], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    directions[0] = 0
    directions[0, 2 * 8 + 3] = 1  # an observed pixel
    covariance = given._covariance().product(directions.view(6, *space.event_shape)).flatten(1)
    variances = (covariance * directions).sum(1)
    found = samples @ directions.T
    assert float((found.mean(0) / (variances / n).sqrt()).abs().max()) < 4
    torch.testing.assert_close(found.square().mean(0), variances, rtol=4.5 * (2 / n) ** 0.5, atol=0)
    assert 0 < float(variances[0]) < SIGMA**2
    stddev = samples.square().mean(0).sqrt().view_as(given.stddev)
    assert float(((given.stddev - stddev) / given.stddev_error).abs().max()) < 5.5
    other = space.condition(*given.observations, seed=3)
    assert torch.equal(other.sample(1, seed=1), given.sample(1, seed=1))
    difference = (other.stddev - given.stddev) / (2**0.5 * given.stddev_error)
    assert 0.5 < float(difference.square().mean().sqrt()) < 1.5
    with pytest.raises(ValueError, match="`seed`"):
        space.condition(*given.observations, seed=-1)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning")
def test_every_member_downscales_to_the_lr_image(kind: str, dtype: torch.dtype) -> None:
    space = exploring_space(kind, 9, 8)
    if dtype == torch.float32:
        space = SRSpace(space.y.float(), space.parameters.map_tensors(lambda t: t.float()), space.degradation)
    observed = mask(5, 6, 9, 11, (36, 32))
    given = space.condition(Pixels(observed, torch.tensor([0.9, 0.1, 0.4]), 0.05), Average(observed, 0.3))
    for x in (given.mean, given.sample(2)[1], given.interpolate(0, 1, 0.3)):
        assert x.dtype == dtype
        torch.testing.assert_close(space.degradation.down(x), space.y, rtol=0, atol=1e-6)


def test_a_sample_changes_no_more_than_asked_for() -> None:
    """Far from the condition it is the sample that it was; at temperature 0 it is the mean."""
    space = exploring_space("independent", 40, 6)
    given = space.condition(Pixels(mask(2, 3, 4, 4, (160, 24)), space.sample(1, seed=5)[0, 0]))
    before, after = space.sample(1, seed=1)[0], given.sample(1, seed=1)[0]
    assert float((after - before)[..., :8, :].abs().max()) > 0.1 * float(space.stddev.max())
    assert float((after - before)[..., 130:, :].abs().max()) < 1e-9
    torch.testing.assert_close(given.sample(1, temperature=0)[0], given.mean)
    torch.testing.assert_close(given.with_temperature(0).sample(1)[0], given.mean)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning")
def test_a_region_of_a_conditioned_space(kind: str) -> None:
    """As in the whole; components against dense algebra; what is far from the conditions is as without them."""
    space = exploring_space(kind, H, W)
    (observation, matrix, values), whole = observations(space)[0], dense(space)
    given = space.condition(observation)
    region = given.region(1, 1, 3, 3)
    index = torch.arange(space.mean.numel()).view(space.event_shape)[:, 4:16, 4:16].flatten()
    torch.testing.assert_close(region.mean.flatten(), given.mean.flatten()[index])
    torch.testing.assert_close(region.sample(1, seed=3)[0], given.sample(1, seed=3)[0, 0, :, 4:16, 4:16])
    x, (top, left, height, width) = space.sample(1, seed=4)[0], region.surroundings
    part = x[0, :, 4 * top : 4 * (top + height), 4 * left : 4 * (left + width)]
    torch.testing.assert_close(region.corrected(part), given.corrected(x)[0, :, 4:16, 4:16])
    with pytest.raises(ValueError, match="`x` must have the shape"):
        region.corrected(part[:, 1:])
    found = region.principal_components(3)
    _, covariance = conditioned(whole, matrix, values)
    exact = torch.linalg.eigvalsh(covariance[index][:, index]).flip(0)
    torch.testing.assert_close(found.stddev.square(), exact[:3], rtol=0.01, atol=0)
    moved = region.along(found, torch.tensor([2.0, 0.0, 1.0]))
    shift = (2 * found.stddev[0] ** -1 * found.directions[0] + found.stddev[2] ** -1 * found.directions[2]).flatten()
    torch.testing.assert_close((moved - given.mean).flatten(), covariance[:, index] @ shift, rtol=0, atol=1e-8)
    if kind in EXACT:
        torch.testing.assert_close(space.degradation.down(moved), space.y, rtol=0, atol=1e-10)
    far = exploring_space(kind, 68, 4)
    free = far.condition(Pixels(mask(0, 0, 2, 2, (272, 16)), torch.zeros(3), 0.5)).region(64, 0, 4, 4)
    assert free.surroundings[2] < 68
    assert torch.equal(free.sample(1), far.region(64, 0, 4, 4).sample(1))


def test_single_precision_is_exact_for_values_within_a_tenth_of_their_standard_deviation() -> None:
    """And on its smaller window it agrees with double precision."""
    space = exploring_space("independent", 40, 40)
    single = SRSpace(space.y.float(), space.parameters.map_tensors(lambda t: t.float()), space.degradation)
    observed, values = mask(70, 70, 5, 9, (160, 160)), space.sample(1, seed=9)[0, 0]
    exact, found = (s.with_calibration(1.0).condition(Pixels(observed, values, SIGMA)) for s in (space, single))
    assert found._inner[0].stop - found._inner[0].start < found._window[0].stop - found._window[0].start < 60
    difference = (found.mean - exact.mean)[0, :, observed]
    assert float(difference.square().mean().sqrt()) < 0.15 * SIGMA
    assert float((found.mean - exact.mean).abs().max()) < SIGMA
    torch.testing.assert_close(space.degradation.down(found.mean), single.y, rtol=0, atol=1e-6)


def test_conditions_say_how_far_they_are() -> None:
    space = exploring_space("correlated", H, W)
    likely = space.condition(Pixels(mask(5, 6, 2, 4), space.sample(1, seed=4)[0, 0], 1e-3))
    # A sample of temperature 1, of a model whose σ is calibration times larger.
    assert 0.3 < likely.conflicts[0].distance * space.calibration < 1.7
    with pytest.warns(ConditionWarning, match=r"condition 1 \(Average\) contradicts.* \d+ of its σ at HR pixel"):
        # The mean of a whole picture is fixed by its LR image.
        bad = likely.condition(Average(torch.ones(4 * H, 4 * W), 2.0))
    conflict = bad.conflicts[1]
    assert conflict.missed > 100
    assert conflict.distance > 100
    assert conflict.where is not None
    assert bool((conflict.where > 100).all())
    assert bad.conflicts[0].distance == pytest.approx(likely.conflicts[0].distance)


def test_the_distance_of_one_value_is_in_standard_deviations() -> None:
    space = exploring_space("independent", 3, 3)
    pixel = mask(4, 5, 1, 1, (12, 12))
    sigma = float((space.stddev[0, :, 4, 5].square() + SIGMA**2).sqrt()[0])
    grey = space.grey()
    sigma = float((grey.stddev[0, 0, 4, 5].square() + SIGMA**2).sqrt())
    value = float(grey.mean[0, 0, 4, 5]) + 3 * sigma
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = grey.condition(Pixels(pixel, torch.tensor([value], dtype=torch.float64), SIGMA))
    assert given.conflicts[0].distance == pytest.approx(3, rel=1e-6)


@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning")
def test_far_from_the_corner_of_a_large_picture() -> None:
    """Where the windows that are computed on do not begin at the picture's corner."""
    space = exploring_space("correlated", 70, 5)
    mask = torch.zeros(280, 20, dtype=torch.bool)
    mask[240:243, 8:11] = True
    given = SRSpace(space.y.float(), space.parameters.map_tensors(Tensor.float), space.degradation).condition(
        Pixels(mask, torch.tensor([0.5, 0.4, 0.5]), 0.1)
    )
    part = given.sample(1)[0, 0, :, 232:248, :16]
    assert torch.allclose(given.region(58, 0, 4, 4).sample(1)[0], part, atol=1e-4)
    assert bool(given.stddev.isfinite().all())
    assert torch.allclose(given.corrected(given._prior.mean), given.mean, atol=1e-4)


@pytest.mark.filterwarnings("ignore::vspsr.errors.ConditionWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_conditions_that_repeat_each_other_exactly(dtype: torch.dtype) -> None:
    """The smallest σ that is allowed leaves S, whose rows then depend on each other, a Cholesky factor."""
    space = exploring_space("independent", H, W)
    space = SRSpace(space.y.to(dtype), space.parameters.map_tensors(lambda t: t.to(dtype)), space.degradation)
    area, value = mask(9, 9, 3, 3), space.sample(1)[0, 0, :, 10, 10]
    pixels, average = Pixels(area, value, 1e-6), Average(area, value, 1e-6)
    given = space.condition(pixels, average, average, pixels)
    missed = given.mean[0, :, 9:12, 9:12] - value[:, None, None]
    assert float(missed.abs().max()) < (1e-4 if dtype == torch.float64 else 1e-2)
    with pytest.raises(ValueError, match=r"`stddev` must be .* at least 1e-06, got 1e-09"):
        space.condition(Average(area, 0.5, 1e-9))


def test_copies_and_settings() -> None:
    space = exploring_space("correlated", H, W)
    observation = observations(space)[0][0]
    given = space.condition(observation)
    wider = given.with_calibration(2 * space.calibration)
    expected = space.with_calibration(2 * space.calibration).condition(observation)
    torch.testing.assert_close(wider.mean, expected.mean)
    assert not torch.allclose(wider.mean, given.mean, atol=1e-4)
    assert torch.equal(copy.deepcopy(given).sample(1), given.sample(1))
    assert torch.equal(given.to("cpu").sample(1), given.sample(1))
    assert "ConditionedSpace" in repr(given)
    with pytest.raises(ValueError, match="`grey` must come before `condition`"):
        given.grey()


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (Pixels(torch.ones(3, 3), torch.zeros(3)), r"`mask` must be a mask of shape \(20, 24\), got .*\(3, 3\)"),
        (Pixels(torch.zeros(20, 24), torch.zeros(3)), "`mask` must have at least one pixel"),
        (Pixels(torch.ones(20, 24), torch.zeros(2)), r"`values` must be \(3,\) or \(3, 20, 24\), got \(2,\)"),
        (Pixels(torch.ones(20, 24), torch.full((3,), float("nan"))), "`values` must be finite"),
        (Pixels(torch.ones(20, 24), torch.zeros(3), 0), "`stddev` must .* at least 1e-06, got 0"),
        (Average(-torch.ones(20, 24), 0.5), "`mask` must have weights of at least 0"),
        (Average(torch.ones(20, 24), torch.zeros(2)), r"`value` must be one number or \(3,\), got \(2,\)"),
        (Same(mask(0, 0, 2, 2), mask(8, 8, 2, 3)), "`mask_b` must be `mask_a` moved"),
        (Same(mask(0, 0, 2, 2), mask(0, 0, 2, 2)), "`mask_b` must lie elsewhere"),
        (Linear(lambda x: x.sum() + 1, torch.tensor(0.0)), "`operator` must be linear"),
        ("colour", "`observations` must be Pixels, Average, Same or Linear, got 'colour'"),
    ],
)
def test_what_does_not_fit_is_refused(observation: Observation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exploring_space("independent", H, W).condition(observation)


def test_spaces_that_cannot_be_conditioned() -> None:
    with pytest.raises(ValueError, match="`observations` must be at least one"):
        make_space(3, 3).condition()
    with pytest.raises(ValueError, match="`condition` needs the space of one image, got 2"):
        make_space(3, 3, batch=2).condition()
    with pytest.raises(NotGaussianError, match=r"`region` .* its calibration is 0"):
        make_space(3, 3).with_calibration(0).region(0, 0, 2, 2)
    for kind in ("authors", "stochastic basis", "deterministic"):
        with pytest.raises(NotGaussianError, match="`condition`"):
            small_model(kind)(torch.rand(1, 3, 5, 5)).condition(Pixels(mask(0, 0, 1, 1, (20, 20)), torch.zeros(3)))


@torch.no_grad()
def test_only_one_picture_is_corrected() -> None:
    space = exploring_space("independent", H, W)
    given = space.condition(Pixels(mask(5, 6, 4, 7), space.mean[0] + 0.01, 0.02))
    picture = space.sample(1)[0]
    for asked in (space, given):
        assert torch.equal(asked.corrected(picture), asked.corrected(picture[0]))
        assert asked.corrected(picture.float()).dtype == space.y.dtype
        for wrong in (
            space.sample(3),
            space.sample(3)[:, 0],
            picture[..., :-1],
            torch.tensor(3.0),
            picture * torch.nan,
        ):
            with pytest.raises(ValueError, match="`x`"):
                asked.corrected(wrong)


def test_gradients_are_refused() -> None:
    space = exploring_space("independent", H, W).condition(Average(mask(5, 6, 4, 7), 0.5, 0.3))
    with pytest.raises(ValueError, match="`rsample` must be asked of the space before `condition`"):
        space.rsample()
    assert not space.sample().requires_grad


@torch.no_grad()
def test_without_calibration_nothing_is_random() -> None:
    space = exploring_space("independent", H, W)
    given = space.condition(Average(mask(5, 6, 4, 7), 0.5, 0.3)).with_calibration(0)
    torch.testing.assert_close(given.mean, space.mean)
    assert given.conflicts[0].missed > 0


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (lambda x: 0.0, "must give a tensor of the shape of `value` .*, got 0.0"),
        (lambda x: x.detach().mean(), "differentiable, got .*without a gradient"),
        (lambda x: x.mean((1, 2)), "must give a tensor of the shape of `value`"),
        (lambda x: x.square().mean(), "`operator` must be linear"),
        (lambda x: x.mean() + 1, "`operator` must be linear"),
        (lambda x: x.abs().mean(), "`operator` must be linear"),
    ],
)
def test_operators_that_are_not_linear(operator: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exploring_space("independent", H, W).condition(Linear(operator, torch.tensor(0.4)))


def test_numbers_of_any_layout_are_taken() -> None:
    space = exploring_space("independent", H, W)
    values = space.sample(1)[0, 0].numpy()
    flipped, read_only = values[:, ::-1], values.copy()
    read_only.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        a = space.condition(Pixels(mask(5, 6, 4, 7), flipped, 0.3))  # type: ignore[arg-type]
        space.condition(Pixels(mask(5, 6, 4, 7), read_only, 0.3))  # type: ignore[arg-type]
    b = space.condition(Pixels(mask(5, 6, 4, 7), torch.from_numpy(flipped.copy()), 0.3))
    assert torch.equal(a.mean, b.mean)
    with pytest.raises(ValueError, match="`mask` must have weights of at least 0, all finite"):
        space.condition(Average(torch.full((4 * H, 4 * W), torch.nan), 0.5))
