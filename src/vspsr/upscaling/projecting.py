"""Anybody's upscaled pictures, made to downscale to their LR pictures exactly, as near to themselves as can be.

D⁺ adds what the LR picture lacks, x + D⁺(y′ − D x), which moves the picture least; `quantize` goes on to integers.
y′ is the value nearest to D x that rounds to y with some room to spare: what is right already moves nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from vspsr.degradation import Degradation, JpegCoefficients
from vspsr.degradation.resize import imresize
from vspsr.errors import OutputError
from vspsr.files import one_line
from vspsr.images import read_image, write_image
from vspsr.images.folders import belongs_to, composed_stem, image_files
from vspsr.images.picture import Picture, bleed, to_bits
from vspsr.images.sources import read_source
from vspsr.upscaling.comparison import DEGRADING, compare, compare_jpeg, degradation_of_pair
from vspsr.upscaling.consistent import ConsistentPictures, Exactness, check_depth
from vspsr.upscaling.folders import OnError, Progress, Report, _each, _holds

_LR_ENDING = re.compile(r"(?<=.)(?:[_-]?x\d+|[_-](?:LR|LRBI))$", re.IGNORECASE)
_ROOM = 0.3  # levels: how far from y an LR value may stay; beyond 0.5 it rounds to another
_ATTEMPTS, _USUAL_MOVE = 4, 16
"""`quantize` sometimes moves a few pixels far, by chance. Moves of more than so many 8-bit levels are tried again."""
_NO_OUTPUT = re.compile(r"(?P<stem>(?!))")  # outputs are named as their inputs
_NEEDED = DEGRADING + 60  # bytes for each HR pixel: `quantize` holds several copies in float64


@dataclass(frozen=True)
class Projected:
    """What `project_picture` returns.

    Attributes:
        picture: the picture that downscales to the LR picture.
        exactness: how well it does so. How far it moved is measured from the visible pixels of the picture that was
            given, in levels.
        wrong_before: LR values that were wrong before; of a JPEG, its coefficients.
    """

    picture: Picture
    exactness: Exactness
    wrong_before: int


def project_picture(
    sr: Picture,
    lr: Picture,
    scale: int | None = None,
    kernel: str | Sequence[float] = "bicubic",
    bits: int | str = "auto",
    rounding: str = "per-pass",
    jpeg: JpegCoefficients | None = None,
) -> Projected:
    """The picture nearest to an upscaled picture that downscales to the LR picture.

    The result has the LR picture's channels: grey where that is grey, and with its alpha. A picture that downscales to
    the LR picture already is returned as it is.

    Args:
        sr: the upscaled picture, s times as large as `lr` in both directions.
        lr: the LR picture.
        scale, kernel: of the degradation; the scale by default from the sizes.
        bits: of the result, "auto" for those of `sr`.
        rounding: as in `quantize`.
        jpeg: what `lr` was decoded from; None where its pixels are exact.

    Raises:
        ValueError: pictures that do not go together, an option out of its range.
    """
    check_depth(bits)
    sr = like(sr, lr)
    out_bits = sr.bits if bits == "auto" else int(bits)
    sr = replace(
        sr,
        pixels=to_bits(sr.pixels, sr.bits, out_bits),
        alpha=None if sr.alpha is None else to_bits(sr.alpha, sr.bits, out_bits),
        bits=out_bits,
    )
    degradation = degradation_of_pair(sr, lr, scale, kernel)
    if sr.size != (degradation.scale * lr.size[0], degradation.scale * lr.size[1]):
        raise ValueError(f"SR {_size(sr)} must be exactly {degradation.scale} times LR {_size(lr)}")
    if jpeg is None:
        before = compare(sr, lr, degradation.scale, kernel, rounding).lr_values_wrong
    else:
        before = compare_jpeg(sr, lr, jpeg, degradation.scale, kernel, rounding).coefficients_wrong
    if not before:
        return Projected(sr, Exactness(0, 0, 0.0, 0.0, None if jpeg is None else 0), 0)
    pixels = sr.pixels if sr.alpha is None else bleed(sr.pixels, sr.alpha)
    hr_alpha = None if sr.alpha is None else sr.alpha.double() / sr.white
    target = ConsistentPictures(lr, degradation, out_bits, rounding, jpeg, hr_alpha)
    x = pixels.double()[None] / sr.white
    visible = None if sr.alpha is None or not bool((sr.alpha > 0).any()) else sr.alpha[0] > 0

    def attempt(seed: int) -> tuple[Picture, Exactness]:
        # The LR picture of a JPEG is chosen with the picture.
        near = x if jpeg is not None else _corrected(x, target.y.double(), degradation, 1 / sr.white, seed)
        picture, exactness = target.to_picture(near)
        moved = (picture.pixels - pixels).double().abs()
        moved = moved if visible is None else moved[:, visible]
        rms, largest = float(moved.square().mean().sqrt()), float(moved.max())
        return picture, replace(exactness, moved_rms=rms, moved_max=largest)

    picture, exactness = attempt(0)
    for seed in range(1, 1 if jpeg is not None else _ATTEMPTS):
        if exactness.exact and exactness.moved_max <= _USUAL_MOVE * sr.white / 255:
            break
        other = attempt(seed)
        if _badness(other[1]) < _badness(exactness):
            picture, exactness = other
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


def _badness(exactness: Exactness) -> tuple[int, float]:
    return exactness.lr_values_wrong, exactness.moved_rms


def like(hr: Picture, lr: Picture) -> Picture:
    """An HR picture with the channels of its LR picture: grey or RGB, with alpha or without.

    Grey is the mean of the colours. Alpha is dropped where it says nothing, and that of `lr` enlarged where it is
    missing.

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


def pair_files(sr: Sequence[Path], lr: Path) -> dict[Path, Path]:
    """SR file → its LR file.

    Args:
        sr: image files, and folders of them.
        lr: one file, to which all SR files belong; or a folder. There an SR file belongs to the LR file whose stem its
            own begins with, the longest such, where the LR file's ending `x4`, `_x4` or `_LR` may be missing.

    Raises:
        ImageFileError: a folder without images.
        ValueError: an SR file without an LR file, two LR files that it may belong to.
    """
    files = image_files(sr)
    if not lr.is_dir():
        return dict.fromkeys(files, lr)
    keys: dict[str, list[Path]] = {}
    for path in image_files([lr]):
        stem = composed_stem(path)
        for key in {stem, _LR_ENDING.sub("", stem)}:
            keys.setdefault(key, []).append(path)
    return {path: _lr_file(path, keys, lr) for path in files}


def _lr_file(path: Path, keys: Mapping[str, list[Path]], folder: Path) -> Path:
    stem = composed_stem(path)
    fitting = [key for key in keys if belongs_to(stem, key)]
    if not fitting:
        raise ValueError(f"{one_line(path)}: no LR file for it in {one_line(folder)}: name both alike")
    candidates = keys[max(fitting, key=len)]
    if len(candidates) > 1:
        names = " and ".join(one_line(c.name) for c in candidates)
        raise ValueError(f"{one_line(path)}: {names} may both be its LR file: keep one in the folder")
    return candidates[0]


@dataclass(frozen=True)
class ProjectOptions:
    """How `project_files` works: see `project_picture`."""

    scale: int | None = None
    kernel: str = "bicubic"
    bits: int | str = "auto"
    rounding: str = "per-pass"
    overwrite: bool = False
    as_pixels: bool = False


def project_files(
    pairs: Mapping[Path, Path], folder: Path, options: ProjectOptions, progress: Progress, on_error: OnError
) -> Iterator[Report]:
    """`project_file` for each pair, into one folder that is made if missing; errors as in `upscale_files`."""

    def work(path: Path, _: Progress) -> Report:
        return project_file(path, pairs[path], folder, options)

    return _each(list(pairs), folder, _NO_OUTPUT, work, progress, on_error)


def project_file(sr: Path, lr: Path, folder: Path, options: ProjectOptions) -> Report:
    """Project one image file: out/photo.png for photo.png.

    An output that exists is kept if it holds the same image.

    Raises:
        ImageFileError: as `read_image`.
        ValueError: as `project_picture`.
        OutputError: as `write_image`, also where another image is there and ``overwrite`` is false, or the input.
    """
    source = read_source(lr, as_pixels=options.as_pixels)
    picture = read_image(sr, needed_per_pixel=_NEEDED)
    settings = options.scale, options.kernel, options.bits, options.rounding
    result = project_picture(picture, source.picture, *settings, source.jpeg)
    target = folder / f"{sr.stem}.png"
    if target.exists() and any(target.samefile(path) for path in (sr, lr)):
        raise OutputError(f"{one_line(target)}: would replace an input: give another folder for the outputs")
    kept = not options.overwrite and _holds(target, result.picture)
    if not kept:
        write_image(target, result.picture, overwrite=options.overwrite)
    key = "lr_values_wrong" if source.jpeg is None else "coefficients_wrong"
    return {
        "input": str(sr),
        "lr": str(lr),
        "output": str(target),
        f"{key}_before": result.wrong_before,
        **result.exactness.record(),
        "bits": result.picture.bits,
        "assumed": source.note,
        "kept": kept,
    }


def _size(picture: Picture) -> str:
    return f"{picture.size[1]}×{picture.size[0]}"
