"""Damage in the middle of files, and one verdict on it by all ways to read them."""

import gc
import io
import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import noise, to_vips
from PIL import Image

from vspsr.errors import ImageFileError, ImageFileWarning
from vspsr.images.damage import decoder_warnings, harmless_fault, png_damage, tiff_faults
from vspsr.images.io import read_header, read_image

LARGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def encoded(suffix: str, **options: object) -> bytes:
    return bytes(to_vips(LARGE, "srgb").write_to_buffer(suffix, **options))


def bilevel() -> bytes:
    grey = to_vips(LARGE[..., :1], "b-w") > 128
    return bytes(grey.tiffsave_buffer(compression="ccittfax4", bitdepth=1))


FILES = {
    "JPEG": lambda: encoded(".jpg", Q=95),
    "JPEG, progressive": lambda: encoded(".jpg", Q=95, interlace=True),
    "JPEG, restart markers": lambda: encoded(".jpg", Q=95, restart_interval=4),
    "PNG": lambda: encoded(".png"),
    "PNG, interlaced": lambda: encoded(".png", interlace=True),
    "GIF": lambda: encoded(".gif"),
    "TIFF, LZW": lambda: encoded(".tif", compression="lzw"),
    "TIFF, PackBits": lambda: encoded(".tif", compression="packbits"),
    "TIFF, JPEG strips": lambda: encoded(".tif", compression="jpeg", Q=95),
    "TIFF, JPEG tiles": lambda: encoded(".tif", compression="jpeg", Q=95, tile=True),
    "TIFF, fax": bilevel,
}


@pytest.mark.parametrize("kind", FILES)
def test_zeros_in_the_middle_are_noticed(kind: str, tmp_path: Path) -> None:
    whole, path = FILES[kind](), tmp_path / "a"
    path.write_bytes(whole)
    read_image(path)
    middle, size = len(whole) // 2, max(len(whole) // 20, 100)
    path.write_bytes(whole[:middle] + bytes(size) + whole[middle + size :])
    with pytest.raises(ImageFileError, match="a: "):
        read_image(path)


@pytest.mark.parametrize("kind", [k for k in FILES if k.startswith("JPEG")])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9])
def test_a_jpeg_cut_and_closed_is_noticed(kind: str, fraction: float, tmp_path: Path) -> None:
    whole = FILES[kind]()
    (tmp_path / "a.jpg").write_bytes(whole[: int(len(whole) * fraction)] + b"\xff\xd9")
    with pytest.raises(ImageFileError, match=r"a\.jpg: "):
        read_image(tmp_path / "a.jpg")


def test_what_concerns_no_pixels_is_a_warning(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(LARGE).save(buffer, "JPEG")
    whole = buffer.getvalue()
    (tmp_path / "whole.jpg").write_bytes(whole)
    for number, odd in enumerate(
        (
            whole[:2] + b"\0\0\0" + whole[2:],
            whole.replace(b"JFIF\0\1\1", b"JFIF\0\3\1"),
            encoded(".jpg", interlace=True),
        )
    ):
        content = odd[:-2] + b"\x12" * 9 + odd[-2:] if number == 2 else odd
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.warns(ImageFileWarning, match=r"a\.jpg: read, although"):
            read_image(tmp_path / "a.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "whole.jpg")


def test_a_tiff_with_badly_written_comments_is_whole(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(LARGE).save(buffer, "TIFF", tiffinfo={305: "abcdefg"})
    (tmp_path / "a.tif").write_bytes(buffer.getvalue().replace(b"abcdefg\0", b"abcdefgh"))  # no end of the string
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "a.tif")


def chunk(kind: bytes, data: bytes, damage: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ damage)


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "tIME", "tRNS", "iCCP", "eXIf", "gAMA", "prIv"])
@pytest.mark.parametrize("damage", [0, 255])
def test_all_ways_to_read_a_png_agree_on_its_chunks(kind: str, damage: int, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(3)).save(buffer, "PNG")
    whole = buffer.getvalue()
    content = {"tRNS": bytes(6), "gAMA": bytes([0, 0, 177, 143])}.get(kind, b"Comment\0hello")
    path = tmp_path / "a.png"
    path.write_bytes(whole[:33] + chunk(kind.encode(), content, damage) + whole[33:])
    if damage and kind not in ("tEXt", "zTXt", "iTXt", "tIME"):
        for read in (read_header, read_image):
            with pytest.raises(ImageFileError, match=f"damaged or cut short .*{kind}"):
                read(path)
    else:
        assert read_header(path).size == read_image(path).size
        np.testing.assert_array_equal(read_image(path).pixels.numpy(), noise(3).transpose(2, 0, 1))


def test_no_garbage_is_collected_while_a_decoder_may_log(tmp_path: Path) -> None:
    """GLib ends the process where freeing a damaged image logs within the callback of another message."""
    buffer, seen = io.BytesIO(), []
    Image.fromarray(noise(3)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue()[:33] + chunk(b"tIME", bytes(20)) + buffer.getvalue()[33:])
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(gc.isenabled())  # type: ignore[method-assign]
    logging.getLogger("pyvips").addHandler(handler)
    try:
        with decoder_warnings():  # of another thread, for instance
            read_image(tmp_path / "a.png")
            assert not gc.isenabled()
        read_image(tmp_path / "a.png")
    finally:
        logging.getLogger("pyvips").removeHandler(handler)
    assert seen
    assert not any(seen)
    assert gc.isenabled()


@given(st.data())
def test_any_byte_of_a_png_that_changes_is_noticed(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(3)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    assert png_damage(io.BytesIO(content)) == ""
    position = data.draw(st.integers(8, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    assert png_damage(io.BytesIO(content)) != ""


def test_messages_are_told_apart() -> None:
    harmless = "VipsJpeg: Corrupt JPEG data: 9 extraneous bytes before marker 0xd9\n"
    assert harmless_fault(harmless).startswith("Corrupt JPEG data: 9 extraneous")
    for other in ("", "pngload: bad", harmless + "VipsJpeg: premature end of JPEG image", harmless.replace("d9", "d4")):
        assert harmless_fault(other) == ""
    assert tiff_faults(["VIPS: Unknown field with tag 50838", "VIPS: Premature EOL at line 3"]) == [
        "Premature EOL at line 3"
    ]
