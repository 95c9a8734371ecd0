"""A picture as the bytes of a PNG or TIFF file, with its metadata brought up to date."""

from typing import Any

import pyvips
from pyvips.enums import ForeignKeep, ForeignPngFilter

from vspsr.images.colours import vips_image
from vspsr.images.metadata import photoshop_block, resized_xmp, sizeless_iptc
from vspsr.images.picture import Picture

_KEEP = {
    "icc-profile-data": ForeignKeep.ICC,
    "exif-data": ForeignKeep.EXIF,
    "xmp-data": ForeignKeep.XMP,
    "photoshop-data": ForeignKeep.OTHER,
}
_TIFF = {"compression": "deflate", "predictor": "horizontal"}
_WRITERS: dict[str, dict[str, Any]] = {".png": {"filter": ForeignPngFilter.PAETH}, ".tif": _TIFF, ".tiff": _TIFF}
SUFFIXES = set(_WRITERS)
"""Suffixes of the formats that can be written."""

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


def encode(picture: Picture, suffix: str, target: pyvips.Target) -> None:
    """Write a picture and its metadata to ``target`` in the format of ``suffix``, one of `SUFFIXES`.

    Raises:
        pyvips.Error: writing fails.
    """
    image = vips_image(picture)
    metadata = dict(picture.metadata)
    if isinstance(records := metadata.get("iptc-data"), bytes):
        metadata["photoshop-data"] = photoshop_block(sizeless_iptc(records))  # libvips truncates TIFF's own IPTC tag
    if isinstance(xmp := metadata.get("xmp-data"), bytes):
        metadata["xmp-data"] = resized_xmp(xmp, *picture.size)
    keep = ForeignKeep.NONE
    for field in metadata.keys() & _KEEP.keys():
        image.set_type(pyvips.GValue.blob_type, field, metadata[field])
        keep |= _KEEP[field]
    _remove_stale_exif(image)
    if "resolution-unit" in metadata:
        image.set_type(pyvips.GValue.gstr_type, "resolution-unit", metadata["resolution-unit"])
    resolution = {field: metadata.get(field, _DEFAULT_RESOLUTION) for field in ("xres", "yres")}
    size = image.width * image.height * image.bands * picture.bits // 8
    options = {} if suffix == ".png" else {"bigtiff": size > _BIGTIFF}
    image.copy(**resolution).write_to_target(target, suffix, keep=keep, **options, **_WRITERS[suffix])


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
