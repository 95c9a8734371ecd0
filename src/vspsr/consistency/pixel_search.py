"""The last few LR values that a window's solution misses by its rounding: a search over single pixels and pairs.

Changing one HR pixel by a few levels moves one column of D_v x, hence a handful of LR values, all of which can be told
at once for every pixel nearby. The best change is made even if it does not help, and its pixel then rests for some
steps (tabu search; Glover 1989), so that the search leaves dead ends.
"""

import torch
from torch import Tensor

from vspsr.consistency.integer_image import TOLERANCE, IntegerImage

__all__ = ["search_pixels"]

_CHANGES = tuple(sign * 2.0**k for k in range(6) for sign in (-1, 1))  # levels
_LARGE = 6  # index of the first change that pairs of pixels make
_NEAR = 0.42  # levels: LR values farther off than this are close to being missed
_WEIGHT = 20.0  # of the square of what they are farther off
_PATIENCE = 40  # steps without fewer misses
_REST = 12  # steps
_MOST = 32  # LR values
_FARTHEST = 1.5  # levels: what is farther off was not missed by rounding


def search_pixels(state: IntegerImage) -> None:
    """Change pixels around every missed LR value until it is met, others staying met; ``state`` is updated.

    Single pixels first; where that fails, a pixel and, by as much the other way, another of its row: what one column
    loses the next gains, unless it is clipped. Where more than a few values are missed, or by far, that is no matter of
    rounding, and left alone.
    """
    for pairs in (False, True):
        missing = state.residual()
        index = missing.nonzero()
        if len(index) > _MOST or float(missing.abs().max()) > _FARTHEST:
            return
        for c, i, j in index.tolist():
            _search_around(state, c, i, j, pairs)


def _search_around(state: IntegerImage, c: int, i: int, j: int, pairs: bool) -> None:
    h, w = state.target.shape[1:]
    hr_v, lr_v, down_v = state.rows.window(max(i - 1, 0), min(i + 2, h))
    hr_h, lr_h, down_h = state.columns.window(max(j - 1, 0), min(j + 2, w))
    pixels, vertical = state.integers[c, hr_v, hr_h], state.vertical[c, lr_v, hr_h]
    inner, value = state.inner[c, lr_v, hr_h], state.value[c, lr_v, lr_h]
    target = state.target[c, lr_v, lr_h]
    changes = torch.tensor(_CHANGES, dtype=value.dtype, device=value.device)
    # One pixel moves one column of D_v x; (changes, pixels down, pixels across, LR rows).
    by = changes[:, None, None, None] * down_v.T[None, :, None, :]
    resting = torch.zeros_like(pixels)

    def cost_of(values: Tensor) -> tuple[Tensor, Tensor]:
        """How many values are missed; the same, with what comes close to being missed."""
        near = state.deviation(values, _NEAR, target).abs()
        missed = (near > TOLERANCE).sum((-2, -1))
        return missed, missed + (near - _NEAR).clamp_min_(0).square_().sum((-2, -1)) * _WEIGHT

    best, fewest, step, since = pixels, int(cost_of(value)[0]), 0, 0
    while fewest and since < _PATIENCE:
        moved = state.rounded(vertical.T[None, None] + by) - inner.T[None, None]
        effect = moved[..., None] * down_h.T[:, None, :]
        after = pixels + changes[:, None, None]
        forbidden = (after < 0) | (after > state.peak) | (resting > step)
        if pairs:
            # Changes 2k and 2k + 1 are opposite; (changes, pixels down, one across, the other across).
            opposite = effect[_LARGE:].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
            missed, cost = cost_of(value + effect[_LARGE:, :, :, None] + opposite[:, :, None])
            other = forbidden[_LARGE:].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
            forbidden = forbidden[_LARGE:, :, :, None] | other[:, :, None]
            forbidden |= torch.eye(pixels.shape[1], dtype=torch.bool, device=pixels.device)
        else:
            missed, cost = cost_of(value + effect)
        cost[forbidden] = torch.inf
        place = tuple(int(k) for k in torch.unravel_index(cost.argmin(), cost.shape))
        if forbidden[place]:
            break
        change, p, q = place[0] + (_LARGE if pairs else 0), place[1], place[2]
        pixels, vertical, inner = pixels.clone(), vertical.clone(), inner.clone()
        for k, column in ((change, q), (change ^ 1, place[-1])) if pairs else ((change, q),):
            pixels[p, column] = after[k, p, column]
            value = value + effect[k, p, column]
            inner[:, column] += moved[k, p, column]
            vertical[:, column] += by[k, p, 0]
            resting[p, column] = step + _REST
        if int(missed[place]) < fewest:
            best, fewest, since = pixels, int(missed[place]), 0
        step, since = step + 1, since + 1
    state.image[c, hr_v, hr_h] = state.integers[c, hr_v, hr_h] = best
    rows = torch.arange(lr_v.start, lr_v.stop)
    state.update_residual_near(torch.full_like(rows, c), rows, 0)
