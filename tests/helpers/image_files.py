"""Image files of every kind that docs/image-modes.md lists, made without `vspsr`, with what is to be read."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

H, W = 12, 16
Array = NDArray[np.integer]


@dataclass
class Expected:
    """What is to be read: (C, H, W) pixels, up to a tolerance where a codec is lossy, and (1, H, W) alpha."""

    pixels: Array
    alpha: Array | None = None
    bits: int = 8
    tolerance: int = 0


Maker = Callable[[Path], dict[str, Expected]]
ROWS: dict[str, tuple[str, Maker]] = {}


def row(held: str, mode: str) -> Callable[[Maker], Maker]:
    """Register what makes the files of a row of the table: {file name: what is to be read}."""

    def register(maker: Maker) -> Maker:
        ROWS[held] = mode, maker
        return maker

    return register


def noise(bands: int, bits: int = 8, seed: int = 0) -> Array:
    """Random (H, W, bands)."""
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << bits, (H, W, bands), dtype)


def smooth(bands: int) -> Array:
    """Slow gradients (H, W, bands), 8 bits: what lossy codecs hardly change."""
    y, x = np.mgrid[0:H, 0:W]
    return np.stack([60 + 5 * x + 3 * y * (b + 1) for b in range(bands)], -1).astype(np.uint8)


def planes(array: Array) -> Array:
    return np.atleast_3d(array).transpose(2, 0, 1).astype(np.int64)


def expected(array: Array, bits: int = 8, alpha: bool = False, tolerance: int = 0) -> Expected:
    """What is to be read of (H, W, bands) numbers, the last band being alpha or not."""
    whole = planes(array)
    if alpha:
        return Expected(whole[:-1], whole[-1:], bits, tolerance)
    return Expected(whole, None, bits, tolerance)


def with_pillow(path: Path, mode: str, tolerance: int = 0) -> Expected:
    """What Pillow, as another implementation, reads of a file of 8 bits."""
    with Image.open(path) as image:
        return expected(np.asarray(image.convert(mode)), alpha=mode.endswith("A"), tolerance=tolerance)


def save_png(path: Path, array: Array, depth: int, colour: int, **chunks: bytes) -> None:
    """Write a PNG by hand: (H, W, bands) numbers of `depth` bits, colour type, chunks before the data."""
    height, width, _ = array.shape
    if depth < 8:
        bits = np.unpackbits(array[..., 0:1].astype(np.uint8), axis=-1)[..., 8 - depth :].reshape(height, -1)
        lines = np.packbits(bits, axis=-1)
    else:
        lines = np.frombuffer(array.astype(">u2" if depth == 16 else np.uint8).tobytes(), np.uint8).reshape(height, -1)
    data = zlib.compress(np.pad(lines, ((0, 0), (1, 0))).tobytes())
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in {"IHDR": header, **chunks, "IDAT": data, "IEND": b""}.items():
        content += struct.pack(">I", len(body)) + name.encode() + body
        content += struct.pack(">I", zlib.crc32(name.encode() + body))
    path.write_bytes(content)


def to_vips(array: Array, interpretation: str) -> pyvips.Image:
    sample = "uchar" if array.dtype == np.uint8 else "ushort"
    image = pyvips.Image.new_from_memory(array.tobytes(), array.shape[1], array.shape[0], array.shape[2], sample)
    return image.copy(interpretation=interpretation)


def can_save(suffix: str) -> bool:
    """Whether libvips can write (and so, read) a format here."""
    try:
        to_vips(noise(3), "srgb").write_to_buffer(suffix, **({"compression": "av1"} if suffix == ".avif" else {}))
    except pyvips.Error:
        return False
    return True


def save_avif(path: Path, array: Array, bits: int) -> None:
    """Write the lowest `bits` bits of (H, W, bands) numbers without loss."""
    shifted = array << (16 - bits) if bits > 8 else array
    image = to_vips(shifted, "rgb16" if bits > 8 else "srgb")
    image.write_to_file(str(path), compression="av1", lossless=True, bitdepth=bits)


def stretch(array: Array, bits: int) -> Array:
    """From `bits` bits to 16, as white to white."""
    return np.floor(array * (65535 / ((1 << bits) - 1)) + 0.5).astype(np.int64)


@row("bilevel (PNG, TIFF)", "bilevel")
def _(folder: Path) -> dict[str, Expected]:
    array = noise(1, 1)
    save_png(folder / "a.png", array, 1, 0)
    Image.fromarray(array[..., 0] * 255).convert("1").save(folder / "a.tif")
    tifffile.imwrite(folder / "white-is-zero.tif", array[..., 0].astype(bool), photometric="miniswhite")
    return {
        "a.png": expected(array * 255),
        "a.tif": expected(array * 255),
        "white-is-zero.tif": expected((1 - array) * 255),
    }


@row("grey, 2 or 4 bits (PNG, TIFF)", "grey")
def _(folder: Path) -> dict[str, Expected]:
    found = {}
    for bits in (2, 4):
        array = noise(1, bits)
        stretched = (array * (255 // ((1 << bits) - 1))).astype(np.uint8)
        save_png(folder / f"{bits}.png", array, bits, 0)
        to_vips(stretched, "b-w").tiffsave(str(folder / f"{bits}.tif"), bitdepth=bits)
        found |= {f"{bits}.png": expected(stretched), f"{bits}.tif": with_pillow(folder / f"{bits}.tif", "L")}
    return found


@row("grey, 8 bits (PNG, JPEG, TIFF)", "grey")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(1)[..., 0])
    for name in ("a.png", "a.tif"):
        image.save(folder / name)
    image.save(folder / "a.jpg")
    tifffile.imwrite(folder / "white-is-zero.tif", 255 - noise(1)[..., 0], photometric="miniswhite")
    exact = dict.fromkeys(("a.png", "a.tif", "white-is-zero.tif"), expected(noise(1)))
    return exact | {"a.jpg": with_pillow(folder / "a.jpg", "L", tolerance=1)}


@row("grey, 16 bits (PNG, TIFF)", "grey")
def _(folder: Path) -> dict[str, Expected]:
    array = noise(1, 16)
    Image.fromarray(array[..., 0]).save(folder / "a.png")
    tifffile.imwrite(folder / "a.tif", array[..., 0])
    return dict.fromkeys(("a.png", "a.tif"), expected(array, 16))


@row("grey with alpha, 8 bits (PNG, TIFF)", "grey+alpha")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.frombytes("LA", (W, H), noise(2).tobytes())
    for name in ("a.png", "a.tif"):
        image.save(folder / name)
    return dict.fromkeys(("a.png", "a.tif"), expected(noise(2), alpha=True))


@row("grey with alpha, 16 bits (PNG, TIFF)", "grey+alpha")
def _(folder: Path) -> dict[str, Expected]:
    array = noise(2, 16)
    save_png(folder / "a.png", array, 16, 4)
    tifffile.imwrite(folder / "a.tif", array, photometric="minisblack", extrasamples=["unassalpha"])
    return dict.fromkeys(("a.png", "a.tif"), expected(array, 16, alpha=True))


@row("grey with one transparent shade (PNG)", "grey+alpha")
def _(folder: Path) -> dict[str, Expected]:
    save_png(folder / "a.png", noise(1), 8, 0, tRNS=struct.pack(">H", noise(1)[3, 4, 0]))
    return {"a.png": with_pillow(folder / "a.png", "LA")}


@row("RGB, 8 bits (PNG, JPEG, WebP, TIFF, AVIF, HEIF)", "RGB")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(3))
    names = ["a.png", "a.tif", "lossless.webp", "chunky.tif", "planar.tif"]
    for name in names[:3]:
        image.save(folder / name, **({"lossless": True} if name.endswith("webp") else {}))
    tifffile.imwrite(folder / "chunky.tif", noise(3), tile=(16, 16), compression="zlib", byteorder=">")
    tifffile.imwrite(folder / "planar.tif", planes(noise(3)).astype(np.uint8), photometric="rgb", bigtiff=True)
    found = dict.fromkeys(names, expected(noise(3)))
    for name in ("a.jpg", "progressive.jpg"):
        Image.fromarray(smooth(3)).save(folder / name, subsampling=0, progressive=name != "a.jpg")
        found[name] = with_pillow(folder / name, "RGB", tolerance=1)
    image.save(folder / "lossy.webp")
    found["lossy.webp"] = with_pillow(folder / "lossy.webp", "RGB", tolerance=1)
    if can_save(".avif"):
        save_avif(folder / "a.avif", noise(3), 8)
        found["a.avif"] = expected(noise(3))
    return found


@row("RGB, 10 or 12 bits (AVIF, HEIF)", "RGB")
def _(folder: Path) -> dict[str, Expected]:
    found = {}
    for bits in (10, 12) if can_save(".avif") else ():
        array = noise(3, bits)
        array[0, 0], array[0, 1] = 0, (1 << bits) - 1
        save_avif(folder / f"{bits}.avif", array, bits)
        found[f"{bits}.avif"] = expected(stretch(array, bits), 16, tolerance=1)
    return found


@row("RGB, 16 bits (PNG, TIFF)", "RGB")
def _(folder: Path) -> dict[str, Expected]:
    array = noise(3, 16)
    save_png(folder / "a.png", array, 16, 2)
    tifffile.imwrite(folder / "a.tif", array)
    return dict.fromkeys(("a.png", "a.tif"), expected(array, 16))


@row("RGBA, 8 bits (PNG, WebP, TIFF, AVIF, HEIF)", "RGBA")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(4))
    names = ["a.png", "a.tif", "a.webp"]
    for name in names:
        image.save(folder / name, **({"lossless": True, "exact": True} if name.endswith("webp") else {}))
    found = dict.fromkeys(names, expected(noise(4), alpha=True))
    if can_save(".avif"):
        save_avif(folder / "a.avif", noise(4), 8)
        found["a.avif"] = expected(noise(4), alpha=True)
    return found


@row("RGBA, 10 or 12 bits (AVIF, HEIF)", "RGBA")
def _(folder: Path) -> dict[str, Expected]:
    found = {}
    for bits in (10, 12) if can_save(".avif") else ():
        save_avif(folder / f"{bits}.avif", noise(4, bits), bits)
        found[f"{bits}.avif"] = expected(stretch(noise(4, bits), bits), 16, alpha=True, tolerance=1)
    return found


@row("RGBA, 16 bits (PNG, TIFF)", "RGBA")
def _(folder: Path) -> dict[str, Expected]:
    array = noise(4, 16)
    save_png(folder / "a.png", array, 16, 6)
    tifffile.imwrite(folder / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    return dict.fromkeys(("a.png", "a.tif"), expected(array, 16, alpha=True))


@row("RGBA, premultiplied (TIFF)", "RGBA")
def _(folder: Path) -> dict[str, Expected]:
    array = noise(4)
    array[..., 3] |= 64
    premultiplied = array.copy()
    premultiplied[..., :3] = np.round(array[..., :3] * (array[..., 3:] / 255))
    tifffile.imwrite(folder / "a.tif", premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    return {"a.tif": expected(array, alpha=True, tolerance=4)}


@row("RGB with one transparent colour (PNG)", "RGBA")
def _(folder: Path) -> dict[str, Expected]:
    save_png(folder / "a.png", noise(3), 8, 2, tRNS=struct.pack(">HHH", *noise(3)[3, 4]))
    return {"a.png": with_pillow(folder / "a.png", "RGBA")}


@row("palette (PNG, GIF, TIFF)", "palette")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(3)).quantize(16)
    found = {}
    for name in ("a.png", "a.gif", "a.tif"):
        image.save(folder / name)
        found[name] = with_pillow(folder / name, "RGB")
    return found


@row("palette with alpha (PNG, GIF)", "palette+alpha")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(3)).quantize(16)
    found = {}
    for name in ("a.png", "a.gif"):
        image.save(folder / name, transparency=3)
        found[name] = with_pillow(folder / name, "RGBA")
    image.save(folder / "many.png", transparency=bytes(range(0, 256, 16)))
    return found | {"many.png": with_pillow(folder / "many.png", "RGBA")}


@row("palette of which only greys are used (PNG, GIF, TIFF)", "palette")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(1)[..., 0]).convert("P")
    for name in ("a.png", "a.gif", "a.tif"):
        image.save(folder / name)
    return dict.fromkeys(("a.png", "a.gif", "a.tif"), expected(noise(1)))


@row("palette with alpha of which only greys are used (PNG, GIF)", "palette+alpha")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(noise(1)[..., 0]).convert("P")
    for name in ("a.png", "a.gif"):
        image.save(folder / name, transparency=int(noise(1)[3, 4, 0]))
    return {name: with_pillow(folder / name, "LA") for name in ("a.png", "a.gif")}


def cmyk_profile() -> bytes:
    return bytes(pyvips.Image.profile_load("cmyk"))


def pale_cmyk_profile() -> bytes:
    """A profile of presses that put on half the ink: the input tables of `cmyk_profile`, halved."""
    profile = bytearray(cmyk_profile())
    for entry in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        name, start, _ = struct.unpack_from(">4sII", profile, entry)
        if name == b"A2B1":  # where libvips and LittleCMS look for relative colorimetry
            count = int.from_bytes(profile[start + 48 : start + 50], "big")
            tables = np.frombuffer(profile, ">u2", 4 * count, start + 52) // 2
            profile[start + 52 : start + 52 + 8 * count] = tables.astype(">u2").tobytes()
    return bytes(profile)


def cmyk_to_srgb(array: Array, profile: bytes) -> Array:
    """What LittleCMS, called by Pillow, makes of (H, W, 4) numbers of 8 bits."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        "CMYK",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    image = Image.frombytes("CMYK", (array.shape[1], array.shape[0]), array.tobytes())
    return np.asarray(ImageCms.applyTransform(image, transform))


@row("CMYK, 8 bits (JPEG, TIFF)", "CMYK")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.frombytes("CMYK", (W, H), smooth(4).tobytes())
    image.save(folder / "a.tif", icc_profile=cmyk_profile())
    image.save(folder / "pale.tif", icc_profile=pale_cmyk_profile())
    image.save(folder / "without-profile.tif")
    image.save(folder / "a.jpg", icc_profile=cmyk_profile(), quality=100)
    seen = cmyk_to_srgb(smooth(4), cmyk_profile())
    return {
        "a.tif": expected(seen, tolerance=2),
        "pale.tif": expected(cmyk_to_srgb(smooth(4), pale_cmyk_profile()), tolerance=2),
        "without-profile.tif": expected(seen, tolerance=2),
        "a.jpg": expected(seen, tolerance=6),
    }


@row("CMYK, 16 bits (TIFF)", "CMYK")
def _(folder: Path) -> dict[str, Expected]:
    tifffile.imwrite(folder / "a.tif", smooth(4).astype(np.uint16) * 257, photometric="separated")
    seen = cmyk_to_srgb(smooth(4), cmyk_profile()).astype(np.int64) * 257
    return {"a.tif": expected(seen, 16, tolerance=2 * 257)}


@row("CMYK with alpha, 8 bits (TIFF)", "CMYK+alpha")
def _(folder: Path) -> dict[str, Expected]:
    array = np.concatenate([smooth(4), noise(1)], -1)
    tifffile.imwrite(folder / "a.tif", array, photometric="separated", extrasamples=["unassalpha"])
    seen = cmyk_to_srgb(smooth(4), cmyk_profile())
    return {"a.tif": expected(np.concatenate([seen, noise(1)], -1), alpha=True, tolerance=2)}


@row("CMYK with alpha, 16 bits (TIFF)", "CMYK+alpha")
def _(folder: Path) -> dict[str, Expected]:
    array = np.concatenate([smooth(4).astype(np.uint16) * 257, noise(1, 16)], -1)
    tifffile.imwrite(folder / "a.tif", array, photometric="separated", extrasamples=["unassalpha"])
    seen = cmyk_to_srgb(smooth(4), cmyk_profile()).astype(np.int64) * 257
    whole = np.concatenate([seen, noise(1, 16)], -1)
    return {"a.tif": expected(whole, 16, alpha=True, tolerance=2 * 257)}


@row("YCbCr (JPEG, TIFF compressed as JPEG)", "RGB")
def _(folder: Path) -> dict[str, Expected]:
    image = Image.fromarray(smooth(3))
    image.save(folder / "a.jpg", subsampling=2)
    to_vips(smooth(3), "srgb").tiffsave(str(folder / "a.tif"), compression="jpeg", Q=75)
    assert Image.open(folder / "a.tif").tag_v2[262] == 6  # YCbCr
    # Chroma of fewer pixels is blown up in several ways.
    return {
        "a.jpg": with_pillow(folder / "a.jpg", "RGB", 8),
        "a.tif": with_pillow(folder / "a.tif", "RGB", 8),
    }


@row("grey (WebP, AVIF)", "RGB")
def _(folder: Path) -> dict[str, Expected]:
    array = np.repeat(noise(1), 3, -1)
    Image.fromarray(array[..., 0]).save(folder / "a.webp", lossless=True)
    found = {"a.webp": expected(array)}
    if can_save(".avif"):
        to_vips(noise(1), "b-w").write_to_file(str(folder / "a.avif"), compression="av1", lossless=True)
        found["a.avif"] = expected(array)
    return found
