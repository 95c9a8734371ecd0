"""Reading and writing of image files.

docs/image-modes.md describes what happens to every kind of file.
"""

import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import torch

from vspsr.checks import check_integer, check_types
from vspsr.errors import ImageFileError, ImageFileWarning, OutputError, size_text
from vspsr.files import one_line, reason_of, replacing
from vspsr.images.colours import cmyk_to_srgb, planes
from vspsr.images.damage import decoder_warnings, harmless_fault, png_damage, tiff_faults
from vspsr.images.encoding import WRITABLE, check_quality, encoded, unsuited
from vspsr.images.metadata import BLOCKS, TIFF_PALETTE, carried_over, tiff_colours, unsupported_tiff
from vspsr.images.opening import ImageFile, name_of, open_file
from vspsr.images.picture import Header, Metadata, Picture

_READERS = {"pngload", "jpegload", "uhdrload", "webpload", "tiffload", "heifload", "gifload", "bmpload"}
_BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4, 5)}
_AT_ONCE = {"webpload", "heifload", "gifload", "uhdrload"}  # decoders that do not work line by line
_BITS = {"uchar": 8, "ushort": 16}
_OTHER_SAMPLES = {"float": "floating-point", "double": "floating-point", "int": "32-bit", "uint": "32-bit"}

_DAMAGED = "damaged or cut short"
_MEMORY = Path("/proc/meminfo")  # Linux
_one_at_a_time = threading.RLock()  # libvips keeps the messages of all threads in one place


def read_image(path: ImageFile, *, needed_per_pixel: int = 0) -> Picture:
    """Read the first page or frame of an image file: whole, upright, in 8 or 16 bits.

    Args:
        path: a PNG, JPEG, WebP, TIFF, AVIF, HEIF or GIF file, or BMP if libvips can read it. The content decides, not
            the suffix. Or the content of such a file, as bytes.
        needed_per_pixel: further bytes per pixel that the caller will need. A file that would not fit in memory is
            refused before it is decoded.

    Returns:
        The picture: grey or RGB, as the file holds it; palettes are expanded and CMYK becomes sRGB.

    Raises:
        ImageFileError: the file is missing, empty, damaged, cut short, too large for the free memory, or of a kind
            that docs/image-modes.md does not list. One line that begins with `path`, or with "image data".

    Warns:
        ImageFileWarning: the file is badly written, but its pixels are not affected.
    """
    check_integer(needed_per_pixel, "needed_per_pixel", 0, 2**31 - 1)
    try:
        return _read(path, needed_per_pixel, strict=True)
    except _HarmlessError as error:
        fault = error
    picture = _read(path, needed_per_pixel, strict=False)
    warnings.warn(f"{name_of(path)}: read, although not written as it should be ({fault})", ImageFileWarning, 2)
    return picture


def _read(path: ImageFile, needed_per_pixel: int, strict: bool) -> Picture:
    with _opened(path, strict) as (image, palette):
        needed = image.width * image.height * (_decoding_bytes(image) + needed_per_pixel)
        check_memory(f"{name_of(path)}: {size_text((image.height, image.width))} pixels", needed)
        return _decode(image, palette)


def read_header(path: ImageFile, verify: bool = True) -> Header:
    """What a file states about its image, without decoding it.

    Args:
        path: as in `read_image`.
        verify: whether to verify a PNG file's checksums, which reads the whole file.

    Raises:
        ImageFileError: as `read_image`, as far as that can be known without decoding.
    """
    check_types(verify=(verify, bool))
    with _opened(path, strict=False, verify=verify) as (image, _):
        orientation, profile = int(_field(image, "orientation", 1)), _field(image, "icc-profile-data")
        size = (image.width, image.height) if orientation > 4 else (image.height, image.width)
        channels, alpha = 1 if image.bands < 3 else 3, bool(image.hasalpha())
        return Header(size, channels, _BITS[image.format], alpha, bytes(profile) if profile else None, orientation)


class _HarmlessError(Exception):
    """A warning of a JPEG decoder that concerns no pixels."""


@contextmanager
def _opened(path: ImageFile, strict: bool, verify: bool = True) -> Iterator[tuple[pyvips.Image, bool]]:
    """Open a supported image without decoding it. Yields it, and whether TIFF tags state a palette.

    With ``strict``, a decoder's warning is an error, or a `_HarmlessError`. Errors of libvips become ours.
    """
    name = name_of(path)
    try:
        with _one_at_a_time, open_file(path) as file, decoder_warnings() as messages:
            pyvips.vips_lib.vips_error_clear()  # messages about other files, which pyvips may fail to decode
            if verify and (problem := png_damage(file)):
                raise ImageFileError(f"{name}: {_DAMAGED} ({problem})")
            tiff = tiff_colours(file)
            if tiff and (problem := unsupported_tiff(tiff)):
                raise ImageFileError(f"{name}: {problem}")
            if isinstance(path, bytes):
                source = pyvips.Source.new_from_memory(path)
            else:
                source = pyvips.Source.new_from_descriptor(file.fileno())
            fail_on = "warning" if strict and not tiff else "error"  # libtiff warns of tags as well
            image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on=fail_on)
            if problem := _unsupported(image):
                raise ImageFileError(f"{name}: {problem}")
            yield image, tiff is not None and tiff.photometric == TIFF_PALETTE
            if tiff:
                # In libvips' buffer are also the errors after which it continued.
                errors = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode("utf-8", "replace")
                if faults := tiff_faults([*messages, *errors.splitlines()]):
                    raise ImageFileError(f"{name}: {_DAMAGED} ({one_line(faults[0])})")
    except OSError as error:
        raise ImageFileError(f"{name}: cannot be read ({_reason(error)})") from error
    except (pyvips.Error, UnicodeDecodeError) as error:  # libvips may quote a damaged file
        if strict and isinstance(error, pyvips.Error) and (fault := harmless_fault(error.detail)):
            raise _HarmlessError(fault) from error
        raise ImageFileError(f"{name}: not an image file that can be read ({_reason(error)})") from error


def write_image(path: str | Path, picture: Picture, *, overwrite: bool = False, quality: int | None = None) -> None:
    """Write a picture with its profile and metadata, completely or not at all: as PNG or TIFF without loss.

    The file is written under a temporary name in the same folder and renamed when complete.
    Where `path` is a symbolic link, the file that it points to is replaced and the link stays.

    Args:
        path: where to, ending in .png, .tif or .tiff; or, with loss, in .jpg, .jpeg, .webp or .avif.
        picture: written as one band per channel, and one for alpha.
        overwrite: whether a file that exists may be replaced.
        quality: of a format with loss, 1 … 100; 95 by default.

    Raises:
        OutputError: the suffix is unknown, the format cannot hold the picture (16 bits, alpha, its size), the file
            exists, or it cannot be written. One line that begins with `path`. An existing file is untouched and no
            temporary file is left.
        ValueError: a quality out of range, or for a format without loss.
    """
    check_types(path=(path, str | Path), picture=(picture, Picture), overwrite=(overwrite, bool))
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        known = ".png, .tif or .tiff, or with loss .jpg, .webp or .avif"
        raise OutputError(f"{one_line(path)}: unknown suffix {Path(path).suffix!r}; write {known}")
    check_quality(quality, suffix)
    if problem := unsuited(suffix, picture.size, picture.bits, picture.alpha is not None):
        raise OutputError(f"{one_line(path)}: {problem}")
    pyvips.vips_lib.vips_error_clear()
    with replacing(path, overwrite) as file:
        try:
            file.write(encoded(picture, suffix, quality))
        except pyvips.Error as error:
            raise OutputError(f"{one_line(path)}: cannot be written ({_reason(error)})") from error


def available_memory() -> int | None:
    """Bytes of free memory, or None if they are not known."""
    with suppress(OSError, ValueError, IndexError), _MEMORY.open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(ImportError):  # of Windows and macOS
        from psutil import virtual_memory  # type: ignore[import-untyped]

        return int(virtual_memory().available)
    return None


def _field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """A field of an image's metadata, or the default where it has none."""
    return image.get(name) if image.get_typeof(name) else default


def _unsupported(image: pyvips.Image) -> str:
    """Why an image cannot be used, by its header; empty if it can."""
    reader = str(image.get("vips-loader")).removesuffix("_source")
    if reader not in _READERS and not str(_field(image, "magick-format")).startswith("BMP"):
        return f"not an image file that can be read ({reader.removesuffix('load')} files are not supported)"
    if image.format not in _BITS:
        held = _OTHER_SAMPLES.get(image.format, "signed")
        return f"holds {held} samples; 8 and 16 bits, unsigned, are supported"
    if image.bands not in _BANDS.get(image.interpretation, ()):
        held = f"{image.bands} bands ({image.interpretation})"
        return f"holds {held}; grey, RGB and CMYK, with or without alpha, are supported"
    return ""


def check_memory(what: str, needed: float) -> None:
    """ImageFileError, which begins with ``what``, where so many bytes of memory are not free."""
    free = available_memory()
    if free is not None and needed > free:
        raise ImageFileError(
            f"{what} need about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: cut the image up or "
            "use a machine with more memory"
        )


def _decoding_bytes(image: pyvips.Image) -> int:
    """Bytes per pixel that decoding takes, as measured, plus a tenth."""
    sample = _BITS[image.format] // 8
    at_once = (
        str(image.get("vips-loader")).removesuffix("_source") in _AT_ONCE
        or _field(image, "interlaced")
        or _field(image, "orientation", 1) > 1
        or image.interpretation == "cmyk"
    )
    return math.ceil(1.1 * image.bands * (sample + 4 + 2 * sample * bool(at_once)))  # 4: as int32


def _decode(image: pyvips.Image, palette: bool) -> Picture:
    """Decode all pixels of a supported image: upright, without palette or CMYK."""
    alpha = bool(image.hasalpha())
    palette = palette or image.get_typeof("palette") != 0
    depth = _field(image, "bits-per-sample", 0)
    mode = "grey" if image.bands < 3 else "RGB"
    if palette:
        mode = "palette"
    elif image.interpretation == "cmyk":
        mode = "CMYK"
        image = cmyk_to_srgb(image.copy_memory(), alpha, _BITS[image.format])
    elif depth == 1 and image.bands == 1:
        mode = "bilevel"
    if _field(image, "orientation", 1) > 1:
        image = image.copy_memory().autorot()
    metadata = _kept(image)
    values = planes(image)
    if image.get("vips-loader").startswith("heifload") and 8 < depth < 16:
        values |= values >> depth  # libvips shifts 10 and 12 bits up; this makes white 65535
    if palette and len(values) > 2 and "icc-profile-data" not in metadata and (values[:1] == values[1:3]).all():
        values = np.concatenate([values[:1], values[3:]])
    split = len(values) - alpha
    return Picture(
        pixels=torch.from_numpy(values[:split]),
        bits=_BITS[image.format],
        alpha=torch.from_numpy(values[split:]) if alpha else None,
        metadata=metadata,
        mode=("RGBA" if mode == "RGB" else f"{mode}+alpha") if alpha else mode,
    )


def _kept(image: pyvips.Image) -> Metadata:
    # By name: other fields may hold text that Python cannot decode.
    blocks = {field: bytes(image.get(field)) for field in BLOCKS if image.get_typeof(field)}
    kept: dict[str, bytes | str | float] = {**carried_over(blocks), "xres": image.xres, "yres": image.yres}
    if unit := _field(image, "resolution-unit"):
        kept["resolution-unit"] = str(unit)
    return kept


def _reason(error: Exception) -> str:
    if isinstance(error, pyvips.Error):
        if system := re.search(r"^(?:system|unix) error: (?!Unknown)(.+)$", error.detail, re.MULTILINE):
            return system[1]
        # libvips names the module, repeats messages, and seeks past the end of damaged files.
        lines = [re.sub(r"^\w+: ", "", line).strip() for line in error.detail.splitlines()]
        messages = dict.fromkeys(line for line in lines if line and "bad seek" not in line)
        return one_line("; ".join(messages) or _DAMAGED)[:200]
    return _DAMAGED if isinstance(error, UnicodeDecodeError) else reason_of(error)
