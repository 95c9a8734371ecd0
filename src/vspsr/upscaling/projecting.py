"""Upscaled pictures of any origin, made to downscale to their LR pictures exactly, with the smallest change.

D⁺ adds what the LR picture lacks, x + D⁺(y′ − D x), which moves the picture least; `quantize` goes on to integers.
y′ is the value nearest to D x that rounds to y with some room to spare: values that are right already move nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from vspsr.checks import check_choice
from vspsr.degradation import Degradation
from vspsr.degradation.resize import imresize
from vspsr.images.picture import Picture, bleed, to_bits
from vspsr.images.sources import Source, source_of
from vspsr.upscaling.comparison import check_enlarged, compare, degradation_of_pair
from vspsr.upscaling.consistent import DEPTHS, ConsistentPictures, Exactness

_ROOM = 0.3  # levels: how far from y an LR value may stay; beyond 0.5 it rounds to another
_ATTEMPTS, _USUAL_MOVE = 4, 16
"""`quantize` sometimes moves a few pixels far, by chance. Moves of more than so many 8-bit levels are tried again."""


@dataclass(frozen=True)
class Projected:
    """What `project_picture` returns.

    Attributes:
        picture: the picture that downscales to the LR picture.
        exactness: how well it does so. How far it moved is measured from the visible pixels of the picture that was
            given, in levels.
        wrong_before: LR values that were wrong before; for a JPEG, coefficients.
    """

    picture: Picture
    exactness: Exactness
    wrong_before: int


def project_picture(
    sr: Picture,
    lr: Picture | Source,
    scale: int | None = None,
    kernel: str | Sequence[float] = "bicubic",
    bits: int | str = "auto",
    rounding: str = "per-pass",
    budget: float | None = None,
) -> Projected:
    """The picture nearest to an upscaled picture that downscales to the LR picture.

    The result has the LR picture's channels, and its alpha. It is grey where that is grey, also if that is stored in
    colour: the colours of `sr` are then averaged first. A picture that downscales to
    the LR picture already is returned as it is.

    Args:
        sr: the upscaled picture, s times as large as `lr` in both directions.
        lr: the LR picture.
        scale, kernel: of the degradation; the scale by default from the sizes.
        bits: of the result, "auto" for those of `sr`.
        rounding: as in `quantize`.
        budget: as in `quantize`, for each of up to four attempts.

    Raises:
        ValueError: pictures that do not go together, an option out of its range.
    """
    check_choice(bits, "bits", DEPTHS)
    source = source_of(lr)
    sr = like(like(sr, source.in_grey.picture), source.picture)
    out_bits = sr.bits if bits == "auto" else int(bits)
    sr = replace(
        sr,
        pixels=to_bits(sr.pixels, sr.bits, out_bits),
        alpha=None if sr.alpha is None else to_bits(sr.alpha, sr.bits, out_bits),
        bits=out_bits,
    )
    degradation = degradation_of_pair(sr, source.picture, scale, kernel)
    check_enlarged(sr, source.picture, degradation.scale)
    is_jpeg = source.jpeg is not None
    before = compare(sr, source, degradation.scale, kernel, rounding).wrong
    if not before:
        return Projected(sr, Exactness(0, 0, 0.0, 0.0, 0 if is_jpeg else None), 0)
    pixels = sr.pixels if sr.alpha is None else bleed(sr.pixels, sr.alpha)
    hr_alpha = None if sr.alpha is None else sr.alpha.double() / sr.white
    target = ConsistentPictures(source, degradation, out_bits, rounding, hr_alpha, budget)
    x = pixels[: target.y.shape[1]].double()[None] / sr.white
    visible = None if sr.alpha is None or not bool((sr.alpha > 0).any()) else sr.alpha[0] > 0

    def attempt(seed: int) -> tuple[Picture, Exactness]:
        # The LR picture of a JPEG is chosen with the picture.
        near = x if is_jpeg else _corrected(x, target.y.double(), degradation, 1 / sr.white, seed)
        picture, exactness = target.to_picture(near)
        moved = (picture.pixels - pixels).double().abs()
        moved = moved if visible is None else moved[:, visible]
        rms, largest = float(moved.square().mean().sqrt()), float(moved.max())
        return picture, replace(exactness, moved_rms=rms, moved_max=largest)

    picture, exactness = attempt(0)
    for seed in range(1, 1 if is_jpeg else _ATTEMPTS):
        if exactness.exact and exactness.moved_max <= _USUAL_MOVE * sr.white / 255:
            break
        made = (picture, exactness), attempt(seed)
        picture, exactness = min(made, key=lambda m: (m[1].lr_values_wrong, m[1].moved_rms))
    return Projected(replace(picture, metadata=sr.metadata), exactness, before)


def _corrected(x: Tensor, y: Tensor, degradation: Degradation, level: float, seed: int) -> Tensor:
    """x moved by D⁺ to LR values that round to y, with noise around those that were wrong: (1, C, H, W) float64."""
    down = degradation.down(x)
    target = down.clamp(y - _ROOM * level, y + _ROOM * level)
    # The corrections are below a level and smooth. Rounded as they are, x being integers, whole areas of them vanish or
    # become whole levels. Noise that D does not see makes the rounding errors independent.
    generator = torch.Generator().manual_seed(seed)
    noise = level * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)
    noise -= degradation.pseudo_inverse(degradation.down(noise))
    wrong = ((down - y).abs() > 0.5 * level).to(x)
    around = interpolate(max_pool2d(wrong, 3, 1, 1), scale_factor=degradation.scale)
    return x + degradation.pseudo_inverse(target - down) + noise * around


def like(hr: Picture, lr: Picture) -> Picture:
    """An HR picture with the channels of its LR picture: grey or RGB, with alpha or without.

    Grey is the mean of the colours. Alpha that is opaque everywhere is dropped if `lr` has none. Missing alpha is that
    of `lr`, enlarged.

    Raises:
        ValueError: transparent pixels, where the LR picture has none.
    """
    pixels, alpha = hr.pixels, hr.alpha
    if lr.is_grey and not hr.is_grey:
        pixels = (2 * pixels.sum(0, keepdim=True).int() + 3).div(6, rounding_mode="floor").int()
    if alpha is not None and lr.alpha is None:
        if int(alpha.min()) < hr.white:
            raise ValueError("SR has transparent pixels, LR has no alpha: flatten SR")
        alpha = None
    if alpha is None and lr.alpha is not None:
        enlarged = imresize(lr.alpha.double() / lr.white, size=hr.size).clamp(0, 1)
        alpha = (enlarged * hr.white).round().int()
    return replace(hr, pixels=pixels.expand(lr.pixels.shape[0], -1, -1).contiguous(), alpha=alpha)
