"""Coefficients of JPEG files against jpeglib, which is libjpeg's own reader; damaged and unsupported files."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from jpeg_files import coefficients_differ, photo, saved
from PIL import Image

from vspsr.errors import ImageFileError
from vspsr.images import jpeg_coefficients, write_image
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.sources import read_source

jpeglib = pytest.importorskip("jpeglib")


def libjpeg_coefficients(path: Path) -> list[np.ndarray]:
    found = jpeglib.read_dct(str(path))
    return [c for c in (found.Y, found.Cb, found.Cr) if c is not None]


@pytest.mark.parametrize("size", [(64, 48), (37, 61), (9, 16), (1, 1)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
def test_as_libjpeg(tmp_path: Path, size: tuple[int, int], subsampling: str) -> None:
    image, path = photo(*size), tmp_path / "a.jpg"
    options = {"subsampling": subsampling} if subsampling != "grey" else {}
    for quality in (30, 98):
        for more in ({}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}):
            path.write_bytes(saved(image[: 1 if subsampling == "grey" else 3], quality=quality, **options, **more))
            ours, theirs = jpeg_coefficients(path), libjpeg_coefficients(path)
            assert ours.size == size
            assert ours.subsampling == subsampling
            assert ours.progressive == ("progressive" in more)
            for a, b in zip(ours.coefficients, theirs, strict=True):
                np.testing.assert_array_equal(a.numpy(), b)
            with Image.open(path) as opened:
                for c, table in enumerate(ours.tables):
                    assert table.flatten().tolist() == list(opened.quantization[min(c, 1)])


@pytest.mark.parametrize("subsampling", ["4:4:0", "4:1:1"])
def test_other_subsamplings(tmp_path: Path, subsampling: str) -> None:
    made = jpeglib.from_spatial(photo(50, 70).permute(1, 2, 0).numpy().copy())
    made.samp_factor = subsampling
    made.write_spatial(str(tmp_path / "a.jpg"), qt=80)
    ours = jpeg_coefficients(tmp_path / "a.jpg")
    assert ours.subsampling == subsampling
    for a, b in zip(ours.coefficients, libjpeg_coefficients(tmp_path / "a.jpg"), strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    from PIL import ImageOps

    image = photo(20, 28)
    exif = Image.Exif()
    exif[0x0112] = orientation
    code = jpeg_coefficients(saved(image, exif=exif.tobytes()))
    assert code.orientation == orientation
    turned = Image.fromarray(image.permute(1, 2, 0).numpy())
    turned.getexif()[0x0112] = orientation
    upright = torch.from_numpy(np.asarray(ImageOps.exif_transpose(turned)).copy()).permute(2, 0, 1)
    assert torch.equal(code.upright(image), upright)
    assert torch.equal(code.stored(upright), image)
    assert code.upright_size == tuple(upright.shape[1:])


ODD_ORIENTATIONS = {  # (type, count, value) of each entry
    "twice, upright first": [(3, 1, 1), (3, 1, 3)],
    "twice, upright last": [(3, 1, 6), (3, 1, 1)],
    "a signed byte": [(6, 1, 6)],
    "a signed short": [(8, 1, 6)],
    "a signed long": [(9, 1, 6)],
    "a long with high bits": [(4, 1, 6 + (1 << 16))],
    "no values": [(3, 0, 6)],
    "an offset": [(13, 1, 6)],
    "out of range": [(3, 1, 9)],
}


@pytest.mark.parametrize("entries", ODD_ORIENTATIONS.values(), ids=ODD_ORIENTATIONS.keys())
def test_odd_orientations(entries: list[tuple[int, int, int]], tmp_path: Path) -> None:
    """Pixels and coefficients are turned alike, and what is written is upright for others, too."""
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    block += b"".join(struct.pack("<HHII", 0x0112, *entry) for entry in entries) + bytes(4)
    content = saved(photo(24, 24), quality=90, exif=block)
    source = read_source(content)
    assert source.jpeg is not None
    stored = torch.from_numpy(np.array(Image.open(io.BytesIO(content)))).permute(2, 0, 1)
    assert torch.equal(source.picture.pixels, source.jpeg.upright(stored).int())
    write_image(tmp_path / "a.png", source.picture)
    assert Image.open(tmp_path / "a.png").getexif().get(0x0112, 1) in (1, b"\1")


def patched(content: bytes, marker: bytes, offset: int, value: bytes) -> bytes:
    place = content.index(marker) + offset
    return content[:place] + value + content[place + len(value) :]


FILE = saved(photo(40, 40), quality=80)
UNUSABLE = {
    "arithmetic coding": (patched(FILE, b"\xff\xc0", 0, b"\xff\xc9"), "arithmetic coding"),
    "lossless": (patched(FILE, b"\xff\xc0", 0, b"\xff\xc3"), "lossless"),
    "12 bits": (patched(FILE, b"\xff\xc0", 4, b"\x0c"), "12 bits"),
    "no height": (patched(FILE, b"\xff\xc0", 5, b"\0\0"), "height"),
    "uneven": (patched(FILE, b"\xff\xc0", 14, b"\x21"), "unevenly"),
    "cut": (FILE[:-40], "end"),
    "no segment": (FILE[:30], "cut short"),
    "huge": (patched(FILE, b"\xff\xc0", 5, b"\xff\xff\xff\xff"), "end too early"),
    "no step": (patched(FILE, b"\xff\xdb", 9, b"\0"), "quantisation table"),
    "no table": (patched(FILE, b"\xff\xc0", 12, b"\x03"), "quantisation table"),
    "no code": (patched(FILE, b"\xff\xc4", 0, b"\xff\xfe"), "Huffman table"),
    "text": (b"no JPEG at all", "not a JPEG"),
    "empty": (b"", "is empty"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_one_line_says_what_is_wrong(tmp_path: Path, kind: str) -> None:
    content, word = UNUSABLE[kind]
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageFileError, match=word) as error:
        jpeg_coefficients(tmp_path / "a.jpg")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "a.jpg"))


def test_cmyk_and_missing_files(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16)).save(tmp_path / "a.jpg")
    with pytest.raises(ImageFileError, match="CMYK"):
        jpeg_coefficients(tmp_path / "a.jpg")
    with pytest.raises(ImageFileError, match="no such file"):
        jpeg_coefficients(tmp_path / "b.jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_is_never_a_bug(progressive: bool) -> None:
    content, rng = bytearray(saved(photo(40, 40), progressive=progressive)), np.random.default_rng(0)
    read = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(2, len(content), 3):
            damaged[place] = rng.integers(256)
        try:
            read_coefficients(bytes(damaged[: rng.integers(len(content) // 2, 2 * len(content))]))
            read += 1
        except ValueError:
            pass
        except Exception as error:
            assert type(error).__name__ == "_UnsupportedError"  # noqa: PT017
    assert 0 < read < 300


def test_progressive_files_hold_the_same() -> None:
    image = photo(40, 56)
    assert coefficients_differ(read_coefficients(saved(image)), read_coefficients(saved(image, progressive=True))) == 0
