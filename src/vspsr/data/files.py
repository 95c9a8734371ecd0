"""Which image files a data set has, how LR and HR files pair up, and which images are kept for validation.

Layouts of a data folder, tried in this order:

- `manifest.csv` with the columns `file` and `split` ("train" or "val"; other splits are left alone);
- NTIRE 2021: `DIV2K-tr_1X`, `DIV2K-tr_4X`, `DIV2K-va_1X`, … (LR by scale);
- DIV2K: `DIV2K_train_HR`, `DIV2K_train_LR_bicubic/X4` or `DIV2K_train_LR_x8`, `DIV2K_valid_HR`, …;
- any folder of photographs, subfolders included: every twentieth, by name, is kept for validation.

Pairs are matched by stem: `0801.png` belongs to `0801.png` or `0801x4.png`, never to what happens to sort alike.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vspsr.data.csv_tables import read_csv
from vspsr.errors import ImageFileError, size_text
from vspsr.images.folders import composed_stem, image_files
from vspsr.images.io import read_header

HOLDOUT = 20
"""Without a split, every twentieth image of a folder is kept for validation."""

_LARGEST_VALIDATION = 1 << 25  # pixels: validation uses whole images and some 500 bytes per pixel


@dataclass(frozen=True)
class ImagePair:
    """An HR image file, its size (height, width), and the LR file that goes with it, if LR is not made on the fly."""

    hr: Path
    size: tuple[int, int]
    lr: Path | None = None


@dataclass(frozen=True)
class ImageSet:
    """The images to train on, those to validate on, and one line for each file that was left out."""

    train: list[ImagePair]
    val: list[ImagePair]
    problems: list[str]


def find_images(
    folder: Path,
    scale: int,
    crop: int,
    lr_folder: Path | None = None,
    holdout: int = HOLDOUT,
) -> ImageSet:
    """The images of a data folder, in one of the layouts above.

    Args:
        folder: the data folder, or the HR folder where ``lr_folder`` is given.
        scale: s: HR sizes must be s times LR sizes (rounded up, as MATLAB's `imresize` has it).
        crop: LR pixels of a training crop: images that are smaller are left out. Of validation images, those of more
            than 33 million pixels are.
        lr_folder: LR files of a paired data set.
        holdout: without a split of its own, every ``holdout``-th image is kept for validation; 0 keeps none.

    Raises:
        ImageFileError: no such folder, no usable image in it, LR and HR that do not fit together.
    """
    for path in filter(None, (folder, lr_folder)):
        if not path.is_dir():
            raise ImageFileError(f"{path}: no such folder of training images")
    problems: list[str] = []
    train, val = _layout(folder, scale, lr_folder, holdout, problems)
    problems += [
        f"{p.hr}: {size_text(p.size)} pixels are more than {_LARGEST_VALIDATION}, too many to validate on: left out"
        for p in val
        if not _fits_validation(p)
    ]
    val = [pair for pair in val if _fits_validation(pair)]
    large = [pair for pair in train if min(pair.size) >= crop * scale]
    problems += [
        f"{p.hr}: {size_text(p.size)} pixels are fewer than a crop of {crop * scale}×{crop * scale}: left out"
        for p in train
        if min(p.size) < crop * scale
    ]
    if not large:
        reason = f"; first problem: {problems[0]}" if problems else ""
        raise ImageFileError(f"{folder}: no image to train on{reason}")
    return ImageSet(large, val, problems)


def pair_up(hr: Sequence[Path], lr: Sequence[Path], scale: int) -> list[tuple[Path, Path]]:
    """HR and LR files matched by stem, ignoring an ending "x4" (the scale) of LR stems.

    Raises:
        ImageFileError: a file without its partner, or two files of one stem.
    """
    by_stem: dict[str, Path] = {}
    for path in lr:
        stem = re.sub(rf"[xX]{scale}$", "", composed_stem(path))
        if by_stem.setdefault(stem, path) != path:
            raise ImageFileError(f"{path}: goes with the same HR image as {by_stem[stem]}")
    pairs = []
    for path in hr:
        partner = by_stem.pop(composed_stem(path), None)
        if partner is None:
            near = lr[0].parent if lr else "the LR folder"
            raise ImageFileError(f"{path}: no LR image {path.stem}* or {path.stem}x{scale}* in {near}")
        pairs.append((path, partner))
    if by_stem:
        stem, path = next(iter(by_stem.items()))
        raise ImageFileError(f"{path}: no HR image {stem}* in {hr[0].parent if hr else 'the HR folder'}")
    return pairs


def _layout(
    folder: Path, scale: int, lr_folder: Path | None, holdout: int, problems: list[str]
) -> tuple[list[ImagePair], list[ImagePair]]:
    if lr_folder is not None:
        return _split(_paired(folder, lr_folder, scale, problems), holdout)
    if (folder / "manifest.csv").is_file():
        rows = read_csv(folder / "manifest.csv", ("file", "split"), ImageFileError)
        splits = ([(folder / r["file"], None) for r in rows if r["split"] == split] for split in ("train", "val"))
        train, val = (_sized(files, scale, problems) for files in splits)
        return train, val
    kind = f"bicubic/X{scale}" if scale < 8 else f"x{scale}"
    for hr_name, lr_name, words in (
        ("DIV2K-{}_1X", f"DIV2K-{{}}_{scale}X", ("tr", "va")),
        ("DIV2K_{}_HR", f"DIV2K_{{}}_LR_{kind}", ("train", "valid")),
    ):
        if (folder / hr_name.format(words[0])).is_dir():
            sets = []
            for word in words:
                hr, lr = folder / hr_name.format(word), folder / lr_name.format(word)
                sets.append(_paired(hr, lr if lr.is_dir() else None, scale, problems) if hr.is_dir() else [])
            return sets[0], sets[1]
    return _split(_paired(folder, None, scale, problems), holdout)


def _split(pairs: list[ImagePair], holdout: int) -> tuple[list[ImagePair], list[ImagePair]]:
    candidates = [pair for pair in pairs if _fits_validation(pair)]
    if holdout <= 0 or len(pairs) < 2:
        return pairs, []
    val = candidates[min(holdout, len(candidates)) - 1 :: holdout]
    return [pair for pair in pairs if pair not in val], val


def _fits_validation(pair: ImagePair) -> bool:
    return math.prod(pair.size) <= _LARGEST_VALIDATION


def _paired(hr: Path, lr: Path | None, scale: int, problems: list[str]) -> list[ImagePair]:
    files = image_files([hr], recursive=True)
    if lr is None:
        return _sized([(file, None) for file in files], scale, problems)
    return _sized(pair_up(files, image_files([lr], recursive=True), scale), scale, problems)


def _sized(pairs: Sequence[tuple[Path, Path | None]], scale: int, problems: list[str]) -> list[ImagePair]:
    """Pairs of HR and LR files, with sizes. Files that are no images are left out and reported; misfits are refused."""
    sized = []
    for hr, lr in pairs:
        try:
            size = read_header(hr, verify=False).size
            lr_size = None if lr is None else read_header(lr, verify=False).size
        except ImageFileError as error:
            problems.append(f"{error}: left out")
            continue
        if lr_size is not None and lr_size != (-(-size[0] // scale), -(-size[1] // scale)):
            raise ImageFileError(
                f"{lr}: {size_text(lr_size)} pixels are not {hr} ({size_text(size)}) downscaled by {scale}"
            )
        sized.append(ImagePair(hr, size, lr))
    return sized
