"""Upscaled image files of any origin, made to downscale to their LR files: pairs by name, outputs, reports."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vspsr.errors import VSpSRError
from vspsr.files import check_free, identities, keep_inputs, one_line
from vspsr.images import read_header, read_image
from vspsr.images.folders import belongs_to, composed_stem, image_files
from vspsr.images.sources import read_source
from vspsr.upscaling.comparison import DEGRADING
from vspsr.upscaling.folders import Report
from vspsr.upscaling.outputs import write_unless_there
from vspsr.upscaling.projecting import project_picture

_LR_ENDING = re.compile(r"(?<=.)(?:[_-]?x\d+|[_-](?:LR|LRBI))$", re.IGNORECASE)
_NEEDED = DEGRADING + 60  # bytes for each HR pixel: `quantize` holds several copies in float64


def pair_files(images: Sequence[Path]) -> dict[Path, Path]:
    """SR file → its LR file.

    Args:
        images: SR files, and folders of them; then a folder of LR files, or LR files. An SR file belongs to the LR file
            whose stem its own begins with, the longest such, where the LR file's ending `x4`, `_x4` or `_LR` may be
            missing. Of files, as few of the last are LR as this allows, with at least one SR file for each; where it
            allows none, all others belong to the last.

    Raises:
        ImageFileError: a folder without images.
        ValueError: fewer than two, an SR file without an LR file, two LR files that it may belong to, several LR files
            that do not belong to all others by name.
    """
    if len(images) < 2:
        raise ValueError("give upscaled images, or a folder of them, and then their LR images")
    *others, last = images
    files = image_files(others)
    if last.is_dir():
        return _by_name(files, image_files([last]), last)
    folders = [i for i, path in enumerate(others) if path.is_dir()]
    for n in range(min(len(others) - max(folders, default=-1) - 1, len(files) // 2) + 1):
        sr, lr = files[: len(files) - n], [*files[len(files) - n :], last]
        with suppress(ValueError):
            pairs = _by_name(sr, lr, last)
            if len(set(pairs.values())) == len(lr) and pairs.keys().isdisjoint(lr):
                return pairs
    height = _height(last)
    for path in files[1:]:  # what was meant as a further LR file
        if height is not None and (own := _height(path)) is not None and own <= height:
            text = f"{one_line(path)}: is no larger than {one_line(last)}: give one LR image for all, or one for each, "
            raise ValueError(text + "named as it is")
    return dict.fromkeys(files, last)


def _height(path: Path) -> int | None:
    """Of an image file; None if it is none, which is said when it is read."""
    try:
        return read_header(path, verify=False).size[0]
    except VSpSRError:
        return None


def _by_name(sr: Sequence[Path], lr: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """ValueError unless there is one LR file for each SR file."""
    keys: dict[str, list[Path]] = {}
    for path in lr:
        stem = composed_stem(path)
        for key in {stem, _LR_ENDING.sub("", stem)}:
            keys.setdefault(key, []).append(path)
    return {path: _lr_file(path, keys, folder) for path in sr}


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


def project_file(
    sr: Path, lr: Path, folder: Path, as_pixels: bool = False, overwrite: bool = False, **options: Any
) -> Report:
    """Project one image file: out/photo.png for photo.png.

    An output that exists is kept if it holds the same image.

    Args:
        folder: where to; must exist.
        as_pixels: as in `read_source`.
        overwrite: whether an output that exists is replaced.
        options: of `project_picture`.

    Raises:
        ImageFileError: as `read_image`.
        ValueError: as `project_picture`.
        OutputError: as `write_image`, also where another image is there and ``overwrite`` is false, or the input.
    """
    target = folder / f"{sr.stem}.png"
    with keep_inputs(identities((sr, lr))):
        check_free(target, overwrite=True)
    source = read_source(lr, as_pixels=as_pixels)
    picture = read_image(sr, needed_per_pixel=_NEEDED)
    result = project_picture(picture, source, **options)
    kept = write_unless_there(target, result.picture, overwrite)
    return {
        "input": str(sr),
        "lr": str(lr),
        "output": str(target),
        source.unit: source.n_values,
        f"{source.unit}_wrong_before": result.wrong_before,
        **result.exactness.record(),
        "bits": result.picture.bits,
        "assumed": source.assumed,
        "kept": kept,
    }
