"""What is known about an LR image beside its pixels: a JPEG's coefficients, noise, or that its pixels are not exact."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image as PilImage

from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.noise import NoiseModel
from vspsr.errors import ImageFileError, size_text
from vspsr.files import one_line
from vspsr.images.io import read_image
from vspsr.images.jpeg_file import jpeg_coefficients
from vspsr.images.jpeg_traces import jpeg_traces
from vspsr.images.metadata import tiff_colours
from vspsr.images.opening import ImageFile, open_file
from vspsr.images.picture import Picture

AnyImage = ImageFile | Picture | NDArray[Any] | PilImage
"""What Python programs hold an image in."""

_JPEG = "JPEG"
_HEIF = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF"}
_TIFF_JPEG = (6, 7)  # TIFF's numbers of compressions

_BITS = {"uint8": 8, "uint16": 16}
_MODES = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "P": "RGB", "PA": "RGBA"}
_DEEP = {"I;16", "I;16L", "I;16B"}
_NAMES = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Source:
    """An LR image and what is known about it.

    Attributes:
        picture: the decoded pixels.
        jpeg: the coefficients that HR images have to give; None if they have to give the pixels.
        note: one line on what is assumed; empty if nothing is.
        noise: of the pixels, None if they have none; not with ``jpeg``.
        exact: False where pixels are taken as exact although they look lossy.
        as_colour: take three equal channels as colours, not as grey.
    """

    picture: Picture
    jpeg: JpegCoefficients | None = None
    note: str = ""
    noise: NoiseModel | None = None
    exact: bool = True
    as_colour: bool = False

    @cached_property
    def is_grey_in_colour(self) -> bool:
        """Whether it is grey stored in colour: the channels of all visible pixels are equal, and of a JPEG all
        coefficients of Cb and Cr are 0. False with ``as_colour``."""
        pixels, alpha = self.picture.pixels, self.picture.alpha
        if self.as_colour or len(pixels) == 1:
            return False
        coloured = (pixels != pixels[:1]).any(0)
        if alpha is not None and alpha.any():
            coloured &= alpha[0] > 0
        chroma = [] if self.jpeg is None else self.jpeg.coefficients[1:]
        return not (coloured.any() or any(values.any() for values in chroma))

    @property
    def in_grey(self) -> "Source":
        """If it is grey stored in colour, the same with one channel, of a JPEG with Y alone; otherwise itself."""
        if not self.is_grey_in_colour:
            return self
        jpeg, noise = self.jpeg, self.noise
        return replace(
            self,
            picture=replace(self.picture, pixels=self.picture.pixels[:1]),
            jpeg=None if jpeg is None else jpeg.luminance,
            noise=None if noise is None else NoiseModel(noise.sigma[:1], noise.gain[:1]),
        )

    @property
    def assumed(self) -> str:
        """One line on all that is assumed: the note, and whether it is taken as grey."""
        grey = "its equal channels are taken as grey" if self.is_grey_in_colour else ""
        return "; ".join(filter(None, (self.note, grey)))

    @property
    def unit(self) -> str:
        """What HR images have to give, as reports name it: "lr_values" or "coefficients"."""
        return "lr_values" if self.jpeg is None else "coefficients"

    @property
    def n_values(self) -> int:
        """How many of these there are."""
        return self.picture.n_values if self.jpeg is None else self.jpeg.n_coefficients


def read_source(
    path: ImageFile, *, as_pixels: bool = False, was_jpeg: bool = False, needed_per_pixel: int = 0
) -> Source:
    """Read an image file, and the coefficients if it is a JPEG.

    Args:
        path, needed_per_pixel: as in `read_image`.
        as_pixels: take the decoded pixels as exact, whatever the file is.
        was_jpeg: if the pixels of a file without loss show that they were a JPEG before, estimate its coefficients.

    Raises:
        ImageFileError: as `read_image`.
    """
    picture = read_image(path, needed_per_pixel=needed_per_pixel)
    kind = lossy_format(path)
    if kind is None:
        return Source(picture) if as_pixels else _was_jpeg(picture, was_jpeg)
    if kind == _JPEG and not as_pixels:
        try:
            code = jpeg_coefficients(path)
        except ImageFileError as error:
            kind = f"JPEG ({one_line(error).rpartition(': ')[2]})"
        else:
            if (*picture.size, picture.pixels.shape[0]) == (*code.upright_size, len(code.coefficients)):
                return Source(picture, code, f"JPEG {code.subsampling}: what its coefficients leave open stays open")
            kind = "JPEG (its pixels have another size or number of channels than its coefficients)"
    note = f"{kind}: its decoded pixels are taken as exact, which they are not"
    return Source(picture, note=note, exact=False)


def source_of(image: AnyImage | Source, *, as_pixels: bool = False) -> Source:
    """What Python programs hold an image in, as a source: pixels are taken as exact, files are read.

    Args:
        image: as in `vspsr.upscale`, or a source, which is returned.
        as_pixels: as in `read_source`.

    Raises:
        ImageFileError: as `read_image`.
        ValueError: something else, or an array or a PIL image of another type or shape.
    """
    if isinstance(image, Source):
        return image
    if isinstance(image, Picture):
        return Source(image)
    if isinstance(image, np.ndarray):
        return Source(_from_array(image))
    if isinstance(image, PilImage):
        return Source(_from_pillow(image))
    if not isinstance(image, str | Path | bytes):
        kind = type(image).__name__
        raise ValueError(f"`image` must be a path, bytes, a Picture, a numpy array or a PIL image, got {kind}")
    return read_source(image, as_pixels=as_pixels)


def _from_array(array: NDArray[Any]) -> Picture:
    """The picture of an array (H, W), or (H, W, bands) with the bands of `_NAMES`; uint8 or uint16."""
    bits = _BITS.get(array.dtype.name)
    if bits is None:
        how = "" if np.issubdtype(array.dtype, np.integer) else "bring its values to 0 … 255, round them and "
        text = f"{how}use `.astype(numpy.uint8)`, or uint16 for values above 255"
        raise ValueError(f"`image` must be uint8 or uint16, got an array of {array.dtype}: {text}")
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[2] not in _NAMES):
        raise ValueError(f"`image` must be (H, W) or (H, W, 1 … 4) and not empty, got {array.shape}")
    planes = torch.from_numpy(np.atleast_3d(array).transpose(2, 0, 1).astype(np.int32, order="C"))
    split = len(planes) - (len(planes) % 2 == 0)
    alpha = planes[split:] if split < len(planes) else None
    return Picture(planes[:split], bits, alpha, mode=_NAMES[len(planes)])


def _from_pillow(image: PilImage) -> Picture:
    """The picture of a PIL image, as it is: not turned, although its EXIF may ask for it. Its ICC profile is kept."""
    mode = _MODES.get(image.mode)
    if mode is not None:
        if image.has_transparency_data:
            mode = "LA" if mode in ("L", "LA") else "RGBA"
        array = np.asarray(image if mode == image.mode else image.convert(mode))
    elif image.mode in _DEEP:
        array = np.asarray(image).astype(np.uint16)
        if (clear := image.info.get("transparency")) is not None:  # the grey that is not seen
            array = np.dstack([array, np.where(array == clear, 0, 65535).astype(np.uint16)])
    else:
        raise ValueError(f"`image` has the mode {image.mode!r}: convert it to L, LA, RGB, RGBA or I;16")
    profile = image.info.get("icc_profile")
    return replace(_from_array(array), metadata={"icc-profile-data": profile} if isinstance(profile, bytes) else {})


def _was_jpeg(picture: Picture, wanted: bool) -> Source:
    opaque = picture.alpha is None or int(picture.alpha.min()) == picture.white
    traces = jpeg_traces(Source(picture).in_grey.picture.pixels) if picture.bits == 8 and opaque else None
    if traces is None:
        return Source(picture, note="no traces of a JPEG found, its pixels are taken as exact" if wanted else "")
    seen, taken = f"its pixels look like those of a {traces.name}", ", and are taken as exact" if wanted else ""
    if not traces.estimable:
        return Source(picture, note=f"{seen}, which --was-jpeg cannot estimate{taken}", exact=False)
    if traces.origin != (0, 0):
        (row, column), size = traces.origin, size_text(traces.whole(picture.size))
        crop = f"crop it to {size} pixels from column {column}, row {row} on for --was-jpeg"
        return Source(picture, note=f"{seen} that was cropped{taken}: {crop}", exact=False)
    if not wanted:
        return Source(picture, note=f"{seen}: --was-jpeg takes them as such", exact=False)
    code = traces.coefficients(picture.pixels)
    note = f"{traces.name}, {code.subsampling}, before it was saved again: its coefficients are estimated"
    if picture.alpha is not None:  # pictures made of coefficients have none
        mode = "RGB" if picture.mode == "RGBA" else picture.mode.removesuffix("+alpha")
        picture, note = replace(picture, alpha=None, mode=mode), f"{note}; its opaque alpha is left out"
    return Source(picture, code, note)


def lossy_format(path: ImageFile) -> str | None:
    """The lossy format of an image file, by its content, "JPEG" for instance; None for any other. ImageFileError as in
    `read_image`."""
    with open_file(path) as file:
        head = file.read(12)
        if head.startswith(b"\xff\xd8\xff"):
            return _JPEG
        if head[:4] == b"RIFF" and head[8:] == b"WEBP":
            return "lossy WebP" if _is_lossy_webp(file) else None
        if head[4:8] == b"ftyp":
            return _HEIF.get(head[8:])
        tiff = tiff_colours(file)
        return "JPEG in a TIFF" if tiff is not None and tiff.compression in _TIFF_JPEG else None


def _is_lossy_webp(file: BinaryIO) -> bool:
    """Whether a WebP file's first frame is coded as VP8."""
    while len(head := file.read(8)) == 8:
        if head[:4] in (b"VP8 ", b"VP8L"):
            return head[:4] == b"VP8 "
        if head[:4] == b"ANMF":  # a frame: its chunks follow 16 bytes
            file.seek(16, 1)
            continue
        size = int.from_bytes(head[4:], "little")
        file.seek(size + size % 2, 1)
    return False
