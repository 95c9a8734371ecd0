"""Bytes of the blocks that image files carry beside their pixels, where libvips leaves them to its caller.

TIFF directories (which EXIF blocks are, too), the orientation inside EXIF and XMP, IPTC inside Photoshop's
resource blocks; and the checksums of PNG's chunks. Pure functions of bytes; damaged blocks come back unchanged or as
nothing, never as an error. Blocks have libvips' names: `BLOCKS`.
"""

import io
import re
import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

__all__ = [
    "BLOCKS",
    "TIFF_PALETTE",
    "carried_over",
    "iptc_records",
    "photoshop_block",
    "png_damage",
    "tiff_colours",
    "unsupported_tiff",
    "upright_exif",
    "upright_xmp",
]

BLOCKS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data", "photoshop-data")
TIFF_PALETTE = 3  # this and the next lines: kinds of colour, in TIFF's numbers
_YCBCR = 6
_SUPPORTED = {0, 1, 2, TIFF_PALETTE, 5}  # grey (two ways), RGB, palette, CMYK
_OTHERS = {4: "a mask", _YCBCR: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab", 32803: "raw camera data"}
_JPEG = 7  # the compression whose decoder undoes YCbCr
_PHOTOMETRIC, _COMPRESSION, _ORIENTATION = 262, 259, 274
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF's type codes of integers that fit in 32 bits
_MOST_TAGS = 4096  # far above any real directory: bounds the work on a damaged file
_EXIF_PREFIX = b"Exif\0\0"
_PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404
_PNG = b"\x89PNG\r\n\x1a\n"


class _Tag(NamedTuple):
    """The first value of an integer tag, its `struct` format and its position from the start of the file."""

    value: int
    format: str
    position: int


def _tiff_tags(file: BinaryIO) -> dict[int, _Tag]:
    """Read the integer tags of the first directory of a TIFF or BigTIFF file; {} for anything else."""
    file.seek(0)
    header = file.read(16).ljust(16, b"\0")
    order = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}.get(header[:4])
    if order is None:
        return {}
    big = b"+" in header[:4]
    count_format, entry_size, value_at = ("Q", 20, 12) if big else ("H", 12, 8)
    (directory,) = struct.unpack_from(order + ("Q" if big else "I"), header, 8 if big else 4)
    position = directory + struct.calcsize(count_format)
    tags: dict[int, _Tag] = {}
    try:
        file.seek(directory)
    except (OSError, OverflowError):  # far beyond any file's end
        return tags
    count = int.from_bytes(file.read(position - directory), "little" if order == "<" else "big")
    for _ in range(min(count, _MOST_TAGS)):
        entry = file.read(entry_size)
        if len(entry) < entry_size:
            break
        tag, kind = struct.unpack(order + "HH", entry[:4])
        if kind in _INTEGERS:
            (value,) = struct.unpack_from(order + _INTEGERS[kind], entry, value_at)
            tags[tag] = _Tag(value, order + _INTEGERS[kind], position + value_at)
        position += entry_size
    return tags


def tiff_colours(file: BinaryIO) -> tuple[int | None, int | None]:
    """What the numbers of a TIFF file's first page mean (tag 262), and how they are compressed (tag 259)."""
    tags = _tiff_tags(file)
    photometric, compression = tags.get(_PHOTOMETRIC), tags.get(_COMPRESSION)
    return photometric and photometric.value, compression and compression.value


def unsupported_tiff(colours: int | None, compression: int | None) -> str:
    """Say in words why a TIFF file cannot be used; empty where nothing speaks against it or it is no TIFF."""
    if colours is None or colours in _SUPPORTED:
        return ""
    if colours == _YCBCR and compression == _JPEG:  # libvips takes YCbCr without JPEG for RGB
        return ""
    held = _OTHERS.get(colours, f"colours of TIFF's kind {colours}")
    return f"holds {held}; grey, RGB, palette and CMYK are supported"


def carried_over(blocks: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of the blocks of a file whose pixels have been turned upright, what goes along with the pixels.

    Profile, EXIF and XMP, with the orientation that they state set to upright, and bare IPTC records.
    """
    kept = {name: blocks[name] for name in BLOCKS[:3] if name in blocks}
    for name, upright in (("exif-data", upright_exif), ("xmp-data", upright_xmp)):
        if name in kept:
            kept[name] = upright(kept[name])
    for name in ("photoshop-data", "iptc-data"):  # where TIFF and JPEG have IPTC
        if records := iptc_records(blocks.get(name, b"")):
            kept["iptc-data"] = records
    return kept


def upright_exif(exif: bytes) -> bytes:
    """Set the orientation in an EXIF block to 1 (upright); all other bytes stay."""
    start = len(_EXIF_PREFIX) if exif.startswith(_EXIF_PREFIX) else 0
    orientation = _tiff_tags(io.BytesIO(exif[start:])).get(_ORIENTATION)
    if orientation is None:
        return exif
    block = bytearray(exif)
    struct.pack_into(orientation.format, block, start + orientation.position, 1)
    return bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """Set the orientation in an XMP block to 1 (upright); all other bytes stay."""
    return re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)


def iptc_records(block: bytes) -> bytes | None:
    """Find the IPTC records among Photoshop's resources (JPEG's APP13, TIFF's tag 34377), if there are."""
    position = len(_PHOTOSHOP_PREFIX) if block.startswith(_PHOTOSHOP_PREFIX) else 0
    while block[position : position + 4] == b"8BIM" and position + 12 <= len(block):
        resource = int.from_bytes(block[position + 4 : position + 6], "big")
        name_size = (block[position + 6] + 2) & ~1  # a length byte and the name, padded to an even size
        start = position + 6 + name_size + 4
        size = int.from_bytes(block[start - 4 : start], "big")
        if resource == _IPTC_RESOURCE:
            return block[start : start + size] if start + size <= len(block) else None
        position = start + size + size % 2
    return None


def photoshop_block(records: bytes) -> bytes:
    """Wrap IPTC records as TIFF's tag 34377 wants them: one nameless resource, padded to an even size."""
    head = b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big") + b"\0\0" + len(records).to_bytes(4, "big")
    return head + records + b"\0" * (len(records) % 2)


def png_damage(file: BinaryIO) -> str:
    """Say what is wrong with the chunks of a PNG file; empty where all are whole, and for other files."""
    if file.read(8) != _PNG:
        return ""
    while True:
        header = file.read(8)
        if len(header) < 8:
            return "its end is missing"
        (length,) = struct.unpack(">I", header[:4])
        checksum = zlib.crc32(header[4:])
        while length and (part := file.read(min(length, 1 << 20))):
            checksum, length = zlib.crc32(part, checksum), length - len(part)
        if length or len(stored := file.read(4)) < 4:
            return "its end is missing"
        if struct.unpack(">I", stored)[0] != checksum:
            return f"wrong checksum in chunk {header[4:].decode('latin-1')!r}"
        if header[4:] == b"IEND":
            return ""
