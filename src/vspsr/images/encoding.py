"""A picture as the bytes of an image file, with its metadata brought up to date.

PNG and TIFF hold every picture without loss. JPEG, WebP and AVIF lose some of it, and hold 8 bits.
"""

from typing import Any

import pyvips
from pyvips.enums import ForeignKeep, ForeignPngFilter

from vspsr.checks import check_integer
from vspsr.images.colours import vips_image
from vspsr.images.metadata import PHOTOSHOP_PREFIX, UNSTATED, photoshop_block, resized_xmp, sizeless_iptc, whole_profile
from vspsr.images.picture import Picture

_KEEP = {
    "icc-profile-data": ForeignKeep.ICC,
    "exif-data": ForeignKeep.EXIF,
    "xmp-data": ForeignKeep.XMP,
    "photoshop-data": ForeignKeep.OTHER,
    "iptc-data": ForeignKeep.IPTC,
}
_TIFF = {"compression": "deflate", "predictor": "horizontal"}
_JPEG = {"optimize_coding": True}
_WRITERS: dict[str, dict[str, Any]] = {
    ".png": {"filter": ForeignPngFilter.PAETH},
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": {"smart_subsample": True},
    ".avif": {"compression": "av1", "bitdepth": 8},
}
WRITABLE = set(_WRITERS)
"""Suffixes of the formats that can be written."""

FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "avif": ".avif"}
"""Names of the formats, and the suffix that files get."""

LOSSY = {".jpg", ".jpeg", ".webp", ".avif"}
"""Suffixes of the formats that lose some of the picture."""

QUALITY = 95
"""Default quality of lossy formats. JPEG and AVIF keep the chroma of every pixel from 90 on."""

_WITHOUT_ALPHA = {".jpg", ".jpeg"}
_MOST_PIXELS = {".jpg": 65535, ".jpeg": 65535, ".webp": 16383, ".avif": 16384}  # along a side

_EXIF_THUMBNAIL = ("jpeg-thumbnail-data", "exif-ifd1-")
_EXIF_SIZES = {
    "exif-ifd0-ImageWidth",
    "exif-ifd0-ImageLength",
    "exif-ifd4-RelatedImageWidth",
    "exif-ifd4-RelatedImageLength",
}
_EXIF_PLACES = {  # in pixels of the old picture
    "exif-ifd2-SubjectArea",
    "exif-ifd2-SubjectLocation",
    "exif-ifd2-FocalPlaneXResolution",
    "exif-ifd2-FocalPlaneYResolution",
}
_BIGTIFF = 1 << 31  # bytes of pixels above which 32-bit offsets may not suffice
_DEFAULT_RESOLUTION = 72 / 25.4


def check_quality(quality: int | None, suffix: str) -> None:
    """ValueError unless a quality is 1 … 100 and the format of ``suffix`` is lossy, or it is None."""
    if quality is None:
        return
    if suffix not in LOSSY:
        raise ValueError(f"`quality` {quality} is for jpeg, webp and avif: {suffix} files lose nothing")
    check_integer(quality, "quality", 1, 100)


def unsuited(suffix: str, size: tuple[int, int], bits: int, alpha: bool) -> str:
    """Why the format of ``suffix``, one of `WRITABLE`, cannot hold a picture of (H, W) pixels; empty if it can."""
    if suffix not in LOSSY:
        return ""
    name = suffix[1:].replace("jpg", "jpeg")
    if alpha and suffix in _WITHOUT_ALPHA:
        return f"{name} holds no alpha: use png, tiff, webp or avif"
    if bits > 8:
        return f"{name} holds 8 bits, the picture has {bits}: use png or tiff, or make it of 8 bits"
    if max(size) > (most := _MOST_PIXELS[suffix]):
        return f"{name} holds at most {most} pixels along a side, the picture has {max(size)}: use png or tiff"
    return ""


def encoded(picture: Picture, suffix: str, quality: int | None = None) -> bytes:
    """A picture and its metadata as a file in the format of ``suffix``, which can hold it (`unsuited`).

    ``quality`` of a lossy format is 1 … 100, None for `QUALITY`. pyvips.Error where that fails.
    """
    image = vips_image(picture)
    metadata = dict(picture.metadata)
    if isinstance(records := metadata.get("iptc-data"), bytes):
        block = photoshop_block(sizeless_iptc(records))  # libvips truncates TIFF's own IPTC tag
        del metadata["iptc-data"]
        metadata |= {"iptc-data": PHOTOSHOP_PREFIX + block} if suffix in _WITHOUT_ALPHA else {"photoshop-data": block}
    if isinstance(profile := metadata.pop("icc-profile-data", None), bytes) and (profile := whole_profile(profile)):
        metadata["icc-profile-data"] = profile
    if isinstance(xmp := metadata.get("xmp-data"), bytes):
        metadata["xmp-data"] = resized_xmp(xmp, *picture.size)
    keep = ForeignKeep.NONE
    for field in metadata.keys() & _KEEP.keys():
        image.set_type(pyvips.GValue.blob_type, field, metadata[field])
        keep |= _KEEP[field]
    if suffix in LOSSY and metadata.get("xres", UNSTATED) != UNSTATED:
        keep |= ForeignKeep.EXIF  # libvips writes their resolution into EXIF alone
    _remove_stale_exif(image)
    if "resolution-unit" in metadata:
        image.set_type(pyvips.GValue.gstr_type, "resolution-unit", metadata["resolution-unit"])
    resolution = {field: metadata.get(field, _DEFAULT_RESOLUTION) for field in ("xres", "yres")}
    size = image.width * image.height * image.bands * picture.bits // 8
    options: dict[str, Any] = {"bigtiff": size > _BIGTIFF} if suffix in (".tif", ".tiff") else {}
    options |= {"Q": quality or QUALITY} if suffix in LOSSY else {}
    return bytes(image.copy(**resolution).write_to_buffer(suffix, keep=keep, **options, **_WRITERS[suffix]))


def _remove_stale_exif(image: pyvips.Image) -> None:
    """Remove the EXIF fields that describe the pixels of the input, in place.

    libvips has unpacked EXIF into fields, and updates PixelXDimension and PixelYDimension when it writes.
    """
    names = [f"exif-ifd2-Pixel{axis}Dimension" for axis in "XY"]
    stated = [image.get(name).split(" ")[0] for name in names if image.get_typeof(name)]
    stale = _EXIF_SIZES if stated == [str(image.width), str(image.height)] else _EXIF_SIZES | _EXIF_PLACES
    for field in image.get_fields():
        if field.startswith(_EXIF_THUMBNAIL) or field in stale:
            image.remove(field)
