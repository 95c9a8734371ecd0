"""Standard normal noise that depends on (seed, sample, image, place) alone.

The LR plane is cut into blocks of 32×32 pixels; each block has a generator of its own, seeded by (seed, sample, image
key, block row, block column) through numpy's SeedSequence. So a sample is the same however many are drawn and whatever
else is in the batch, and any part of its noise can be had without the rest. The bits are numpy's SFC64, whose stream is
guaranteed not to change; the Box–Muller transform makes them normal.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from vspsr.checks import check_types

BLOCK = 32
"""Side of a noise block in LR pixels."""


def noise_area(seed: int, sample: int, key: int, channels: int, rows: slice, columns: slice) -> Tensor:
    """`noise_rows` of some LR pixels, 0 ≤ start < stop: (channels, rows, columns) float32 on the CPU."""
    first, last = rows.start // BLOCK, -(-rows.stop // BLOCK)
    blocks = [noise_rows(seed, sample, key, channels, row, columns.stop, columns.start) for row in range(first, last)]
    top = rows.start - BLOCK * first
    return torch.cat(blocks, 1)[:, top : top + rows.stop - rows.start]


def noise_rows(seed: int, sample: int, key: int, channels: int, block_row: int, stop: int, start: int = 0) -> Tensor:
    """The noise of one row of blocks: (channels, 32, stop − start) float32 on the CPU.

    Args:
        seed, sample, key: of the set of samples, the sample in it, the image.
        channels: number of normals at each LR pixel.
        block_row: LR rows 32·block_row … 32·block_row + 31.
        stop, start: LR columns start … stop − 1.
    """
    blocks, first = [], start // BLOCK
    for block_column in range(first, -(-stop // BLOCK)):
        sequence = np.random.SeedSequence(seed, spawn_key=(sample, key, block_row, block_column))
        blocks.append(_normals(np.random.SFC64(sequence), channels * BLOCK * BLOCK).view(channels, BLOCK, BLOCK))
    return torch.cat(blocks, -1)[..., start - BLOCK * first : stop - BLOCK * first]


def image_key(pixels: Tensor) -> int:
    """A key of an image's noise by its content, 0 … 2^64 − 1: equal integers (C, h, w) have equal keys."""
    check_types(pixels=(pixels, Tensor))
    content = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    content.update(pixels.cpu().numpy().astype("<i4").tobytes())
    return int.from_bytes(content.digest()[:8], "little")


def _normals(bits: np.random.BitGenerator, count: int) -> Tensor:
    """``count`` (even) standard normals by the Box–Muller transform of 32-bit uniforms."""
    words = torch.from_numpy(np.asarray(bits.random_raw(count // 2)).view(np.int32)).to(torch.float32)
    uniform, angle = words[: count // 2], words[count // 2 :]
    radius = uniform.mul_(2.0**-32).add_(0.5).clamp_min_(2.0**-33).log_().mul_(-2.0).sqrt_()
    angle = angle.mul_(math.tau * 2.0**-32)
    out = torch.empty_like(words)
    torch.mul(radius, angle.cos(), out=out[: count // 2])
    torch.mul(radius, angle.sin(), out=out[count // 2 :])
    return out
