"""Reading: every row of docs/image-modes.md against other implementations, orientation, pages, all errors."""

import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch
from image_files import ROWS, can_save, noise, planes, save_avif, save_png, to_vips
from PIL import Image, ImageOps

import vspsr.images.io
from vspsr.errors import ImageFileError, ImageFileWarning
from vspsr.images.encoding import encoded
from vspsr.images.io import available_memory, read_header, read_image, write_image
from vspsr.images.picture import Picture

DOCS = Path(__file__).parents[2] / "docs" / "image-modes.md"
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif", "GIF": ".gif", "AVIF": ".avif"}
needs_avif = pytest.mark.skipif(not can_save(".avif"), reason="this libvips has no AVIF codec")


def table() -> dict[str, tuple[str, str]]:
    """The rows of the table: {what the file holds: (mode, what is written)}."""
    rows = re.findall(r"^\| ([^|]+) \| `([^|`]+)` \| [^|]+ \| (\d[^|]+) \|$", DOCS.read_text(encoding="utf-8"), re.M)
    return {held: (mode, written) for held, mode, written in rows}


def pixels_of(picture: Picture) -> np.ndarray:
    return picture.pixels.numpy()


def refusal(path: Path | str) -> str:
    """The message with which a file is refused: one line that begins with the path."""
    with pytest.raises(ImageFileError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_every_row_of_the_table_has_files() -> None:
    assert {held: mode for held, (mode, _) in table().items()} == {held: mode for held, (mode, _) in ROWS.items()}


@pytest.mark.parametrize("held", ROWS)
def test_row(held: str, tmp_path: Path) -> None:
    mode, make = ROWS[held]
    files = make(tmp_path)
    if not files:
        pytest.skip("this libvips has no AVIF codec")
    for name in re.findall(r"\w+", held.partition("(")[2]):
        if name in SUFFIXES and (name != "AVIF" or can_save(".avif")):  # HEIF differs from AVIF in its codec only
            assert any(file.endswith(SUFFIXES[name]) for file in files), name
    for name, expected in files.items():
        picture = read_image(tmp_path / name)
        assert (picture.mode, picture.bits) == (mode, expected.bits), name
        assert picture.pixels.shape == expected.pixels.shape, name
        visible = np.ones(picture.size, bool)
        if expected.alpha is None:
            assert picture.alpha is None, name
        else:
            assert picture.alpha is not None, name
            # Lossy codecs and conversions leave alpha alone; stretching 10 or 12 bits rounds it, too.
            np.testing.assert_allclose(picture.alpha, expected.alpha, atol=min(expected.tolerance, 1), err_msg=name)
            visible = expected.alpha[0] > 0
        difference = np.abs(pixels_of(picture) - expected.pixels)[:, visible]
        assert difference.max() <= expected.tolerance, name
        check_written(tmp_path / "out", picture, table()[held][1])


def check_written(stem: Path, picture: Picture, promised: str) -> None:
    """Write as PNG and TIFF; other implementations must find the bands and bits that the table promises."""
    bands, bits = (int(number) for number in re.findall(r"\d+", promised)[:2])
    whole = np.concatenate([pixels_of(picture), *([] if picture.alpha is None else [picture.alpha])])
    for suffix in (".tif", ".png"):
        path = stem.with_suffix(suffix)
        write_image(path, picture, overwrite=True)
        again = read_image(path)
        np.testing.assert_array_equal(pixels_of(again), pixels_of(picture))
        if suffix == ".tif":
            found = tifffile.imread(path)
            assert found.dtype.itemsize * 8 == bits
        else:
            assert path.read_bytes()[24:26] == bytes([bits, {1: 0, 2: 4, 3: 2, 4: 6}[bands]])  # depth, colour type
            with Image.open(path) as image:
                found = np.asarray(image)
                if bits == 16 and bands > 1:  # Pillow reads the high bytes only, grey with alpha as RGBA
                    found = np.asarray(image.convert({2: "LA", 3: "RGB", 4: "RGBA"}[bands]))
                    whole = whole >> 8
        assert (found.shape[2] if found.ndim == 3 else 1) == bands
        np.testing.assert_array_equal(planes(found), whole)
        if "profile of sRGB" in promised:
            assert again.metadata["icc-profile-data"] == pyvips.Image.profile_load("srgb")


REFUSED = {
    "floating-point": lambda path: tifffile.imwrite(path, noise(3).astype(np.float32), photometric="rgb"),
    "32-bit": lambda path: tifffile.imwrite(path, noise(1)[..., 0].astype(np.uint32)),
    "signed": lambda path: tifffile.imwrite(path, noise(1)[..., 0].astype(np.int16)),
    "Lab": lambda path: to_vips(noise(3), "srgb").colourspace("lab").tiffsave(str(path)),
    "YCbCr": lambda path: Image.frombytes("YCbCr", (16, 12), noise(3).tobytes()).save(path),
    "5 bands": lambda path: tifffile.imwrite(path, noise(5), photometric="rgb", planarconfig="contig"),
    "raw camera data": lambda path: tifffile.imwrite(path, noise(1)[..., 0], photometric="cfa"),
}


@pytest.mark.parametrize("held", REFUSED)
def test_unsupported_tiff(held: str, tmp_path: Path) -> None:
    REFUSED[held](tmp_path / "a.tif")
    assert refusal(tmp_path / "a.tif").startswith(f"holds {held}")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [2, 4, 5])
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
def test_only_what_a_tiff_calls_alpha_is_alpha(bits: int, bands: int, extra: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    photometric = {2: "minisblack", 4: "rgb", 5: "separated"}[bands]
    options = {"photometric": photometric, "planarconfig": "contig", "extrasamples": [extra or 0]}
    tifffile.imwrite(path, noise(bands, bits), **options)
    if extra is None:  # tifffile always writes the tag: make it another
        with tifffile.TiffFile(path) as file:
            offset = file.pages[0].tags[338].offset
        content = bytearray(path.read_bytes())
        content[offset : offset + 2] = struct.pack("<H", 65000)
        path.write_bytes(content)
    if extra in (1, 2):
        assert read_image(path).alpha is not None
        assert read_header(path).alpha
    else:
        assert refusal(path).startswith(f"holds {bands} bands, of which the last is not called alpha")
        with pytest.raises(ImageFileError, match="not called alpha"):
            read_header(path)


def test_unsupported_formats(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    to_vips(noise(1), "b-w").write_to_file(str(tmp_path / "a.v"))
    for name in ("a.svg", "a.v"):
        assert refusal(tmp_path / name).startswith("not an image file that can be read (")


def test_bmp_is_read_or_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.bmp")
    if pyvips.type_find("VipsForeignLoad", "bmpload") or pyvips.type_find("VipsForeignLoad", "magickload"):
        np.testing.assert_array_equal(pixels_of(read_image(tmp_path / "a.bmp")), planes(noise(3)))
    else:
        assert refusal(tmp_path / "a.bmp").startswith("not an image file that can be read (")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", pytest.param(".avif", marks=needs_avif)])
def test_orientation_is_applied_once(suffix: str, orientation: int, tmp_path: Path) -> None:
    path, image = tmp_path / f"a{suffix}", Image.fromarray(noise(3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".webp": {"lossless": True}, ".avif": {"quality": 100, "subsampling": "4:4:4"}}.get(suffix, {})
    image.save(path, exif=exif, **options)
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    picture = read_image(path)
    assert "orientation" not in picture.metadata
    np.testing.assert_allclose(pixels_of(picture), planes(upright), atol=2 if suffix == ".avif" else 0)
    if "exif-data" in picture.metadata:
        kept = Image.Exif()
        kept.load(picture.metadata["exif-data"])
        assert kept.get(0x0112, 1) == 1
    for name in ("out.png", "out.tif"):
        write_image(tmp_path / name, picture)
        with Image.open(tmp_path / name) as written:
            assert written.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(pixels_of(read_image(tmp_path / name)), pixels_of(picture))


def test_first_page_or_frame_is_read(tmp_path: Path) -> None:
    first, second = (Image.fromarray(noise(3, seed=seed)) for seed in (0, 1))
    for name in ("a.tif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        np.testing.assert_array_equal(pixels_of(read_image(tmp_path / name)), planes(noise(3)))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    with Image.open(tmp_path / "a.gif") as gif:
        np.testing.assert_array_equal(pixels_of(read_image(tmp_path / "a.gif")), planes(np.asarray(gif.convert("RGB"))))


@needs_avif
def test_white_of_ten_bits_is_white(tmp_path: Path) -> None:
    save_avif(tmp_path / "a.avif", np.full((12, 16, 3), 1023, np.uint16), 10)
    assert read_image(tmp_path / "a.avif").pixels.unique().tolist() == [65535]


def test_file_replaced_in_the_meantime_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for seed in range(3):
        Image.fromarray(noise(3, seed=seed)).save(path)
        os.utime(path, (0, 0))
        np.testing.assert_array_equal(pixels_of(read_image(str(path))), planes(noise(3, seed=seed)))


@pytest.mark.parametrize("name", ["a[page=1].png", "[a].png", "ä ö.png", "a\nb.png"])
def test_odd_file_names(name: str, tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / name)
    picture = read_image(tmp_path / name)
    write_image(tmp_path / name, picture, overwrite=True)
    np.testing.assert_array_equal(pixels_of(read_image(tmp_path / name)), planes(noise(3)))


def test_text_that_is_not_unicode_does_no_harm(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", noise(3), 8, 2, tEXt=b"Comment\0caf\xe9")
    tifffile.imwrite(tmp_path / "a.tif", noise(3), description=b"caf\xe9", photometric="rgb")
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(pixels_of(read_image(tmp_path / name)), planes(noise(3)))


def test_missing_file_folder_and_device(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.png") == "no such file"
    assert refusal(tmp_path) == "is a folder, not an image file"
    (tmp_path / "dangling.png").symlink_to(tmp_path / "a.png")
    assert refusal(tmp_path / "dangling.png") == "no such file"
    if Path(os.devnull).is_char_device():
        assert refusal(os.devnull) == "is not a regular file"


def test_contents_that_are_no_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.png").touch()
    assert refusal(tmp_path / "empty.png") == "is empty (0 bytes)"
    (tmp_path / "text.png").write_text("1,2\n3,4\n")
    assert refusal(tmp_path / "text.png").startswith("not an image file that can be read (")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fraction", [0.999, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("suffix", [*SUFFIXES.values(), ".interlaced.png", ".deflate.tif"])
def test_file_cut_short(suffix: str, fraction: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if suffix == ".avif" and not can_save(suffix):
        pytest.skip("this libvips has no AVIF codec")
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    picture = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    if suffix == ".interlaced.png":
        to_vips(picture, "srgb").pngsave(str(whole), interlace=True)
    else:
        Image.fromarray(picture).save(whole, **({"compression": "tiff_deflate"} if "deflate" in suffix else {}))
    read_image(whole)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * fraction)])
    assert refusal(cut).startswith(("not an image file that can be read (", "damaged or cut short ("))
    assert capfd.readouterr() == ("", "")


def test_message_is_about_this_file_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(3)).save(path, progressive=True)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes(9) + content[-2:])
    with pytest.warns(ImageFileWarning, match="JPEG"):
        read_image(path)
    Image.fromarray(noise(3)).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:-30])
    assert "JPEG" not in refusal(tmp_path / "b.png")


@needs_avif
def test_message_that_quotes_a_damaged_file(tmp_path: Path) -> None:
    save_avif(tmp_path / "a.avif", noise(4), 8)
    content = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "a.avif").write_bytes(content.replace(b"auxC", b"a\xcexC"))  # quoted in libvips' message
    assert refusal(tmp_path / "a.avif").startswith("not an image file that can be read (")
    (tmp_path / "text.png").write_text("text")
    assert "known format" in refusal(tmp_path / "text.png")


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder that everybody can enter, seen by a user who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = os.geteuid() == 0
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
def test_unreadable_file() -> None:
    with unprivileged() as folder:
        Image.fromarray(noise(3)).save(folder / "a.png")
        (folder / "a.png").chmod(0)
        if os.geteuid() == 0:
            os.seteuid(65534)
        assert refusal(folder / "a.png") == "cannot be read (Permission denied)"


def test_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    save_png(tmp_path / "a.png", noise(3), 8, 2)
    content = (tmp_path / "a.png").read_bytes()
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "a.png").write_bytes(content[:16] + header + crc + content[33:])
    monkeypatch.setattr(vspsr.images.io, "available_memory", lambda: 3_200_000_000)
    assert refusal(tmp_path / "a.png").startswith("30000×30000 pixels need about 15.3 GB of memory, 3.2 GB are free: ")


def test_memory_is_what_the_picture_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.png")
    needed = 12 * 16 * math.ceil(3 * 5.5)
    monkeypatch.setattr(vspsr.images.io, "available_memory", lambda: needed - 1)
    assert "need" in refusal(tmp_path / "a.png")
    for enough in (needed, None):
        monkeypatch.setattr(vspsr.images.io, "available_memory", lambda enough=enough: enough)
        read_image(tmp_path / "a.png")


PEAKS = """
import ctypes, gc, json, sys
import vspsr.images.io as io

def memory(field):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(field))

needed = []
io.check_memory = lambda what, size: needed.append(size)
found = {}
for path in sys.argv[1:]:
    for attempt in range(2):  # the first loads what the format needs
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        open("/proc/self/clear_refs", "w").write("5")
        before = memory("VmRSS")
        picture = io.read_image(path)
        found[path] = (memory("VmHWM") - before, needed[-1])
        del picture
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_memory_is_estimated_as_it_is_taken(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 4), np.uint8).repeat(10, 0).repeat(10, 1)
    rgb, rgba = to_vips(np.ascontiguousarray(pixels[..., :3]), "srgb"), to_vips(pixels, "srgb")
    turned = rgb.copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
    files = {
        "a.jpg": (rgb, {}),
        "progressive.jpg": (rgb, {"interlace": True}),
        "turned.jpg": (turned, {}),
        "a.png": (rgba, {"compression": 1}),
        "16.png": ((rgb.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16"), {"compression": 1}),
        "a.tif": (rgb, {"compression": "lzw"}),
        "a.webp": (rgba, {"effort": 0}),
    }
    for name, (image, options) in files.items():
        image.write_to_file(str(tmp_path / name), **options)
    command = [sys.executable, "-c", PEAKS, *(str(tmp_path / name) for name in files)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    for path, (peak, estimate) in found.items():
        assert 0.6 * estimate < peak < 1.1 * estimate, (path, peak, estimate)


def test_available_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = available_memory()
    assert found is None or found > 1 << 20
    with monkeypatch.context() as patch:  # as on Windows and macOS
        patch.setattr(vspsr.images.io, "_MEMORY", Path("/nowhere"))
        elsewhere = available_memory()
        assert elsewhere is not None
        assert found is None or found / 2 < elsewhere < 2 * found
        patch.setitem(sys.modules, "psutil", None)
        assert available_memory() is None


def test_a_damaged_file_read_meanwhile_spoils_no_other() -> None:
    """libvips keeps the messages of all threads in one place."""
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    good, whole = (encoded(Picture(torch.from_numpy(rgb).permute(2, 0, 1).int()), s) for s in (".tif", ".jpg"))
    damaged, done = whole[: len(whole) // 2] + b"\xff\xd9", threading.Event()

    def spoil() -> None:
        while not done.is_set():
            with suppress(ImageFileError):
                read_image(damaged)

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        for _ in range(150):
            assert read_image(good).size == (64, 64)
    finally:
        done.set()
        thread.join()
