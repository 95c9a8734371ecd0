"""LR values that a window's solution misses by its rounding: a search over single pixels and pairs of them.

Changing one HR pixel by a few levels moves one column of D_v x, hence a handful of LR values. All changes nearby are
computed at once. The best is made even if it does not help, and its pixel then rests for some steps (tabu search;
Glover 1989), so that the search leaves dead ends.
"""

import time

import torch
from torch import Tensor

from vspsr.consistency.integer_image import TOLERANCE, IntegerImage
from vspsr.consistency.windows import Window, missed_groups

_CHANGES = tuple(sign * 2.0**k for k in range(6) for sign in (-1, 1))
"""Levels that a pixel may change by: small ones move an LR value by a fraction, large ones free clipped rows."""

_LARGE = 6
"""Index of the first change that pairs of pixels make, 8 levels: smaller ones cancel to less than rounding."""

_FIRST = 256
"""Changes that are tried as the first of a pair: those that harm least. More take longer."""

_NEAR = 0.42
"""Levels: LR values farther off than this are close to being missed and count towards the cost."""

_WEIGHT = 20.0
"""Of the squared excess over `_NEAR` in the cost: at the tolerance a value costs an eighth of a miss."""

_PATIENCE = 40
"""Steps without fewer misses before the search gives up."""

_REST = 12
"""Steps for which a changed pixel may not change again."""

_MAX_MISSES = 32
"""Missed values of a group: more are not missed by rounding."""

_FARTHEST = 1.5
"""Levels: what is farther off was not missed by rounding."""

_EXTENT = 12
"""LR pixels: groups that extend farther are cut up."""


def search_pixels(state: IntegerImage, deadline: float, pairs: bool) -> None:
    """Change pixels around missed LR values until they are met, others staying met; ``state`` is updated.

    None is begun after ``deadline`` (`time.thread_time`). With ``pairs``, where single pixels fail, a pixel is changed
    and, by as much the other way, another of its row: what one column loses the next gains, unless it is clipped.
    """
    for with_pairs in (False, True)[: 1 + pairs]:
        residual = state.residual()
        for group in missed_groups(residual != 0, _EXTENT):
            if len(group) > _MAX_MISSES or float(residual[tuple(group.T)].abs().max()) > _FARTHEST:
                continue
            for place in group.split(1):
                if time.thread_time() > deadline:
                    return
                _search_around(state, Window.around(state, place, margin=1), with_pairs)


def _search_around(state: IntegerImage, window: Window, pairs: bool) -> None:
    pixels, vertical = state.integers[window.hr], state.vertical[window.row]
    inner, value, target = state.inner[window.row], state.value[window.lr], state.target[window.lr]
    changes = torch.tensor(_CHANGES, dtype=value.dtype)
    # One pixel moves one column of D_v x; (changes, pixels down, pixels across, LR rows).
    by = changes[:, None, None, None] * window.down_v.T[None, :, None, :]
    resting = torch.zeros_like(pixels)

    def cost_of(values: Tensor) -> tuple[Tensor, Tensor]:
        """How many values are missed; the same, with what comes close to being missed."""
        near = state.deviation(values, _NEAR, target).abs()
        missed = (near > TOLERANCE).sum((-2, -1))
        return missed, missed + (near - _NEAR).clamp_min_(0).square_().sum((-2, -1)) * _WEIGHT

    best, fewest, step, since = pixels, int(cost_of(value)[0]), 0, 0
    while fewest and since < _PATIENCE:
        moved = state.rounded(vertical.T[None, None] + by) - inner.T[None, None]
        effect = moved[..., None] * window.down_h.T[:, None, :]
        after = pixels + changes[:, None, None]
        forbidden = (after < 0) | (after > state.peak) | (resting > step)
        if pairs:
            # Only the changes that harm least by themselves are tried with all opposite ones of their row.
            _, alone = cost_of(value + effect[_LARGE:])
            alone[forbidden[_LARGE:]] = torch.inf
            first = alone.flatten().topk(min(_FIRST, alone.numel()), largest=False, sorted=True).indices
            change, row, column = torch.unravel_index(first, alone.shape)
            change = change + _LARGE
            missed, cost = cost_of(value + effect[change, row, column][:, None] + effect[change ^ 1, row])
            forbidden = forbidden[change, row, column][:, None] | forbidden[change ^ 1, row]
            forbidden[torch.arange(len(first)), column] = True
        else:
            missed, cost = cost_of(value + effect)
        cost[forbidden] = torch.inf
        place = tuple(int(k) for k in torch.unravel_index(cost.argmin(), cost.shape))
        if forbidden[place]:
            break
        if pairs:
            made = [(int(change[place[0]]), int(row[place[0]]), int(column[place[0]]))]
            made.append((made[0][0] ^ 1, made[0][1], place[1]))
        else:
            made = [(place[0], place[1], place[2])]
        pixels, vertical, inner = pixels.clone(), vertical.clone(), inner.clone()
        for k, p, q in made:
            pixels[p, q] = after[k, p, q]
            value = value + effect[k, p, q]
            inner[:, q] += moved[k, p, q]
            vertical[:, q] += by[k, p, 0]
            resting[p, q] = step + _REST
        if int(missed[place]) < fewest:
            best, fewest, since = pixels, int(missed[place]), 0
        step, since = step + 1, since + 1
    window.replace(best)
