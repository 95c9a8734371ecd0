"""The solver behind `quantize`: integers in range whose degradation is exactly a given LR image.

Rounding an image that downscales to y moves each LR value by about 0.06 levels (0.13 when the first axis is rounded
too), so all but one LR value in a thousand round back to y at once. More are missed in saturated areas, where the
range clamp pulls the image away from consistency. `alternate` corrects, clamps and rounds where LR values are missed.
That is all most photographs need. It crawls where most pixels are black or white; there a descent with momentum
(`descend`) takes turns with it. What it leaves goes, in rounds, to

1. Douglas–Rachford splitting of large tiles (`splitting_iterates`), which gets close however the rows are clipped;
2. the same in windows around single groups, then an interior-point method (`interior_point`), which is accurate;
3. changes of single pixels and pairs of them (`pixel_search`), which mend what rounding has spoiled.

Groups of missed values are treated one by one, small ones first. Regions that are far from every image in range
(`descend`) are left at the nearest one, and do not keep the others from being met. After a round that met no more
values, the next begins with a smooth image where they are missed: texture leads into dead ends. The number of rounds
is fixed and nothing is random: equal inputs give equal integers, unless the time limit ends the search.
"""

import logging
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from vspsr.consistency.alternation import alternate, descend
from vspsr.consistency.integer_image import TOLERANCE, IntegerImage
from vspsr.consistency.interior_point import nearest_within
from vspsr.consistency.pixel_search import search_pixels
from vspsr.consistency.threads import one_thread
from vspsr.consistency.windows import Problem, Window, missed_groups
from vspsr.degradation.operator import Degradation
from vspsr.errors import counted

_log = logging.getLogger(__name__)

SEARCH_LOG = "vspsr.consistency.search"
"""Logger that says in a line what is searched for when a long search begins, and "" when it ends, both as INFO."""

_MANY = 0.02
"""If more than this share of the LR values is missed, the whole image is projected first: cheaper than many local
corrections."""

_PROJECTED = 0.02
"""Levels: deviations that the projection leaves as they are, because rounding moves LR values farther."""

_ROUNDS = ((0.1, 4), (0.1, 4), (0.2, 6), (0.3, 8), (0.4, 10), (0.49, 6), (0.2, 8), (0.3, 10), (0.49, 10))
"""Slack in levels and margin in LR pixels of the windows of each round. A small slack leaves room for rounding. Some
images have none to spare, and need the larger. A wider margin gives more freedom, and costs its sixth power."""

_TILE, _TILE_MARGIN, _TILE_SLACK = 48, 6, 0.1
"""LR pixels, LR pixels, levels: the windows of the first step. The larger, the fewer borders between solutions
that do not fit together; the cost of a product with D per pixel grows with the side."""

_TILE_MISSES = 16
"""Groups with more missed values than this go through the first step: fewer are settled faster by the second."""

_GROUP = 12
"""LR pixels: groups that extend farther are cut up before the second step. Its cost grows with the sixth power."""

_TILE_ITERATIONS, _GROUP_ITERATIONS = 400, 200
"""Of the splitting, in the first and in the second step. At 8 bits 100 to 200 suffice; at 16 bits the interior-point
method does the rest faster."""

_CHECK = 25
"""Iterations of the splitting between two checks of the rounded image."""

_WEIGHT = 8.0
"""Of distances in b = D_v x against those in x in the splitting, and in y = D_h a against those in a: D averages many
pixels, so that its values move less than these. From 4 to 16 it takes about as many iterations, at 1 twice as many."""

_STALLED, _PROGRESS = 8, 0.99
"""The splitting ends after this many checks in which the smallest sum of squared misses fell by less than 1 %."""

_UNREACHABLE, _UNREACHABLE_MARGIN = 0.04, 4
"""Share of the range, LR pixels: a value that the descent leaves farther from its target counts as unreachable, and so
do those around it. Images that were downscaled end below 0.015 (checkerboards and the like; photographs far below)."""

_PRECISION = 0.01
"""Levels: what the interior-point method neglects."""

_NEWTON_STEPS = {255: 25, 65535: 50}
"""Limit of the interior-point method by peak. It needs 10 to 20 steps if there is a solution, rarely up to 40."""

_RESTART_MARGIN = 12
"""LR pixels around values still missed, in which the round after one that met no more of them begins with the smoothest
consistent image: texture leads into dead ends."""

_PAIRS_FROM = 2
"""Round from which the pixel search also tries pairs, which costs four times as much."""

_CLIPPED = 0.5
"""Levels: rows this far beyond the range are clipped. What is nearer to it rounds to its end, clipped or not."""

_TIE = 0.5 + 1e-6
"""Levels. Exact halves count as missed, because other programs round them differently. They are accepted if nothing
better is found."""


def solve_integers(
    x: Tensor, target: Tensor, degradation: Degradation, bits: int, rounding: str, budget: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Integers near an image that downscale to ``target``, as far as possible.

    Args:
        x: (C, H, W) floating point on the CPU, 0 … 1 nominally; H = s·h, W = s·w.
        target: (C, h, w) float64, integers 0 … 2^bits − 1.
        degradation, bits, rounding: as in `quantize`.
        budget: seconds of the calling thread after which the search ends with the best found so far.

    Returns:
        Integers (C, H, W) float64 and what they downscale to, (C, h, w) float64.
    """
    deadline = time.thread_time() + budget
    peak = 2**bits - 1
    image = x.double() * peak
    state = IntegerImage(image.clamp(0, peak), target, degradation, peak, rounding == "per-pass")
    missed = int(state.residual().count_nonzero())
    if missed:
        best = _Best(state)
        if missed > _MANY * target.numel():
            image = image + degradation.pseudo_inverse(state.deviation(degradation.down(image), tolerance=_PROJECTED))
            state.set_image(image.clamp_(0, peak))
        if not alternate(state, deadline):
            if float(state.residual().abs().max()) > _UNREACHABLE * peak:
                descend(state, deadline)
                state.skipped = _unreachable(state)
            best.update(state)
            search_log = logging.getLogger(SEARCH_LOG)
            left = int(state.deviation(state.value).count_nonzero())
            search_log.info("searching for exact integers, %s wrong so far", counted(left, "LR value"))
            try:
                smooth = degradation.pseudo_inverse(target).clamp_(0, peak)
                with one_thread():  # of its many small operations each would wait for all threads
                    _search(state, best, deadline, smooth)
            finally:
                search_log.info("")
        best.update(state)
        state.integers = best.integers
    return state.integers, degradation.down_integers(state.integers, bits, rounding).double()


class _Best:
    """The best integers so far: the fewest misses of values that can be reached, then the fewest ties."""

    def __init__(self, state: IntegerImage) -> None:
        self.score = (math.inf, math.inf, math.inf)
        self.update(state)

    def update(self, state: IntegerImage) -> float:
        """Keep the present integers if they are better. Returns how many values the best miss, ties included."""
        misses, with_ties = (float(state.residual(tolerance).count_nonzero()) for tolerance in (_TIE, TOLERANCE))
        score = (misses, with_ties, float(state.deviation(state.value, _TIE).square().sum()))
        if score < self.score:
            self.integers, self.score = state.integers.clone(), score
        return self.score[1]


def _unreachable(state: IntegerImage) -> Tensor:
    """(C, h, w) bool: values that the descent leaves far from their targets, and those around them."""
    far = (state.residual().abs() > _UNREACHABLE * state.peak).to(torch.float32)
    side = 2 * _UNREACHABLE_MARGIN + 1
    return torch.nn.functional.max_pool2d(far[None], side, stride=1, padding=_UNREACHABLE_MARGIN)[0] > 0


def _search(state: IntegerImage, best: _Best, deadline: float, smooth: Tensor) -> None:
    """Rounds of splitting, interior-point method and pixel search; ``state`` and ``best`` are updated."""
    fewest, stuck = math.inf, False
    for number, (slack, margin) in enumerate(_ROUNDS):
        if stuck:
            _restart(state, smooth)
            if alternate(state, deadline):
                return
        _solve_tiles(state, deadline)
        alternate(state, deadline)
        _solve_groups(state, slack, margin, deadline)
        search_pixels(state, deadline, pairs=number >= _PAIRS_FROM)
        before, fewest = fewest, best.update(state)
        stuck = fewest >= before
        _log.debug("round %d: best so far misses %d LR values, %d skipped", number, fewest, int(state.skipped.sum()))
        if not fewest or time.thread_time() > deadline:
            return


def _restart(state: IntegerImage, smooth: Tensor) -> None:
    """Begin with a smooth image (C, H, W) around the values that are missed."""
    for group in missed_groups(state.residual() != 0, _GROUP):
        window = Window.around(state, group, _RESTART_MARGIN)
        state.image[window.hr] = smooth[window.hr]
    state.set_image(state.image)


def _solve_tiles(state: IntegerImage, deadline: float) -> None:
    """Splitting where many values are missed."""
    for group in missed_groups(state.residual() != 0, _TILE):
        if len(group) > _TILE_MISSES and time.thread_time() < deadline:
            _split(Window.around(state, group, _TILE_MARGIN), _TILE_SLACK, _TILE_ITERATIONS, deadline)


def _solve_groups(state: IntegerImage, slack: float, margin: int, deadline: float) -> None:
    """A window around every group of missed values: splitting, then the interior-point method where that fails."""
    for group in missed_groups(state.residual() != 0, _GROUP):
        if time.thread_time() > deadline:
            return
        window = Window.around(state, group, margin)
        # An earlier window may have met these values as well.
        if not window.residual()[window.inside].any() or _split(window, slack, _GROUP_ITERATIONS, deadline):
            continue
        problem = window.problem(slack)
        clipped = problem.clipped(_CLIPPED / state.peak)
        x, status = nearest_within(problem, clipped, _PRECISION / state.peak, deadline, _NEWTON_STEPS[state.peak])
        improved = window.improve(x * state.peak)
        _log.debug("%d values missed: interior point %s, improved %s", len(group), status, improved)


def _split(window: Window, slack: float, iterations: int, deadline: float) -> bool:
    """Keep the best rounded image of the splitting; whether it meets all LR values of the window."""
    smallest, since, status = math.inf, 0, "iteration limit"
    iterates = splitting_iterates(window.problem(slack), _CHECK)
    for _ in range(iterations // _CHECK):
        window.improve(next(iterates) * window.state.peak)
        residual = window.residual()
        if not residual[window.inside].any():
            return True
        squares = float(residual.square().sum())
        since = 0 if squares < _PROGRESS * smallest else since + 1
        smallest = min(smallest, squares)
        if since > _STALLED or time.thread_time() > deadline:
            status = "stalled" if since > _STALLED else "time limit"
            break
    if _log.isEnabledFor(logging.DEBUG):
        left = int(window.residual()[window.inside].count_nonzero())
        _log.debug("splitting: %s, %s missed", status, counted(left, "LR value"))
    return False


def splitting_iterates(problem: Problem, every: int) -> Iterator[Tensor]:
    """Images x (H, W) in [0, 1] that come ever closer to a solution: one every so many iterations, without end.

    Douglas–Rachford splitting, for windows with rows that are clipped: their LR values are no convex condition. The
    unknowns (x, b, a, y) satisfy linear equations, b = D_v x and y = D_h a, and conditions entry by entry: x in range,
    a = clip(b), y within its bounds. Both sets are projected onto in closed form, the second although a = clip(b) is a
    bent line. Reflecting in one set and then in the other finds points of both far from convexity too (Elser,
    Rankenburg & Thibault, *Searching with iterated maps*, PNAS 2007); where there are none, the nearest pair of points.
    """
    down_v, down_h = problem.down_v, problem.down_h
    lift_v, lift_h = _lift(down_v), _lift(down_h)
    x = problem.x0
    b = down_v @ x + problem.row_offset
    a = b.clamp(0, 1) if problem.clips else b
    y = a @ down_h.T + problem.value_offset
    while True:
        for _ in range(every):
            near_x, near_y = x.clamp(0, 1), torch.minimum(torch.maximum(y, problem.low), problem.high)
            near_b, near_a = _onto_clip(b, a) if problem.clips else ((b + a) / 2,) * 2
            flat_x, flat_a = 2 * near_x - x, 2 * near_a - a
            rows = down_v @ flat_x + problem.row_offset
            flat_x += lift_v @ (2 * near_b - b - rows)
            values = flat_a @ down_h.T + problem.value_offset
            flat_a += (2 * near_y - y - values) @ lift_h.T
            x = x + flat_x - near_x
            a = a + flat_a - near_a
            b = b + (down_v @ flat_x + problem.row_offset) - near_b
            y = y + (flat_a @ down_h.T + problem.value_offset) - near_y
        yield x.clamp(0, 1)


def _lift(down: Tensor) -> Tensor:
    """Dᵀ(D Dᵀ + 1/weight)⁻¹: adding it times what D x misses projects onto the graph of D, (n, n_lr)."""
    gram = down @ down.T
    gram.diagonal().add_(1 / _WEIGHT)
    return torch.linalg.solve(gram, down).T


def _onto_clip(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest (b, a) with a = clip(b): on the diagonal, or on one of the two rays beyond the range."""
    both = ((b + a) / 2).clamp(0, 1)
    beyond = torch.where(b > 0.5, b.clamp_min(1), b.clamp_max(0))
    end = (b > 0.5).to(b.dtype)
    ray = (beyond - b).square() + (end - a).square() < (both - b).square() + (both - a).square()
    return torch.where(ray, beyond, both), torch.where(ray, end, both)
