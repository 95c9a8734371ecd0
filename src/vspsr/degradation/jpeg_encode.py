"""The coefficients that libjpeg would save for an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vspsr.degradation.banded import lasting_tensors
from vspsr.degradation.jpeg_arithmetic import blocks_of, dct, quantised
from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.jpeg_set import JpegSet


@lasting_tensors()
def encode_jpeg(image: Tensor, tables: Sequence[Tensor], sampling: tuple[int, int] = (1, 1)) -> JpegCoefficients:
    """What libjpeg saves of an image, without the Huffman coding.

    Args:
        image: integers 0 … 255, (1, h, w) grey or (3, h, w) RGB.
        tables: the quantisation steps of Y, or of Y, Cb and Cr, (8, 8) each.
        sampling: (vertical, horizontal) pixels for each value of Cb and Cr.

    Raises:
        ValueError: numbers of channels and tables that do not fit.
    """
    size = (image.shape[-2], image.shape[-1])
    every = [sampling if c else (1, 1) for c in range(len(image))]
    counts = [[-(-n // (8 * s)) for n, s in zip(size, one, strict=True)] for one in every]
    empty = JpegCoefficients(size, [torch.zeros(*count, 8, 8) for count in counts], tables, sampling)
    grid = JpegSet(empty)
    coefficients = []
    planes = grid.planes(grid.split(image), torch.arange(grid.count))
    for plane, table, (rows, columns) in zip(planes, tables, counts, strict=True):
        saved = grid.assembled(quantised(dct(blocks_of(plane)), table.double()))
        coefficients.append(saved[:rows, :columns].short())
    return JpegCoefficients(size, coefficients, tables, sampling)
