"""Which files of a folder are images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vspsr.errors import ImageFileError

__all__ = ["SUFFIXES", "image_files"]

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".webp",
    ".tif",
    ".tiff",
    ".avif",
    ".heif",
    ".heic",
    ".gif",
    ".bmp",
}
"""Files of a folder that are taken for images; a file that is named itself may have any suffix."""


def image_files(inputs: Sequence[Path]) -> Iterator[Path]:
    """The files named, and the image files in the folders named (not in their subfolders), by name.

    Raises:
        ImageFileError: a folder with no image in it.
    """
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise ImageFileError(f"{path}: no image files in this folder")
            yield from found
        else:
            yield path
