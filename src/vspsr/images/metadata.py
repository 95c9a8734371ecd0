"""Metadata blocks of image files, as far as libvips does not handle them.

TIFF directories (EXIF blocks are such, too), the orientation in EXIF and XMP, IPTC in Photoshop's resource blocks, and
the sizes in pixels that XMP and IPTC state. Pure functions of bytes; damaged blocks are returned unchanged or dropped,
they are never an error. Blocks have libvips' names: `BLOCKS`.
"""

import io
import re
import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import BinaryIO, NamedTuple

BLOCKS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data", "photoshop-data")
TIFF_PALETTE = 3  # this and the next lines: TIFF's numbers of kinds of colour
_YCBCR = 6
_CHANNELS = {0: 1, 1: 1, 2: 3, TIFF_PALETTE: 1, 5: 4, _YCBCR: 3}  # grey (two ways), RGB, palette, CMYK
_OTHERS = {4: "a mask", _YCBCR: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab", 32803: "raw camera data"}
_JPEG = 7  # the compression whose decoder undoes YCbCr
_PHOTOMETRIC, _COMPRESSION, _ORIENTATION, _SAMPLES, _EXTRA = 262, 259, 274, 277, 338
_ALPHA = {1, 2}  # extra samples: alpha, premultiplied or not
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "B", 8: "H", 9: "I", 13: "I"}
"""TIFF's type codes of integers that fit in 32 bits; of what is read here, none is negative."""

_MOST_TAGS = 4096  # far above any real directory: bounds the work on a damaged file
_PROFILE_HEADER = 132  # bytes, with the number of tags
_EXIF_PREFIX = b"Exif\0\0"
PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"  # of Photoshop's resources in JPEG's APP13
_IPTC_RESOURCE = 0x0404
_WIDTHS = ("exif:PixelXDimension", "tiff:ImageWidth")
_HEIGHTS = ("exif:PixelYDimension", "tiff:ImageLength")
_PANORAMA_WIDTHS = (  # the first is that of the picture
    "GPano:CroppedAreaImageWidthPixels",
    "GPano:FullPanoWidthPixels",
    "GPano:CroppedAreaLeftPixels",
    "GPano:LargestValidInteriorRectLeft",
    "GPano:LargestValidInteriorRectWidth",
)
_PANORAMA_HEIGHTS = tuple(tag.replace("Width", "Height").replace("Left", "Top") for tag in _PANORAMA_WIDTHS)
_PLACES = (  # in pixels of the old picture
    "exif:SubjectArea",
    "exif:SubjectLocation",
    "exif:FocalPlaneXResolution",
    "exif:FocalPlaneYResolution",
    "mwg-rs:AppliedToDimensions",
)
UNSTATED = 1.0
"""The resolution that libvips gives PNG, WebP and AVIF files which state none, in pixels per millimetre."""


class _Tag(NamedTuple):
    """An integer tag, its first value, its `struct` format and its position from the start of the file."""

    tag: int
    value: int
    format: str
    position: int


def _tiff_tags(file: BinaryIO) -> list[_Tag] | None:
    """Read the integer tags of the first directory of a TIFF or BigTIFF file; None for anything else."""
    file.seek(0)
    header = file.read(16).ljust(16, b"\0")
    order = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}.get(header[:4])
    if order is None:
        return None
    big = b"+" in header[:4]
    count_format, entry_size, value_at = ("Q", 20, 12) if big else ("H", 12, 8)
    (directory,) = struct.unpack_from(order + ("Q" if big else "I"), header, 8 if big else 4)
    position = directory + struct.calcsize(count_format)
    tags: list[_Tag] = []
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
            tags.append(_Tag(tag, value, order + _INTEGERS[kind], position + value_at))
        position += entry_size
    return tags


class TiffColours(NamedTuple):
    """What a TIFF file states about the bands of its first page, in TIFF's numbers; None where it states nothing."""

    photometric: int | None
    compression: int | None
    samples: int | None
    extra: int | None


def tiff_colours(file: BinaryIO) -> TiffColours | None:
    """What the bands of a TIFF file's first page mean; None for any other file."""
    tags = _tiff_tags(file)
    if tags is None:
        return None
    values = {tag.tag: tag.value for tag in tags}
    return TiffColours(*(values.get(t) for t in (_PHOTOMETRIC, _COMPRESSION, _SAMPLES, _EXTRA)))


def unsupported_tiff(tiff: TiffColours) -> str:
    """Why a TIFF file cannot be used, by its tags; empty if it can."""
    colours, channels = tiff.photometric, 1 if (tiff.samples or 1) < 3 else 3
    if colours is not None:
        if colours not in _CHANNELS or (colours == _YCBCR and tiff.compression != _JPEG):  # libvips takes it for RGB
            held = _OTHERS.get(colours, f"colours of TIFF's kind {colours}")
            return f"holds {held}; grey, RGB, palette and CMYK are supported"
        channels = _CHANNELS[colours]
    if tiff.samples == channels + 1 and tiff.extra not in _ALPHA:
        return (
            f"holds {tiff.samples} bands, of which the last is not called alpha (near infrared, say): "
            f"keep {channels}, or declare it as alpha"
        )
    return ""


def carried_over(blocks: Mapping[str, bytes]) -> dict[str, bytes]:
    """The blocks that are kept of a file whose pixels have been turned upright.

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


def whole_profile(profile: bytes) -> bytes:
    """A colour profile up to the end that it states; empty if it is cut short, or if PNG does not take its length."""
    stated = int.from_bytes(profile[:4], "big")
    sound = _PROFILE_HEADER <= stated <= len(profile) and (profile[8] < 4 or stated % 4 == 0)
    return profile[:stated] if sound else b""


def upright_exif(exif: bytes) -> bytes:
    """Set the orientation in an EXIF block to 1 (upright), wherever it stands; all other bytes stay."""
    start = len(_EXIF_PREFIX) if exif.startswith(_EXIF_PREFIX) else 0
    block = bytearray(exif)
    for tag in _tiff_tags(io.BytesIO(exif[start:])) or ():
        if tag.tag == _ORIENTATION:
            struct.pack_into(tag.format, block, start + tag.position, 1)
    return bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """Set the orientation in an XMP block to 1 (upright); all other bytes stay."""
    return re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)


def resized_xmp(xmp: bytes, height: int, width: int) -> bytes:
    """Set the picture's size in an XMP block.

    Sizes and positions in a panorama are scaled with the picture, or dropped if its old size is not stated. Thumbnails
    are dropped, and so are positions in pixels if the size has changed. All else stays.
    """
    out = _without(xmp, "xmp:Thumbnails")
    for size, tags, panorama in ((width, _WIDTHS, _PANORAMA_WIDTHS), (height, _HEIGHTS, _PANORAMA_HEIGHTS)):
        part = _stated(panorama[0]).search(out)
        stated = int(part["value"]) if part else 0
        for tag in tags:
            out = _stated(tag).sub(rb"\g<head>%d" % size, out)
        for tag in panorama:
            out = _scaled(out, tag, Fraction(size, stated)) if stated else _without(out, tag)
    if out != xmp:
        for tag in _PLACES:
            out = _without(out, tag)
    return out


def with_print_size_kept(metadata: Mapping[str, bytes | str | float], scale: int) -> dict[str, bytes | str | float]:
    """The metadata of a picture that is enlarged by ``scale`` and keeps its size on paper.

    The resolution is multiplied, if there is one. That in EXIF follows when the file is written; that in XMP is
    dropped.
    """
    made = dict(metadata)
    for field in ("xres", "yres"):
        if isinstance(value := made.get(field), int | float) and value != UNSTATED:
            made[field] = scale * value
    if isinstance(xmp := made.get("xmp-data"), bytes):
        for tag in ("tiff:XResolution", "tiff:YResolution"):
            xmp = _without(xmp, tag)
        made["xmp-data"] = xmp
    return made


def _stated(tag: str) -> re.Pattern[bytes]:
    """Pattern of an integer property of XMP, as an attribute or an element."""
    return re.compile(rb"(?P<head>\b%s\s*(?:=\s*[\"']|>)\s*)(?P<value>\d{1,9})(?!\d)" % tag.encode())


def _scaled(xmp: bytes, tag: str, factor: Fraction) -> bytes:
    return _stated(tag).sub(lambda m: m["head"] + b"%d" % round(int(m["value"]) * factor), xmp)


def _without(xmp: bytes, tag: str) -> bytes:
    """XMP without a property, as an attribute or an element."""
    name = tag.encode()
    out = re.sub(rb"\s+%s\s*=\s*(?:\"[^\"]*\"|'[^']*')" % name, b"", xmp)
    return re.sub(rb"<%s\b[^>]*(?:/>|(?<!/)>.*?</%s\s*>)" % (name, name), b"", out, flags=re.DOTALL)


def sizeless_iptc(records: bytes) -> bytes:
    """IPTC without the records that describe pixels (3) and the preview (2:200 to 2:202)."""
    kept, position = b"", 0
    while records[position : position + 1] == b"\x1c" and position + 5 <= len(records):
        record, dataset, size = struct.unpack_from(">BBH", records, position + 1)
        if size & 0x8000:  # the length of the length: longer than 32 KiB
            break
        end = position + 5 + size
        if record != 3 and (record, dataset) not in ((2, 200), (2, 201), (2, 202)):
            kept += records[position:end]
        position = end
    return kept + records[position:]


def iptc_records(block: bytes) -> bytes | None:
    """Find the IPTC records among Photoshop's resources (JPEG's APP13, TIFF's tag 34377), if there are any."""
    position = len(PHOTOSHOP_PREFIX) if block.startswith(PHOTOSHOP_PREFIX) else 0
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
    """Wrap IPTC records as TIFF's tag 34377 requires: one nameless resource, padded to an even size."""
    head = b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big") + b"\0\0" + len(records).to_bytes(4, "big")
    return head + records + b"\0" * (len(records) % 2)
