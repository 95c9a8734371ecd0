"""Damage in image files: PNG's checksums, and faults that decoders report without stopping.

libvips' option `fail_on` is too lenient at "error" (half a JPEG with an end marker passes) and too strict at "warning"
(a TIFF with a badly written comment fails).
"""

import gc
import logging
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = {b"tEXt", b"zTXt", b"iTXt", b"tIME"}  # chunks that say nothing about the pixels
_JPEG = "VipsJpeg: "
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(d9|e[0-9a-f])|unknown JFIF revision|Unknown Adobe color transform"
)
_TIFF_FAULTS = re.compile(
    r"Corrupt JPEG data|[Pp]remature|Discarding \d+ bytes|Not enough data|Bad code|Line length mismatch|Invalid code|"
    "Uncompressed data"
)


@contextmanager
def decoder_warnings() -> Iterator[list[str]]:
    """Collect the warnings that libvips logs within the block, from any thread. Not for several threads at once.

    pyvips logs them from a callback of GLib's, and GLib ends the process where a second message is logged meanwhile. A
    garbage collection in the callback may do that, by freeing an image that was damaged, too: it waits.
    """
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pyvips")
    logger.addHandler(handler)
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield messages
    finally:
        if collecting:
            gc.enable()
        logger.removeHandler(handler)


def harmless_fault(error: str) -> str:
    """libjpeg's message if it concerns no pixels; empty for any other error."""
    faults = [line.removeprefix(_JPEG) for line in error.splitlines() if line.startswith(_JPEG)]
    return faults[0] if faults and all(_HARMLESS.search(fault) for fault in faults) else ""


def tiff_faults(messages: Iterable[str]) -> list[str]:
    """Those messages of TIFF's decoders that mean damaged pixels."""
    return [m.removeprefix("VIPS: ").removeprefix(_JPEG) for m in messages if _TIFF_FAULTS.search(m)]


def png_damage(file: BinaryIO) -> str:
    """What is wrong with a PNG file's chunks, except comments; empty if nothing is, and for other files."""
    file.seek(0)
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
        if struct.unpack(">I", stored)[0] != checksum and header[4:] not in _PNG_NOTES:
            return f"wrong checksum in chunk {header[4:].decode('latin-1')!r}"
        if header[4:] == b"IEND":
            return ""
