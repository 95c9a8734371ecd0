"""Correction, range clamp and rounding in turn, where LR values are missed; a descent where that crawls."""

import math
import time

from torch import Tensor

from vspsr.consistency.integer_image import RADIUS, IntegerImage

_PATIENCE = 4
"""Rounds without fewer misses before this gives up: the count often rises for two or three before it falls."""

_DESCENT = 60
"""Steps of the descent. If no image has the target, the misses are then within 10 % of the smallest possible."""

_CRAWLING, _LONG_DESCENT = 40, 150
"""Corrections of the whole image after which a descent of so many steps takes the place of the next. Most photographs
need fewer. Slides of text at 16 bits are met within 10 s; after 20 or 60 corrections some are not met in 30 s, with 75
steps some take 13 s, and 300 are more work in all."""

_GAIN = 16.0
"""Largest factor by which corrections are enlarged to make up for the range clamp: a larger one overshoots."""


def alternate(state: IntegerImage, deadline: float) -> bool:
    """Correct, clamp and round until nothing is missed (True), or until that no longer helps or time is up (False)."""
    fewest, since, corrections = state.target.numel() + 1, 0, 0
    while True:
        missing = state.residual()
        index = missing.nonzero()
        if not len(index):
            return True
        since = 0 if len(index) < fewest else since + 1
        fewest = min(fewest, len(index))
        if since > _PATIENCE or time.thread_time() > deadline:
            return False
        # Local corrections overlap: where they add up to half the image, the whole is corrected faster.
        if len(index) * state.rows.width * state.columns.width > state.image.numel() // 2:
            corrections += 1
            if corrections % _CRAWLING:
                _correct_everywhere(state, missing)
            else:
                descend(state, deadline, _LONG_DESCENT)
        else:
            _correct_locally(state, missing, index)


def descend(state: IntegerImage, deadline: float, steps: int = _DESCENT) -> None:
    """Minimise the squared misses before rounding: the nearest LR image that an image in range has, if not the target.

    Correct-and-clamp is projected gradient descent on half the squared distance from consistency, in the metric of
    (D Dᵀ)⁻¹, where its Lipschitz constant is 1; here with Nesterov's momentum (Beck & Teboulle 2009), restarted
    where it points uphill (O'Donoghue & Candès 2015).
    """
    rows, columns = state.rows, state.columns
    x = ahead = state.image
    t = 1.0
    for _ in range(steps):
        if time.thread_time() > deadline:
            break
        vertical = rows.down.apply(ahead, -2)
        inner = vertical.clamp(0, state.peak) if state.per_pass else vertical
        missing = state.deviation(columns.down.apply(inner, -1), tolerance=0.0)
        # In place where that is possible: making new images takes longer than the sums.
        new = rows.up.apply(columns.up.apply(missing, -1), -2).add_(ahead).clamp_(0, state.peak)
        step = new - x
        if float((ahead - new).mul_(step).sum()) > 0:
            t, ahead = 1.0, new
        else:
            following = (1 + math.sqrt(1 + 4 * t * t)) / 2
            ahead, t = step.mul_((t - 1) / following).add_(new), following
        x = new
    state.set_image(x)


def _along(moved: Tensor, inner: Tensor, vertical: Tensor, state: IntegerImage) -> Tensor:
    """Change of the rows if D_v x changes by ``moved``: 0 where they stay clipped."""
    return (vertical + moved).clamp(0, state.peak) - inner if state.per_pass else moved


def _made_up(missing: Tensor, achieved: Tensor) -> Tensor:
    """Corrections, enlarged by what the range clamp takes away from them."""
    return missing * (missing / achieved).nan_to_num(_GAIN, _GAIN, _GAIN).clamp(1, _GAIN)


def _correct_everywhere(state: IntegerImage, missing: Tensor) -> None:
    rows, columns = state.rows, state.columns

    def change(by: Tensor) -> Tensor:
        return rows.up.apply(columns.up.apply(by, -1), -2)

    moved = (state.image + change(missing)).clamp_(0, state.peak) - state.image
    achieved = columns.down.apply(_along(rows.down.apply(moved, -2), state.inner, state.vertical, state), -1)
    state.set_image((state.image + change(_made_up(missing, achieved))).clamp_(0, state.peak))


def _correct_locally(state: IntegerImage, missing: Tensor, index: Tensor) -> None:
    channel, i, j = index.T
    rows, columns = state.rows, state.columns
    across = columns.index(j)
    height, width = state.image.shape[1:]
    flat = (channel[:, None, None] * height + rows.index(i)[:, :, None]) * width + across[:, None, :]
    row = (channel[:, None], i[:, None], across)
    inner, vertical = state.inner[row], state.vertical[row]

    def change(by: Tensor) -> Tensor:
        return rows.bumps[i][:, :, None] * (by[:, None] * columns.bumps[j])[:, None, :]

    image, integers = state.image.view(-1), state.integers.view(-1)
    wanted, old = missing[channel, i, j], image[flat]
    moved = (old + change(wanted)).clamp_(0, state.peak) - old
    along = _along((rows.weights[i][:, None] @ moved)[:, 0], inner, vertical, state)
    achieved = (along * columns.weights[j]).sum(1)
    flat = flat.flatten()
    image.index_add_(0, flat, change(_made_up(wanted, achieved)).flatten())
    values = image[flat].clamp_(0, state.peak)
    image[flat] = values
    integers[flat] = values.round_()
    state.update_residual_near(channel, i, RADIUS + 1 + rows.down.weights.shape[1] // rows.scale)
