"""Parts of a large picture with a margin around them, and images that are put together from such parts."""

from collections.abc import Callable, Iterable

from torch import Tensor

from vspsr.consistency.progress import one_of, report_progress
from vspsr.space.noise import BLOCK

_BAND = 4 * BLOCK  # LR rows that are made at once


def widened(parts: Iterable[slice], margin: int, size: Iterable[int]) -> tuple[slice, slice]:
    """LR rows and columns and a margin around them, within a picture of so many."""
    rows, columns = (
        slice(max(0, part.start - margin), min(n, part.stop + margin)) for part, n in zip(parts, size, strict=True)
    )
    return rows, columns


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
