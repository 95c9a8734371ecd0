"""Images of a large picture, made in bands of LR rows in the memory of one."""

from collections.abc import Callable

from torch import Tensor

from vspsr.consistency.progress import one_of, report_progress
from vspsr.space.noise import BLOCK

_BAND = 4 * BLOCK  # LR rows that are made at once


def fill_by_bands(out: Tensor, scale: int, margin: int, part: Callable[[slice], Tensor]) -> Tensor:
    """An image (…, H, W), filled in bands.

    ``part``: LR rows, which begin with a row of noise blocks and include the margin, → their image.
    """
    h, around = out.shape[-2] // scale, BLOCK * -(-margin // BLOCK)
    bands = [slice(top, min(h, top + _BAND)) for top in range(0, h, _BAND)]
    for i, band in enumerate(bands):
        rows = slice(max(0, band.start - around), min(h, band.stop + around))
        with one_of(len(bands), i):
            report_progress(0, 1)
            image = part(rows)
        first, last = (scale * (row - rows.start) for row in (band.start, band.stop))
        out[..., scale * band.start : scale * band.stop, :] = image[..., first:last, :]
    return out
