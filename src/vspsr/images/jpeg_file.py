"""The quantised coefficients of a JPEG file, without decoding it to pixels.

libvips and Pillow do not give them, so the markers are read here and the scans in `jpeg_scans`: sequential and
progressive Huffman coding, 8 bits, grey or YCbCr (ITU-T T.81 and T.871).
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.errors import ImageFileError
from vspsr.images.io import read_header
from vspsr.images.jpeg_scans import ZIGZAG, HuffmanTable, Scan, decode_scan
from vspsr.images.opening import ImageFile, name_of, open_file

_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_PROGRESSIVE = 0xC2
_DHT, _SOS, _DQT, _DRI, _EOI, _DNL, _APP14 = 0xC4, 0xDA, 0xDB, 0xDD, 0xD9, 0xDC, 0xEE
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
_END_OF_SCAN = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")


class _UnsupportedError(Exception):
    """Why the coefficients of a file that may well be decoded are not read."""


@dataclass
class _Component:
    identifier: int
    vertical: int
    horizontal: int
    table: int
    blocks: tuple[int, int] = (0, 0)
    padded: tuple[int, int] = (0, 0)  # whole MCUs
    start: int = 0
    steps: np.ndarray | None = None


@dataclass
class _State:
    """What has been read so far."""

    progressive: bool = False
    size: tuple[int, int] = (0, 0)
    sampling: tuple[int, int] = (1, 1)
    components: list[_Component] = field(default_factory=list)
    out: "array[int]" = field(default_factory=lambda: array("h"))
    tables: dict[int, np.ndarray] = field(default_factory=dict)
    huffman: dict[int, HuffmanTable] = field(default_factory=dict)
    restart: int = 0
    transform: int | None = None


def jpeg_coefficients(path: ImageFile) -> JpegCoefficients:
    """Read the quantised coefficients, tables and subsampling of a JPEG file.

    Args:
        path: a JPEG file, whatever its suffix, or its content. Read it with `read_image` first, which refuses what is
            too large for the memory or damaged.

    Raises:
        ImageFileError: the file is missing, no JPEG, damaged or cut short, or its coefficients cannot be used: CMYK,
            RGB, 12 bits, arithmetic coding, lossless, uneven subsampling. One line that begins with `path`.
    """
    name = name_of(path)
    try:
        with open_file(path) as file:
            code = read_coefficients(file.read())
    except _UnsupportedError as error:
        raise ImageFileError(f"{name}: its JPEG coefficients cannot be used: {error}") from error
    except ValueError as error:
        raise ImageFileError(f"{name}: damaged or cut short ({error})") from error
    # As libvips turns the pixels: readers of EXIF disagree on odd blocks.
    return replace(code, orientation=read_header(path, verify=False).orientation)


def read_coefficients(data: bytes) -> JpegCoefficients:
    """`jpeg_coefficients` of a file's content, its orientation left out. ValueError where it is damaged."""
    state = _State()
    for marker, segment, entropy in _segments(data):
        if marker in _SOF:
            _read_frame(state, marker, segment, len(data))
        elif marker == _DQT:
            _read_tables(state, segment)
        elif marker == _DHT:
            _read_huffman(state, segment)
        elif marker == _DRI:
            state.restart = int.from_bytes(segment[:2], "big")
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            state.transform = segment[11]
        elif marker == _DNL:
            raise _UnsupportedError("its height follows its pixels")
        elif marker == _SOS:
            _read_scan(state, segment, entropy)
    return _result(state)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(marker, its segment, the entropy-coded data that follow)."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG file")
    position = 2
    while True:
        found = re.compile(rb"\xff+([\x01-\xfe])").search(data, position)
        if not found:
            raise ValueError("its end is missing")
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            return
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if length < 2 or len(segment) != length - 2:
            raise ValueError("a segment is cut short")
        position += length
        entropy = b""
        if marker == _SOS:
            end = _END_OF_SCAN.search(data, position)
            if not end:
                raise ValueError("its end is missing")
            entropy, position = data[position : end.start()], end.start()
        yield marker, segment, entropy


def _read_frame(state: _State, marker: int, segment: bytes, length: int) -> None:
    if marker not in _HUFFMAN:
        raise _UnsupportedError("arithmetic coding" if marker > 0xC8 else "it is lossless or hierarchical")
    if state.components or len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise ValueError("its frame is damaged")
    if segment[0] != 8:
        raise _UnsupportedError(f"{segment[0]} bits; 8 are supported")
    count = segment[5]
    if count not in (1, 3):
        raise _UnsupportedError("CMYK" if count == 4 else f"{count} components")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    if not height or not width:
        raise _UnsupportedError("its height follows its pixels")
    triples = (segment[k : k + 3] for k in range(6, 6 + 3 * count, 3))
    parts = [_Component(i, f & 15, f >> 4, t) for i, f, t in triples]
    if any(not 1 <= f <= 4 for c in parts for f in (c.vertical, c.horizontal)):
        raise ValueError("its frame is damaged")
    if count == 1:
        parts[0].vertical = parts[0].horizontal = 1  # they have no meaning
    y, cb, cr = ((c.vertical, c.horizontal) for c in (parts[0], parts[count // 2], parts[-1]))
    if cb != cr or y[0] % cb[0] or y[1] % cb[1]:
        raise _UnsupportedError("its colours are subsampled unevenly")
    state.sampling = (y[0] // cb[0], y[1] // cb[1])
    top, left = max(c.vertical for c in parts), max(c.horizontal for c in parts)
    start = 0
    for c in parts:
        mcus = (-(-height // (8 * top)), -(-width // (8 * left)))
        c.blocks = (-(-height * c.vertical // (8 * top)), -(-width * c.horizontal // (8 * left)))
        c.padded, c.start = (mcus[0] * c.vertical, mcus[1] * c.horizontal), start
        start += 64 * c.padded[0] * c.padded[1]
    if start // 64 > 8 * length + 64:  # each block takes a bit at least
        raise ValueError("its coefficients end too early")
    state.progressive, state.size, state.components = marker == _PROGRESSIVE, (height, width), parts
    state.out = array("h", bytes(2 * start))


def _read_tables(state: _State, segment: bytes) -> None:
    position = 0
    while position < len(segment):
        wide, number = segment[position] >> 4, segment[position] & 15
        values = segment[position + 1 : position + 1 + (128 if wide else 64)]
        position += 1 + (128 if wide else 64)
        steps = np.frombuffer(values, ">u2" if wide else np.uint8)
        if len(steps) != 64 or not steps.all():
            raise ValueError("a quantisation table is damaged")
        table = np.zeros(64, np.int32)
        table[ZIGZAG] = steps
        state.tables[number] = table.reshape(8, 8)


def _read_huffman(state: _State, segment: bytes) -> None:
    position = 0
    while position < len(segment):
        counts = tuple(segment[position + 1 : position + 17])
        symbols = segment[position + 17 : position + 17 + sum(counts)]
        if len(counts) != 16 or len(symbols) != sum(counts):
            raise ValueError("a Huffman table is damaged")
        state.huffman[segment[position]] = (counts, symbols)  # 0 … 3 DC, 16 … 19 AC
        position += 17 + len(symbols)


def _read_scan(state: _State, segment: bytes, entropy: bytes) -> None:
    count = segment[0] if segment else 0
    known = {c.identifier: i for i, c in enumerate(state.components)}
    if not 1 <= count <= 3 or len(segment) != 4 + 2 * count or any(i not in known for i in segment[1 : 2 * count : 2]):
        raise ValueError("a scan is damaged")
    chosen = [known[i] for i in segment[1 : 2 * count : 2]]
    first, last, approximation = segment[-3:]
    if not state.progressive:
        first, last, approximation = 0, 63, 0
    elif not (last == 0 if first == 0 else first <= last <= 63 and count == 1) or (approximation & 15) > 13:
        raise ValueError("a scan is damaged")
    dc: list[HuffmanTable | None] = [None] * 3
    ac: list[HuffmanTable | None] = [None] * 3
    for i, numbers in zip(chosen, segment[2 : 2 * count + 1 : 2], strict=True):
        dc[i], ac[i] = state.huffman.get(numbers >> 4), state.huffman.get(16 + (numbers & 15))
        component = state.components[i]
        if component.steps is None:
            if component.table not in state.tables:
                raise ValueError("a quantisation table is missing")
            component.steps = state.tables[component.table]
    offsets, pattern = _order(state.components, chosen)
    scan = Scan(offsets, pattern, dc, ac, first, last, approximation >> 4, approximation & 15, state.progressive)
    parts = [part.replace(b"\xff\x00", b"\xff") for part in _RESTART.split(entropy)]
    decode_scan(scan, parts, state.restart, state.out)


def _order(components: Sequence[_Component], chosen: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where each block of a scan begins, in the order of the scan; and the component of each block of an MCU."""
    alone = len(chosen) == 1  # not interleaved: without the blocks that fill up MCUs
    parts, pattern = [], []
    for i in chosen:
        c = components[i]
        numbers = np.arange(c.padded[0] * c.padded[1]).reshape(c.padded)
        down, across = c.vertical, c.horizontal
        if alone:
            numbers, down, across = numbers[: c.blocks[0], : c.blocks[1]], 1, 1
        mcus = numbers.reshape(len(numbers) // down, down, -1, across).transpose(0, 2, 1, 3)
        parts.append(c.start + 64 * mcus.reshape(-1, down * across))
        pattern += [i] * (down * across)
    return np.concatenate(parts, 1).ravel().tolist(), pattern


def _result(state: _State) -> JpegCoefficients:
    components = state.components
    if not components or any(c.steps is None for c in components):
        raise ValueError("a component is missing")
    rgb = state.transform == 0 or (state.transform is None and bytes(c.identifier for c in components) == b"RGB")
    if len(components) == 3 and rgb:
        raise _UnsupportedError("its colours are RGB, not YCbCr")
    values = np.frombuffer(state.out, np.int16)
    coefficients, tables = [], []
    for c in components:
        blocks = values[c.start : c.start + 64 * c.padded[0] * c.padded[1]].reshape(*c.padded, 8, 8)
        coefficients.append(torch.from_numpy(blocks[: c.blocks[0], : c.blocks[1]].copy()))
        assert c.steps is not None
        tables.append(torch.from_numpy(c.steps))
    return JpegCoefficients(state.size, coefficients, tables, state.sampling, progressive=state.progressive)
