"""What is saved of a picture's space, and how: options, and pictures with their resolution and provenance."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vspsr.checks import check_bits_and_rounding, check_choice, check_number, check_seed, check_temperature
from vspsr.errors import OutputError, did_you_mean
from vspsr.files import kind_of
from vspsr.images.encoding import FORMATS, LOSSY, QUALITY, check_quality, encoded, unsuited
from vspsr.images.metadata import with_print_size_kept
from vspsr.images.opening import ImageFile
from vspsr.images.picture import Picture
from vspsr.images.provenance import pixels_digest, with_provenance
from vspsr.images.sources import Source, lossy_format, read_source
from vspsr.model import VSpSR
from vspsr.upscaling.consistent import DEPTHS, Exactness
from vspsr.upscaling.intervals import IntervalCalibration, model_digest, trust_mask
from vspsr.upscaling.noise import Denoise, check_denoise, is_denoising, with_noise
from vspsr.upscaling.pictures import PictureSpace, bytes_per_pixel, check_samples
from vspsr.version import __version__


@dataclass(frozen=True)
class Options:
    """What `upscale_file` writes, and how: see `vspsr.upscaling.upscale`.

    Attributes:
        mean, stddev, contact_sheet: what to write beside samples.
        calibration: of `vspsr calibrate`, for the model.
        intervals, trust_mask: write the bounds of each value, and where they are narrow, by this calibration.
        overwrite: whether outputs that exist are replaced.
        was_jpeg: estimate the coefficients of pixels that show traces of a JPEG.
        format: of samples and the mean, one of `FORMATS`.
        quality: of a lossy format; None for its default.
        keep_print_size: multiply the resolution, so that the picture has the size on paper that it had.
        denoise: as in `vspsr.upscale`.
        budget: as in `quantize`, for each picture.

    Raises:
        ValueError: a value out of its range, options that exclude each other.
    """

    samples: int = 10
    seed: int = 0
    temperature: float | None = None
    mean: bool = False
    stddev: bool = False
    contact_sheet: bool = False
    bits: int | str = "auto"
    rounding: str = "per-pass"
    overwrite: bool = False
    as_pixels: bool = False
    was_jpeg: bool = False
    calibration: IntervalCalibration | None = None
    intervals: bool = False
    trust_mask: bool = False
    format: str = "png"
    quality: int | None = None
    keep_print_size: bool = False
    denoise: Denoise = None
    budget: float | None = None

    def __post_init__(self) -> None:
        check_samples(self.samples)
        check_seed(self.seed)
        if self.temperature is not None:
            check_temperature(self.temperature)
        check_choice(self.bits, "bits", DEPTHS)
        check_bits_and_rounding(8, self.rounding)
        check_denoise(self.denoise)
        if self.budget is not None:
            check_number(self.budget, "budget")
        if (self.intervals or self.trust_mask) != (self.calibration is not None):
            raise ValueError(
                "`calibration` and `intervals` or `trust_mask` go together: `vspsr calibrate` makes the former"
            )
        if self.calibration is not None and is_denoising(self.denoise):
            raise ValueError("`calibration` and `denoise` exclude each other: the former holds for exact pixels")
        if self.calibration is not None and self.calibration.rounding != self.rounding:
            made_for = f"`calibration` was made for `rounding` {self.calibration.rounding}, not {self.rounding}"
            raise ValueError(f"{made_for}: make one for this by `vspsr calibrate`")
        if self.was_jpeg and (self.as_pixels or is_denoising(self.denoise)):
            other = "as_pixels" if self.as_pixels else "denoise"
            raise ValueError(
                f"`was_jpeg` and `{other}` exclude each other: the one uses coefficients, the other pixels"
            )
        if self.format not in FORMATS:
            raise ValueError(f"`format` {self.format!r}: {did_you_mean(self.format, FORMATS)}")
        check_quality(self.quality, self.suffix)
        if self.lossy and self.bits == 16:
            raise ValueError(f"`format` {self.format} holds 8 bits and `bits` is 16: use png or tiff")

    @property
    def suffix(self) -> str:
        """Of samples and the mean, with its dot."""
        return FORMATS[self.format]

    @property
    def lossy(self) -> bool:
        """Whether files hold less than the pictures."""
        return self.suffix in LOSSY

    def by_coefficients(self, image: ImageFile) -> bool:
        """Whether a file counts by its JPEG coefficients, if they can be read. ImageFileError as in `read_image`."""
        by_pixels = self.as_pixels or is_denoising(self.denoise) or self.calibration is not None
        return not by_pixels and (self.was_jpeg or lossy_format(image) == "JPEG")

    def read(self, image: ImageFile, needed_per_pixel: int = 0) -> Source:
        """The LR picture of a file. ImageFileError as in `read_image`."""
        return read_source(image, as_pixels=self.as_pixels, was_jpeg=self.was_jpeg, needed_per_pixel=needed_per_pixel)


@dataclass
class SavedPictures:
    """The pictures of one LR picture as they are saved.

    Args:
        name: what to call the model: a shipped model, a folder or a Hub id.
        digest: of the model, see `model_digest`.
        source: the LR picture.

    Raises:
        OutputError: the format cannot hold the pictures.
    """

    model: VSpSR
    name: str
    digest: str
    source: Source
    options: Options
    space: PictureSpace = field(init=False)

    def __post_init__(self) -> None:
        options, picture = self.options, self.source.picture
        bits = picture.bits if options.bits == "auto" else int(options.bits)
        height, width = self.hr_size
        if problem := unsuited(options.suffix, (height, width), bits, picture.alpha is not None):
            raise OutputError(f"`format` {options.format} does not fit: {problem}")
        if options.calibration is not None and self.source.jpeg is not None:
            raise OutputError("`calibration` holds for pixels that are exact, which those of a JPEG are not")
        self.source = with_noise(self.source, options.denoise)
        arguments = options.temperature, options.bits, options.rounding, options.budget
        self.space = PictureSpace(self.model, self.source, *arguments)

    @property
    def hr_size(self) -> tuple[int, int]:
        """(H, W)"""
        height, width = self.source.picture.size
        return height * self.model.scale, width * self.model.scale

    def about(self) -> dict[str, Any]:
        """What the report says about the picture."""
        picture, jpeg, noise = self.source.picture, self.source.jpeg, self.source.noise
        saved = f"before it was saved as {self.options.format} of quality {self.options.quality or QUALITY}"
        return {
            "lr_size": list(picture.size),
            "lr_values": picture.n_values,
            "coefficients": None if jpeg is None else jpeg.n_coefficients,
            "hr_size": list(self.hr_size),
            "mode": picture.mode,
            "output_bits": self.space.out_bits,
            "assumed": self.space.pictures.source.assumed,
            "noise": None if noise is None else [round(sigma, 6) for sigma in noise.sigma.tolist()],
            "noise_gain": None if noise is None else [round(gain, 6) for gain in noise.gain.tolist()],
            "jpeg": None if jpeg is None else jpeg.description(),
            "exact_until": saved if self.options.lossy else "",  # where the exactness stated here ends
        }

    def sample(self, index: int) -> tuple[Picture, Exactness]:
        """Sample ``index``."""
        picture, exactness = self.space.sample(index, self.options.seed)
        temperature = self.space.space.temperature
        assert isinstance(temperature, float)
        drawn = {"Sample": str(index), "Seed": str(self.options.seed), "Temperature": f"{temperature:g}"}
        return self._saved(picture, drawn), exactness

    @cached_property
    def mean(self) -> tuple[Picture, Exactness]:
        """The mean of the space."""
        picture, exactness = self.space.mean()
        return self._saved(picture, {"Sample": "mean"}), exactness

    def _saved(self, picture: Picture, drawn: dict[str, str]) -> Picture:
        if self.options.keep_print_size:
            picture = replace(picture, metadata=with_print_size_kept(picture.metadata, self.model.scale))
        return with_provenance(picture, self._origin | drawn)

    @cached_property
    def calibrated(self) -> dict[str, Picture]:
        """`low` and `high`, the bounds of the calibrated intervals, and `trust`, the mask: see `trust_mask`."""
        assert self.options.calibration is not None
        factor = self.options.calibration.factor
        low, high = self.space.interval(factor)
        return {"low": low, "high": high, "trust": trust_mask(self.space.stddev(), factor)}

    @cached_property
    def _origin(self) -> dict[str, str]:
        # The folder of a model is somebody's: its name alone goes into files that are passed on.
        name = Path(self.name).resolve().name if kind_of(self.name) == "folder" else self.name
        return {
            "Software": f"vspsr {__version__}",
            "Model": name,
            "ModelDigest": self.digest,
            "Scale": str(self.model.scale),
            "LrDigest": pixels_digest(self.source.picture),
        }


def upscale_stream(image: Path | bytes, model: VSpSR, name: str, options: Options) -> tuple[bytes, dict[str, Any]]:
    """Super-resolve one image, for pipes: the content of a file, and what the report of `upscale_file` says about it.

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
