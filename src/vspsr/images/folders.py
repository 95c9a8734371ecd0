"""Which files of a folder are images. Every command that takes a folder uses this module."""

import re
import sys
import unicodedata
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from vspsr.errors import ImageFileError, ImageFileWarning
from vspsr.files import one_line, reason_of

# fmt: off
SUFFIXES = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".tif", ".tiff", ".avif", ".heif", ".heic",
    ".hif", ".gif", ".bmp",
}
"""Suffixes of the images in a folder, in lower case. A file given by name may have any suffix."""

_UNSUPPORTED = {
    ".arw", ".cr2", ".cr3", ".dds", ".dib", ".dng", ".exr", ".hdr", ".ico", ".j2k", ".jp2", ".jpx", ".jxl", ".mpo",
    ".nef", ".orf", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".psb", ".psd", ".qoi", ".raf", ".rw2", ".svg",
    ".tga", ".xcf",
}
"""Suffixes of images in unsupported formats: left out, with a warning that names them."""
# fmt: on
_SHOWN = 5  # names of files left out


def image_files(inputs: Sequence[Path], recursive: bool = False, keep_unreadable: bool = False) -> list[Path]:
    """The given files, and the image files of the given folders, sorted by path within each folder.

    Hidden files are ignored, among them the `._*` files that macOS writes to other file systems. An ImageFileWarning
    names the files that look like images and are left out.

    Args:
        inputs: files, which are not checked, and folders.
        recursive: whether to search subfolders too, also those behind symbolic links; each folder is searched once.
            Hidden folders are ignored.
        keep_unreadable: whether folders that cannot be read are among what is returned, instead of an error.

    Raises:
        ImageFileError: a folder cannot be read, or has no image in it.
    """
    files: list[Path] = []
    for path in inputs:
        files += _images_in(path, recursive, keep_unreadable) if path.is_dir() else [path]
    return files


def _images_in(top: Path, recursive: bool, keep_unreadable: bool) -> list[Path]:
    unreadable: list[Path] = []
    try:
        entries = list(_visible(top, recursive, unreadable if keep_unreadable else None))
        like_images = {p for p in entries if p.suffix.lower() in SUFFIXES | _UNSUPPORTED and not p.is_dir()}
        images = {p for p in like_images if p.suffix.lower() in SUFFIXES and p.is_file()}
    except OSError as error:
        raise ImageFileError(f"{one_line(error.filename or top)}: cannot be read ({reason_of(error)})") from error
    if left_out := [str(p.relative_to(top)) for p in sorted(like_images - images)]:
        shown = ", ".join(left_out[:_SHOWN]) + (f" and {len(left_out) - _SHOWN} more" if left_out[_SHOWN:] else "")
        text = f"{top}: left out, not a file of a supported image format: {shown}"
        warnings.warn(one_line(text), ImageFileWarning, stacklevel=3)
    if not images and not unreadable:
        raise ImageFileError(f"{one_line(top)}: no image files in this folder")
    return sorted([*images, *unreadable])


def _visible(top: Path, recursive: bool, unreadable: list[Path] | None) -> Iterator[Path]:
    """The entries of a folder, or of it and all folders below, that are not hidden.

    Folders that cannot be read are added to ``unreadable``; if that is None, they are an OSError.

    Links are followed last, so that they do not change the paths of other files.
    """
    seen: set[tuple[int, int]] = set()
    waiting = deque([top])
    while waiting:
        folder = waiting.popleft()
        try:
            status = folder.stat()
            if (key := (status.st_dev, status.st_ino)) in seen:  # a link may lead to a folder above it
                continue
            seen.add(key)
            entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
            for entry in entries[:1]:
                entry.lstat()  # an error where names can be listed, but nothing be opened
            inside = [p for p in entries if p.is_dir()] if recursive else []
        except OSError:
            if unreadable is None:
                raise
            unreadable.append(folder)
            continue
        yield from entries
        waiting.extendleft(p for p in inside if not p.is_symlink())
        waiting.extend(p for p in inside if p.is_symlink())


def composed_stem(path: Path) -> str:
    """A file's stem in composed Unicode (NFC), for comparisons: macOS decomposes the names of its files."""
    return unicodedata.normalize("NFC", path.stem)


def name_key(stem: str) -> str:
    """Equal where file systems take two names for one: by Unicode's forms, on some also by letter case."""
    stem = unicodedata.normalize("NFC", stem)
    return stem.casefold() if sys.platform in ("darwin", "win32") else stem


def belongs_to(stem: str, key: str) -> bool:
    """Whether a file's stem begins with a key, and goes on with nothing, a scale (`x4`) or a separator."""
    return stem.startswith(key) and re.fullmatch(r"|x\d+.*|[_. -].*", stem[len(key) :]) is not None
