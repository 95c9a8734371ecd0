"""The entropy-coded scans of a JPEG file: Huffman decoding, sequential and progressive (ITU-T T.81, annexes F and G).

Pure Python with one table look-up for each coefficient, about a million coefficients a second. Work and memory are
bounded by the length of the data and the number of blocks, which the caller compares.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ZIGZAG = sorted(range(64), key=lambda i: ((s := i // 8 + i % 8), (i % 8 if s % 2 == 0 else i // 8)))
"""Index in an 8×8 block, row by row, of each coefficient in the order of the file."""

# An entry of a look-up table for the next 16 bits: bits to skip, run of zeros, size of a value that follows (0 where
# the value is part of the entry, or there is none), and the value.
_SKIP, _RUN_AT, _RUN, _SIZE_AT, _SIZE, _VALUE_AT = 31, 5, 15, 9, 15, 13

HuffmanTable = tuple[tuple[int, ...], bytes]
"""Number of codes of each length 1 … 16, and the symbols in the order of their codes."""


@dataclass(frozen=True)
class Scan:
    """One scan.

    Attributes:
        offsets: where each block begins in the coefficients, in the order of the scan.
        components: the component of each block of an MCU.
        dc, ac: Huffman tables of each component, None where none is defined.
        first, last: band of coefficients, in zigzag order: 0 to 63 if sequential, else DC alone or AC alone.
        high, low: bit positions of successive approximation; `high` is 0 in the first scan of a band.
        progressive: whether the frame is.
    """

    offsets: Sequence[int]
    components: Sequence[int]
    dc: Sequence[HuffmanTable | None]
    ac: Sequence[HuffmanTable | None]
    first: int
    last: int
    high: int
    low: int
    progressive: bool


def decode_scan(scan: Scan, parts: Sequence[bytes], restart: int, out: "array[int]") -> None:
    """Decode a scan into ``out``, the coefficients of all blocks, 16-bit integers, row by row within each block.

    ``parts``: its data between restart markers, without stuffed zeros. ``restart``: MCUs between the markers, 0 without
    them. ValueError where data are damaged, or end too early.
    """
    per_part = restart * len(scan.components) or max(len(scan.offsets), 1)
    if len(parts) != -(-len(scan.offsets) // per_part):
        raise ValueError("restart markers are missing or misplaced")
    decode = _first if not scan.high else _dc_refined if scan.first == 0 else _ac_refined
    for number, data in enumerate(parts):
        blocks = scan.offsets[number * per_part : (number + 1) * per_part]
        try:
            end = decode(scan, blocks, _windows(data), out)
        except (IndexError, OverflowError) as error:
            raise ValueError("its coefficients are damaged") from error
        if end > 8 * len(data):
            raise ValueError("its coefficients end too early")


def _windows(data: bytes) -> memoryview:
    """The 40 bits from each byte on, as integers; zeros follow the data."""
    padded = np.frombuffer(data + bytes(12), np.uint8).astype(np.uint64)
    count = len(padded) - 4
    window = np.zeros(count, np.uint64)
    for i in range(5):
        window = (window << np.uint64(8)) | padded[i : i + count]
    return memoryview(window.tobytes()).cast("Q")


@lru_cache(maxsize=64)
def _table(codes: HuffmanTable | None) -> list[int]:
    """The look-up table of a Huffman table, 65,536 entries; those of no code are 0."""
    if codes is None:
        raise ValueError("a Huffman table is missing")
    counts, symbols = codes
    entries = np.zeros(1 << 16, np.int64)
    code = place = 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[place : place + count]:
            start, stop = code << (16 - length), (code + 1) << (16 - length)
            if stop > 1 << 16:
                raise ValueError("a Huffman table is damaged")
            run, size = symbol >> 4, symbol & 15
            if size and length + size <= 16:
                rest = np.arange(start, stop) & ((1 << (16 - length)) - 1)
                value = rest >> (16 - length - size)
                value = np.where(value >> (size - 1), value, value - (1 << size) + 1)
                entries[start:stop] = length + size | run << _RUN_AT | value << _VALUE_AT
            else:
                entries[start:stop] = length | run << _RUN_AT | size << _SIZE_AT
            code += 1
        place += count
        code <<= 1
    return list(entries.tolist())


def _bits(windows: memoryview, position: int, size: int) -> int:
    """The integer that the next ``size`` bits are."""
    return (windows[position >> 3] >> (40 - size - (position & 7))) & ((1 << size) - 1)


def _long_value(windows: memoryview, position: int, size: int) -> int:
    """A value of ``size`` bits that is not part of a table's entry."""
    bits = _bits(windows, position, size)
    return bits if bits >> (size - 1) else bits - (1 << size) + 1


def _first(scan: Scan, offsets: Sequence[int], windows: memoryview, out: "array[int]") -> int:
    """A band of which nothing is known yet. Returns the position of the first bit that is not read."""
    first, last, low, zigzag = scan.first, scan.last, scan.low, ZIGZAG
    tables = [
        (c, _table(scan.dc[c]) if first == 0 else [], _table(scan.ac[c]) if last > 0 else []) for c in scan.components
    ]
    predicted = [0] * len(scan.dc)
    p = ended = 0
    for j, offset in enumerate(offsets):
        component, dc, ac = tables[j % len(tables)]
        if first == 0:
            difference, p = _difference(dc, windows, p)
            predicted[component] += difference
            out[offset] = predicted[component] << low
        if ended:
            ended -= 1
            continue
        k = max(first, 1)
        while k <= last:
            entry = ac[(windows[p >> 3] >> (24 - (p & 7))) & 0xFFFF]
            p += entry & _SKIP
            run, value = (entry >> _RUN_AT) & _RUN, entry >> _VALUE_AT
            if not value:
                if size := (entry >> _SIZE_AT) & _SIZE:
                    value = _long_value(windows, p, size)
                    p += size
                elif run == 15:
                    k += 16
                    continue
                elif not entry & _SKIP:
                    raise IndexError
                else:
                    if scan.progressive:
                        ended = (1 << run) - 1 + _bits(windows, p, run)  # further blocks without this band
                        p += run
                    break
            k += run
            out[offset + zigzag[k]] = value << low
            k += 1
    return p


def _difference(table: list[int], windows: memoryview, p: int) -> tuple[int, int]:
    """The difference of a DC coefficient to the one before, and the position after it."""
    entry = table[(windows[p >> 3] >> (24 - (p & 7))) & 0xFFFF]
    if not entry & _SKIP or (entry >> _RUN_AT) & _RUN:
        raise IndexError
    p += entry & _SKIP
    if size := (entry >> _SIZE_AT) & _SIZE:
        return _long_value(windows, p, size), p + size
    return entry >> _VALUE_AT, p


def _dc_refined(scan: Scan, offsets: Sequence[int], windows: memoryview, out: "array[int]") -> int:
    bit = 1 << scan.low
    for p, offset in enumerate(offsets):
        if _bits(windows, p, 1):
            out[offset] |= bit
    return len(offsets)


def _ac_refined(scan: Scan, offsets: Sequence[int], windows: memoryview, out: "array[int]") -> int:
    """One more bit of the coefficients that are not 0, and those that now become so."""
    table, bit, last = _table(scan.ac[scan.components[0]]), 1 << scan.low, scan.last
    p = ended = 0
    for offset in offsets:
        places = [offset + z for z in ZIGZAG[scan.first : last + 1]]
        k, count = 0, len(places)
        while k < count:
            value, run = 0, count  # all that is left, where the band has ended
            if not ended:
                entry = table[(windows[p >> 3] >> (24 - (p & 7))) & 0xFFFF]
                if not entry & _SKIP or (entry >> _SIZE_AT) & _SIZE:
                    raise IndexError
                p += entry & _SKIP
                run, value = (entry >> _RUN_AT) & _RUN, entry >> _VALUE_AT
                if not value and run < 15:
                    ended = (1 << run) + _bits(windows, p, run)
                    p += run
                    run = count
            while k < count:
                held = out[places[k]]
                if held:
                    if _bits(windows, p, 1) and not abs(held) & bit:
                        out[places[k]] = held + (bit if held > 0 else -bit)
                    p += 1
                elif run == 0:
                    break
                else:
                    run -= 1
                k += 1
            if value:
                out[places[k]] = value * bit
            k += 1
        if ended:
            ended -= 1
    return p
