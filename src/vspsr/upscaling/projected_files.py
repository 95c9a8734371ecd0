"""Upscaled image files of any origin, made to downscale to their LR files: pairs by name, outputs, reports."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vspsr.errors import OutputError
from vspsr.files import one_line
from vspsr.images import read_image
from vspsr.images.folders import belongs_to, composed_stem, image_files
from vspsr.images.sources import read_source
from vspsr.upscaling.comparison import DEGRADING
from vspsr.upscaling.folders import Report, write_unless_there
from vspsr.upscaling.projecting import project_picture

_LR_ENDING = re.compile(r"(?<=.)(?:[_-]?x\d+|[_-](?:LR|LRBI))$", re.IGNORECASE)
_NEEDED = DEGRADING + 60  # bytes for each HR pixel: `quantize` holds several copies in float64


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
    if target.exists() and any(path.exists() and target.samefile(path) for path in (sr, lr)):
        raise OutputError(f"{one_line(target)}: would replace an input: give another folder for the outputs")
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
