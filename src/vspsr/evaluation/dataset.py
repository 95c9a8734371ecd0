"""The images of an evaluation: matching HR, LR and SR files, all checked before anything is computed.

HR images whose sides are no multiple of the scale are cropped to one at the bottom and the right, as the field does
("modcrop"). Grey HR images are compared as RGB with three equal channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vspsr.errors import size_text
from vspsr.evaluation.names import EvaluationError, Matched, match_files, unique_stems
from vspsr.images.folders import composed_stem, image_files
from vspsr.images.io import read_header, read_image
from vspsr.images.opening import sha256_of_image
from vspsr.images.picture import Header

Size = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """One image of an evaluation and its files.

    Attributes:
        stem: name of the HR file without suffix, in normal form NFC.
        hr: the HR file.
        size: (H, W) that is evaluated: the HR size cropped to a multiple of the scale.
        scale: s.
        bits: 8 or 16, of all its files.
        grey: whether the HR file has one channel.
        lr: the LR file; None: LR is made from HR.
        samples: SR files, in order; empty: they are made.
        mean: an SR file with the mean of the samples, where there is one.
    """

    stem: str
    hr: Path
    size: Size
    scale: int
    bits: int
    grey: bool
    lr: Path | None = None
    samples: tuple[Path, ...] = ()
    mean: Path | None = None

    @property
    def lr_size(self) -> Size:
        """(h, w)"""
        return self.size[0] // self.scale, self.size[1] // self.scale

    def digests(self) -> dict[str, str]:
        """Role and name → SHA-256 of the content, of all files there are. ImageFileError if one cannot be read."""
        roles = [("hr", self.hr), ("lr", self.lr), *(("sr", p) for p in (*self.samples, self.mean))]
        files = {f"{role}/{composed_stem(path)}{path.suffix}": path for role, path in roles if path is not None}
        return {name: sha256_of_image(path) for name, path in files.items()}


def find_pairs(
    hr: Path,
    scale: int,
    lr: Path | None = None,
    results: Path | None = None,
    n_samples: int | None = None,
    step: Callable[[str, int], None] = lambda _name, _advance: None,
) -> list[Pair]:
    """The images of an evaluation by stem, from the names and the headers of their files; no image is decoded.

    Args:
        hr, lr, results: folders of HR, LR and SR images (or one file each).
        n_samples: number of samples of each image that are used, from the first; None for all.
        step: called with (stem, images done) for a progress bar.

    Raises:
        EvaluationError: files that do not match in name, size, depth or colour.
        ImageFileError: a file cannot be read.
    """
    hr_files = unique_stems(_images(hr), "the HR image")
    stems = list(hr_files)
    lr_files = {} if lr is None else match_files(stems, _images(lr), "LR")
    sr_files = {} if results is None else match_files(stems, _images(results), "SR")
    for stem, matched in lr_files.items():
        if len(matched.samples) > 1:
            raise EvaluationError(f"{matched.samples[1]}: a second LR file for the HR image {stem}: keep one")
    pairs = []
    for stem, path in hr_files.items():
        step(stem, 0)
        samples = sr_files.get(stem, Matched())
        if results is not None and n_samples is not None:
            if len(samples.samples) < n_samples:
                raise EvaluationError(
                    f"{results}: `--samples` {n_samples}, but the HR image {stem} has {len(samples.samples)}"
                )
            samples = Matched(samples.samples[:n_samples], None)  # the mean is of all samples
        pairs.append(_checked(stem, path, scale, lr_files.get(stem), samples))
        step(stem, 1)
    return pairs


def read_integers(path: Path, pair: Pair) -> Tensor:
    """The evaluated upper left part of an image file: (3, H, W) int32; grey as three equal channels.

    Raises:
        ImageFileError: the file cannot be decoded.
        EvaluationError: the file has changed since its header was checked.
    """
    height, width = pair.size
    picture = read_image(path)
    if picture.bits != pair.bits or picture.size[0] < height or picture.size[1] < width:
        raise EvaluationError(f"{path}: has changed since it was checked: start again")
    return picture.pixels.expand(3, -1, -1)[:, :height, :width].contiguous()


def _images(folder: Path) -> list[Path]:
    """The image files of a folder."""
    if not folder.exists():
        raise EvaluationError(f"{folder}: no such folder")
    return image_files([folder])


def _checked(stem: str, path: Path, scale: int, lr: Matched | None, sr: Matched) -> Pair:
    """A pair, with all headers checked."""
    header = _header(path)
    height, width = (n // scale * scale for n in header.size)
    if min(height, width) < scale:
        raise EvaluationError(f"{path}: {size_text(header.size)} pixels are too few: {scale} on each side are needed")
    size = (height, width)
    pair = Pair(
        stem=stem,
        hr=path,
        size=size,
        scale=scale,
        bits=header.bits,
        grey=header.channels == 1,
        lr=None if lr is None else lr.samples[0],
        samples=tuple(sr.samples),
        mean=sr.mean,
    )
    if pair.lr is not None:
        _check_file(pair.lr, path, header, {pair.lr_size}, f"at scale {scale}, as `vspsr degrade --crop` makes it")
    for file in (*pair.samples, pair.mean):
        if file is not None:
            _check_file(file, path, header, {size, header.size}, "as HR")
    return pair


def _check_file(path: Path, hr_path: Path, hr: Header, sizes: set[Size], why: str) -> None:
    """EvaluationError where a file cannot be compared with its HR image."""
    header = _header(path)
    if header.size not in sizes:
        expected = " or ".join(size_text(size) for size in sorted(sizes))
        raise EvaluationError(
            f"{path}: {size_text(header.size)} pixels, expected {expected} {why} ({hr_path.name}: {size_text(hr.size)})"
        )
    if header.bits != hr.bits:
        raise EvaluationError(
            f"{path}: {header.bits} bits, but {hr_path.name} has {hr.bits}: they cannot be compared, convert one"
        )
    if header.channels < hr.channels:
        raise EvaluationError(f"{path}: grey, but {hr_path.name} is RGB: grey cannot be compared with colours")


def _header(path: Path) -> Header:
    """The header of an opaque image."""
    header = read_header(path)
    if header.alpha:
        picture = read_image(path)
        if picture.alpha is not None and not torch.all(picture.alpha == picture.white):
            raise EvaluationError(f"{path}: has transparent pixels, which no metric takes: flatten the image")
    return header
