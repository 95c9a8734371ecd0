"""One image in, one image out, without a folder: for pipes."""

from pathlib import Path

from vspsr.images.encoding import encoded
from vspsr.model import VSpSR
from vspsr.upscaling.folders import Report
from vspsr.upscaling.intervals import model_digest
from vspsr.upscaling.pictures import bytes_per_pixel
from vspsr.upscaling.saving import Options, SavedPictures


def upscale_stream(image: Path | bytes, model: VSpSR, name: str, options: Options) -> tuple[bytes, Report]:
    """Super-resolve one image: the content of a file, and what the report of `upscale_file` says of it.

    Args:
        image: an image file, or its content.
        model, name: as in `upscale_file`.
        options: the mean if ``mean``, otherwise sample 0. Nothing else can be asked for.

    Raises:
        ImageFileError: the image cannot be read.
        OutputError: the format cannot hold the picture.
        ValueError: options that ask for more than one image.
    """
    if options.samples + options.mean != 1:
        raise ValueError("one image goes to standard output: ask for one sample, or for the mean and no sample")
    for option in ("stddev", "contact_sheet", "intervals", "trust_mask", "overwrite"):
        if getattr(options, option):
            raise ValueError(f"`{option}` is for outputs in a folder: leave it out or give a folder")
    source = options.read(image, bytes_per_pixel(model))
    pictures = SavedPictures(model, name, model_digest(model), source, options)
    picture, exactness = pictures.mean if options.mean else pictures.sample(0)
    content = encoded(picture, options.suffix, options.quality)
    return content, {**pictures.about(), **exactness.record(), "samples": options.samples}
