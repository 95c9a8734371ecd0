"""The solver behind `quantize`: integers in range whose degradation is exactly a given LR image.

Rounding an image that downscales to y moves each LR value by about 0.06 levels (0.13 when the first axis is rounded
too), so all but one LR value in a thousand round back to y at once; more are missed in saturated areas, where the
range clamp pulls the image away from consistency. Correction, clamp and rounding therefore alternate only where an
LR value is missed: each adds its own column of D⁺, cut off where it has decayed. When misses are many, the whole
image is treated instead, which is then cheaper. What resists is settled window by window (`vspsr.consistency.windows`),
and what these miss by rounding is found pixel by pixel (`vspsr.consistency.pixel_search`).
"""

import math

from torch import Tensor

from vspsr.consistency.integer_image import RADIUS, IntegerImage
from vspsr.consistency.pixel_search import search_pixels
from vspsr.consistency.windows import solve_windows
from vspsr.degradation.operator import Degradation

__all__ = ["solve_integers"]

_PATIENCE = 4  # rounds without progress before windows are settled
_GAIN = 16.0  # a correction that the range clamp takes away is made up for by at most this factor
_WINDOWS = ((0.1, 4), (0.2, 6), (0.3, 8), (0.4, 10))  # slack in levels, margin in LR pixels
_BEYOND = 0.04  # share of the range: where alternation leaves more missing, only descent tells if it can be met
_NEAR = 0.01  # share of the range: what the descent brings below this may well have an exact image
_DESCENT = 60  # rounds
_MANY = 0.02  # share of the LR values missed from which the image is first projected as a whole


def solve_integers(
    x: Tensor, target: Tensor, degradation: Degradation, bits: int, rounding: str
) -> tuple[Tensor, Tensor]:
    """Integers near an image that downscale to ``target``, as far as possible.

    Args:
        x: (C, H, W) floating point, 0 … 1 nominally; H = s·h, W = s·w.
        target: (C, h, w) float64, integers 0 … 2^bits − 1.
        degradation, bits, rounding: as in `quantize`.

    Returns:
        Integers (C, H, W) float64 and what they downscale to, (C, h, w) float64.
    """
    peak = 2**bits - 1
    state = IntegerImage((x.double() * peak).clamp_(0, peak), target, degradation, peak, rounding == "per-pass")
    missing = state.residual()
    if missing.any():
        if int(missing.count_nonzero()) > _MANY * target.numel():
            image = x.double() * peak
            image = image + degradation.pseudo_inverse(state.deviation(degradation.down(image), slack=0.02))
            state = IntegerImage(image.clamp_(0, peak), target, degradation, peak, rounding == "per-pass")
        best, fewest = state.integers.clone(), target.numel() + 1
        for slack, margin in _WINDOWS:
            if _alternate(state):
                break
            if float(state.residual().abs().max()) > _BEYOND * peak:
                _come_close(state)
                if float(state.residual().abs().max()) > _NEAR * peak:
                    break
            search_pixels(state)
            solve_windows(state, slack, margin)
            state.image.copy_(state.integers)
            search_pixels(state)
            missed = int(state.residual().count_nonzero())
            if missed < fewest:  # a later round may do worse
                best, fewest = state.integers.clone(), missed
        if state.residual().count_nonzero() > fewest:
            state.integers = best
    return state.integers, degradation.down_integers(state.integers, bits, rounding).double()


def _alternate(state: IntegerImage) -> bool:
    """Correct, clamp and round until nothing is missed (True) or until that has stopped to help (False)."""
    fewest, since = state.target.numel() + 1, 0
    while True:
        missing = state.residual()
        index = missing.nonzero()
        if not len(index):
            return True
        since = 0 if len(index) < fewest else since + 1
        fewest = min(fewest, len(index))
        if since > _PATIENCE:
            return False
        if len(index) * state.rows.width * state.columns.width > state.image.numel() // 2:
            _correct_everywhere(state, missing)
        else:
            _correct_locally(state, missing, index)


def _come_close(state: IntegerImage) -> None:
    """Where no image in range gives the LR image: the one whose LR image is nearest, before rounding.

    Correct-and-clamp is projected gradient descent on half the squared distance from consistency, in the metric of
    (D Dᵀ)⁻¹, where its Lipschitz constant is 1; here with Nesterov's momentum (Beck & Teboulle 2009), restarted
    where it points uphill (O'Donoghue & Candès 2015).
    """
    rows, columns = state.rows, state.columns
    x = ahead = state.image
    t = 1.0
    for _ in range(_DESCENT):
        vertical = rows.down.apply(ahead, -2)
        inner = vertical.clamp(0, state.peak) if state.per_pass else vertical
        missing = state.deviation(columns.down.apply(inner, -1), slack=0.0)
        new = (ahead + rows.up.apply(columns.up.apply(missing, -1), -2)).clamp_(0, state.peak)
        if float(((ahead - new) * (new - x)).sum()) > 0:
            t, ahead = 1.0, new
        else:
            following = (1 + math.sqrt(1 + 4 * t * t)) / 2
            ahead, t = new + (t - 1) / following * (new - x), following
        x = new
    state.image, state.integers = x, x.round()
    state.update_residual()


def _along(moved: Tensor, inner: Tensor, vertical: Tensor, state: IntegerImage) -> Tensor:
    """By how much the rounded rows move where D_v x moves by ``moved``: not at all where they stay clipped."""
    return (vertical + moved).clamp(0, state.peak) - inner if state.per_pass else moved


def _made_up(missing: Tensor, achieved: Tensor) -> Tensor:
    """Corrections scaled so as to achieve what they should in spite of the range clamp."""
    return missing * (missing / achieved).nan_to_num(_GAIN, _GAIN, _GAIN).clamp(1, _GAIN)


def _correct_everywhere(state: IntegerImage, missing: Tensor) -> None:
    rows, columns = state.rows, state.columns

    def change(by: Tensor) -> Tensor:
        return rows.up.apply(columns.up.apply(by, -1), -2)

    moved = (state.image + change(missing)).clamp_(0, state.peak) - state.image
    achieved = columns.down.apply(_along(rows.down.apply(moved, -2), state.inner, state.vertical, state), -1)
    state.image = (state.image + change(_made_up(missing, achieved))).clamp_(0, state.peak)
    state.integers = state.image.round()
    state.update_residual()


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
