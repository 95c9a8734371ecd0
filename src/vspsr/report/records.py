"""What is kept of an evaluation: one record for each image, as a file of JSON (see `vspsr.files.to_json`)."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from vspsr.errors import VSpSRError
from vspsr.files import one_line, printable, read_json
from vspsr.metrics import Calibration


class Metric(NamedTuple):
    """A column of the tables."""

    higher_is_better: bool
    label: str
    digits: int
    note: str = ""


METRICS = {
    "distance": Metric(False, "perceptual distance", 4, "mean of the map of distances, as the challenge takes it"),
    "distance_without_map": Metric(
        False, "without a map", 4, "the same distance as its package gives it without a map"
    ),
    "psnr_rgb": Metric(True, "PSNR, RGB (dB)", 2),
    "psnr_y": Metric(True, "PSNR, Y (dB)", 2),
    "ssim": Metric(True, "SSIM", 4),
    "lr_psnr": Metric(True, "LR-PSNR (dB)", 2, "downscaled SR against downscaled truth"),
    "lr_psnr_file": Metric(True, "LR-PSNR, file (dB)", 2, "downscaled SR against the LR file"),
    "lr_pixels_wrong": Metric(False, "LR pixels wrong", 0, "pixels of the LR image that are not reproduced"),
}


class ReportError(VSpSRError):
    """A report folder is missing, unfinished or damaged."""


@dataclass(frozen=True)
class SampleRow:
    """The figures of one SR image.

    Attributes:
        index: number of the sample from 0; None for the mean image and for bicubic.
        distance: perceptual distance from the truth by the report's backend, mean of the map (the challenge's "LPIPS").
        distance_without_map: the same as its package gives it without a map.
        psnr_rgb, psnr_y: in dB.
        ssim: structural similarity.
        lr_psnr: in dB, of the downscaled SR image against the downscaled truth, both cropped as the protocol says.
        lr_psnr_file: in dB, against the LR file that was given, not cropped; None without one.
        lr_pixels_wrong: number of pixels in which the downscaled SR image differs from its LR image (the file that was
            given, or the downscaled truth).
    """

    index: int | None
    distance: float
    distance_without_map: float | None
    psnr_rgb: float
    psnr_y: float
    ssim: float | None
    lr_psnr: float
    lr_psnr_file: float | None
    lr_pixels_wrong: int


@dataclass(frozen=True)
class ImageRecord:
    """Everything that was measured on one image.

    Attributes:
        stem: of the HR file.
        height, width: of the HR image as evaluated.
        bits: 8 or 16.
        n_samples: number of samples.
        lr_pixels: number of LR pixels.
        samples: a row for each sample.
        mean: of the space's mean, or of the mean of the samples; None where there is neither or not asked for.
        bicubic: of the LR image enlarged by bicubic interpolation.
        global_best, local_best, score, curve: diversity, see `vspsr.metrics.diversity_score`; None for one sample, and
            the score also where a sample is perfect.
        pixel_stddev: standard deviation over samples, mean over pixels, in levels of 0–255; None for one sample.
        pairwise: mean perceptual distance of two samples; None where not asked for.
        calibration: the tallies; None where not asked for.
        pictures: name → end of the colour scale of its map (None for photographs), of the pictures written.
        files: role and name → digest, of all files that went into this record.
        seconds: time it took.
    """

    stem: str
    height: int
    width: int
    bits: int
    n_samples: int
    lr_pixels: int
    samples: list[SampleRow]
    mean: SampleRow | None
    bicubic: SampleRow
    global_best: float | None
    local_best: float | None
    score: float | None
    curve: list[float | None] | None
    pixel_stddev: float | None
    pairwise: float | None
    calibration: Calibration | None
    pictures: dict[str, float | None] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        n = self.n_samples
        if n < 1 or [row.index for row in self.samples] != list(range(n)):
            raise ValueError(f"`samples` must be rows 0 … {n - 1}")
        if self.curve is not None and len(self.curve) != n:
            raise ValueError(f"`curve` must have {n} values, got {len(self.curve)}")
        if self.calibration is not None and self.calibration.n_samples != n:
            raise ValueError(f"`calibration` must be of {n} samples, got {self.calibration.n_samples}")
        if min(self.height, self.width, self.lr_pixels) < 1:
            raise ValueError(f"`height`, `width` and `lr_pixels` must be at least 1, got {self.height}, {self.width}")


_adapter = cache(TypeAdapter[Any])


def read_as(kind: Any, path: Path) -> Any:
    """What a file of JSON holds, as a dataclass or another type that pydantic checks.

    Raises:
        ReportError: no such file, or it is damaged or holds something else.
    """
    content = read_json(path, error=ReportError)
    try:
        return _adapter(kind).validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = f"`{'.'.join(map(str, problem['loc']))}`: " if problem["loc"] else ""
        why = one_line(place + problem["msg"].removeprefix("Value error, "))
        raise ReportError(
            f"{one_line(path)}: not of this version of vspsr ({why}): evaluate anew with --overwrite"
        ) from error


def read_record(path: Path) -> ImageRecord:
    """The record in a file that is named after its stem. ReportError as in `read_as`."""
    record: ImageRecord = read_as(ImageRecord, path)
    if record.stem != path.stem:
        raise ReportError(f"{one_line(path)}: is the record of {printable(record.stem)}: evaluate anew")
    return record
