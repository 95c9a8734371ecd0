"""Pictures for display: the map of the standard deviation with its scale, the contact sheet, WebP."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vspsr.images.colours import srgb_array
from vspsr.images.picture import Picture, bicubic
from vspsr.images.sources import source_of

# Anchors of a perceptually even map from dark to light (viridis, CC0), linear in between.
_ANCHORS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"]
_BACKGROUND, _INK, _MARK = (24, 24, 24), (235, 235, 235), (255, 80, 80)
_MARGIN, _LABEL = 10, 22
_CELL = 384  # longer side of a cell
_CROP = 48  # LR… HR side of the close-up, in HR pixels, at scale 4; shown magnified
_COLUMNS = 4
_QUALITY = 92  # of WebP with loss

Array = NDArray[np.uint8]


def coloured(values: NDArray[np.floating]) -> Array:
    """Values in [0, 1] (H, W) → RGB (H, W, 3)."""
    table = np.array([[int(a[i : i + 2], 16) for i in (0, 2, 4)] for a in _ANCHORS], np.float64)
    places = np.linspace(0, 1, len(table))
    return np.stack([np.interp(values, places, column) for column in table.T], -1).round().astype(np.uint8)


def map_levels(stddev: Tensor) -> NDArray[np.float64]:
    """(C, H, W) in units of the full range → a map (H, W) in 8-bit levels: root mean square over the channels."""
    return np.asarray(255 * stddev.double().square().mean(0).sqrt().cpu().numpy())


def scale_end(values: NDArray[np.float64], least: float = 0.1) -> float:
    """The end of a colour scale from 0, above 99.5 % of the values and ``least``: a multiple of half a power of ten."""
    top = max(float(np.quantile(values, 0.995)), least)
    step = 10.0 ** math.floor(math.log10(top)) / 2
    return float(f"{math.ceil(top / step * (1 - 1e-9)) * step:.6g}")


def stddev_map(stddev: Tensor) -> Picture:
    """`value_map` of a standard deviation (C, H, W) in units of the full range, as `map_levels`."""
    levels = map_levels(stddev)
    return value_map(levels, scale_end(levels), "levels")


def value_map(
    values: NDArray[np.floating], end: float, unit: str, marked: NDArray[np.bool_] | None = None, mark: str = ""
) -> Picture:
    """Values (H, W) as a colour map from 0 to ``end``, its scale drawn beside it: RGB, (3, max(H, 160), W + 90).

    Pixels that are ``marked`` (H, W) are red, and if there are any, so is ``mark``, a word below the scale.
    """
    height, width = values.shape
    canvas = Image.new("RGB", (width + 90, max(height, 160)), _BACKGROUND)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    left, room, rgb = width + 14, canvas.height - 20, coloured(values / end)
    if marked is not None and marked.any():
        rgb[marked] = _MARK
        room -= 20
        draw.text((left, room + 14), mark, fill=_MARK, font=font)
    canvas.paste(Image.fromarray(rgb))
    draw.text((left, 4), unit, fill=_INK, font=font)
    bar = coloured(np.linspace(1, 0, room - 14)[:, None].repeat(14, 1))
    canvas.paste(Image.fromarray(bar), (left, 24))
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = 24 + round((1 - part) * (room - 15))
        draw.line((left + 14, y, left + 18, y), fill=_INK)
        draw.text((left + 22, min(y - 7, canvas.height - 14)), f"{part * end:.3g}", fill=_INK, font=font)
    return source_of(canvas).picture


def contact_sheet(lr: Picture, mean: Picture, stddev: Tensor, samples: list[Picture], title: str) -> Picture:
    """LR picture, mean, standard deviation and samples side by side, each with a close-up of where they differ most.

    The sheet is in sRGB: pictures with a colour profile are converted.

    Args:
        lr, mean, samples: an LR picture, and HR pictures.
        stddev: (C, H, W) in units of the full range.
        title: one line above.
    """
    levels = map_levels(stddev)
    end = scale_end(levels)
    height, width = levels.shape
    scale = width / lr.size[1]
    side = min(round(_CROP * scale / 2), height, width)
    box = busiest(levels, side)
    uncertainty = Image.fromarray(coloured(levels / end))
    cells = [
        ("LR (enlarged pixels)", _pil(lr).resize((width, height), Image.Resampling.NEAREST)),
        ("bicubic", _pil(bicubic(lr, (height, width)))),
        ("mean", _pil(mean)),
        (f"standard deviation (yellow: {end:.3g} levels)", uncertainty),
        *((f"sample {i:02d}", _pil(s)) for i, s in enumerate(samples)),
    ]
    factor = _CELL / max(height, width)
    cell = (max(1, round(width * factor)), max(1, round(height * factor)))
    crop = min(cell)
    block = (cell[0] + crop + _MARGIN // 2, cell[1])
    columns = min(_COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    step = (block[0] + _MARGIN, block[1] + _LABEL + _MARGIN)
    canvas = Image.new("RGB", (_MARGIN + columns * step[0], 2 * _LABEL + rows * step[1]), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 10), title, fill=_INK, font=ImageFont.load_default(16))
    resample = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
    for i, (label, image) in enumerate(cells):
        left, top = _MARGIN + (i % columns) * step[0], 2 * _LABEL + (i // columns) * step[1]
        draw.text((left, top), label, fill=_INK, font=ImageFont.load_default(14))
        whole = image.resize(cell, resample)
        marks = ImageDraw.Draw(whole)
        marks.rectangle([round(v * factor) for v in (box[0], box[1], box[2] - 1, box[3] - 1)], outline=_MARK)
        canvas.paste(whole, (left, top + _LABEL))
        close = image.crop(box).resize((crop, crop), Image.Resampling.NEAREST)
        canvas.paste(close, (left + cell[0] + _MARGIN // 2, top + _LABEL))
    return source_of(canvas).picture


def _pil(picture: Picture) -> Image.Image:
    return Image.fromarray(srgb_array(picture))


def busiest(levels: NDArray[np.float64], side: int) -> tuple[int, int, int, int]:
    """The square (left, top, right, bottom) with the largest mean."""
    sums = np.pad(levels.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    means = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = (int(v) for v in np.unravel_index(means.argmax(), means.shape))
    return left, top, left + side, top + side


def png(rgb: Array) -> bytes:
    """The bytes of a PNG file of (H, W, 3) pixels, compressed quickly."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def webp(rgb: Array, lossless: bool) -> bytes:
    """The bytes of a WebP file of (H, W, 3) pixels: without loss, or of high quality."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "webp", lossless=lossless, quality=_QUALITY, method=2)
    return buffer.getvalue()
