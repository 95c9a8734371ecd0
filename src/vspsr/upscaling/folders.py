"""Super-resolution and degradation of many files: which are inputs, how outputs are named, errors file by file."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vspsr.degradation import Degradation
from vspsr.errors import explain, is_expected
from vspsr.files import identities, keep_inputs, lies_within, one_line
from vspsr.images import read_image
from vspsr.images.encoding import QUALITY
from vspsr.images.folders import image_files, name_key
from vspsr.images.opening import sha256_of_image
from vspsr.images.picture import Picture
from vspsr.images.sheets import contact_sheet, stddev_map
from vspsr.model import VSpSR
from vspsr.upscaling.comparison import DEGRADING, cropped, degrade
from vspsr.upscaling.intervals import model_digest
from vspsr.upscaling.models import Models
from vspsr.upscaling.outputs import Outputs, Record, folder_for_outputs, write_unless_there
from vspsr.upscaling.pictures import bytes_per_pixel
from vspsr.upscaling.saving import Options, SavedPictures
from vspsr.version import __version__

Report = dict[str, Any]
"""What was done with a file, as JSON values; with "error", one line, where it failed."""

Progress = Callable[[str, float], None]
"""(what is done now, the part of the whole work since the last call)"""

OnError = Callable[[Exception, str], None]
"""(an error, the same in one line that names the file)"""

_SHOWN = 12  # samples on a contact sheet


def input_files(inputs: Sequence[Path], folder: Path, recursive: bool = False) -> dict[Path, Path]:
    """The images among files and in folders, each once, with the subfolder of ``folder`` that its outputs go to.

    Folders that cannot be read are among them: `each_file` reports them.

    Args:
        inputs: files and folders.
        folder: where the outputs will be.
        recursive: whether to search subfolders too; outputs are then in the same tree.

    Raises:
        ImageFileError: a folder with no image in it.
        ValueError: the outputs would be among the inputs of the next run.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        check_no_input(folder, path, recursive)
        for file in image_files([path], recursive, keep_unreadable=True):
            found.setdefault(file.absolute(), (file, file.relative_to(path).parent if path.is_dir() else Path()))
    return dict(found.values())


def check_no_input(folder: Path, path: Path, recursive: bool = False) -> None:
    """ValueError where the folder of outputs is an input, or with ``recursive`` within it."""
    below = path.is_dir() and recursive and lies_within(folder, path)
    if below or (path.is_dir() and folder.is_dir() and path.samefile(folder)):
        where = "lies within" if below else "is"
        raise ValueError(f"{one_line(folder)}: {where} a folder of inputs: give another folder for the outputs")


def upscale_files(
    files: Mapping[Path, Path],
    folder: Path,
    models: Models,
    options: Options,
    progress: Progress = lambda *_: None,
    on_error: OnError = lambda *_: None,
) -> Iterator[Report]:
    """`upscale_file` for each of many files, into one folder that is made if missing.

    A file that cannot be done is reported with its error, and the others are done. Bugs are raised. No output replaces
    one of the files.

    Args:
        files: each with the subfolder of ``folder`` that its outputs go to, as `input_files` finds them.
    """
    if options.calibration is not None:
        options.calibration.check_model(models.fitting()[0])
    own = re.compile(rf"(?P<stem>.+)_x{models.scale}_(s[0-9]+|mean|stddev|sheet|low|high|trust)\.[a-z]+", re.DOTALL)

    def work(path: Path, where: Path, step: Callable[[str, float], None]) -> Report:
        model, name = models.fitting(options.by_coefficients(path))
        report = upscale_file(path, where, model, name, options, step)
        return {**report, "input": str(files[path] / path.name)}  # subfolders may have files of one name

    return each_file(files, folder, own, work, progress, on_error)


def degrade_files(
    files: Mapping[Path, Path],
    folder: Path,
    degradation: Degradation,
    rounding: str = "per-pass",
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
    on_error: OnError = lambda *_: None,
    crop: bool = False,
) -> Iterator[Report]:
    """`degrade_file` for each of many files, otherwise as `upscale_files`."""
    own = re.compile(rf"(?P<stem>.+)x{degradation.scale}\.png", re.DOTALL)

    def work(path: Path, where: Path, _: Callable[[str, float], None]) -> Report:
        return degrade_file(path, where, degradation, rounding, overwrite, crop)

    return each_file(files, folder, own, work, progress, on_error)


def each_file(
    files: Mapping[Path, Path],
    folder: Path,
    own: re.Pattern[str] | None,
    work: Callable[[Path, Path, Progress], Report],
    progress: Progress,
    on_error: OnError,
) -> Iterator[Report]:
    """The reports of ``work(file, folder of its outputs, progress)`` on each file: see `upscale_files`.

    ``own`` matches the names of outputs; None if they are named as their inputs.
    """
    first: dict[str, Path] = {}

    def key(path: Path, stem: str) -> str:
        return name_key(str(files[path] / stem))

    for path in files:
        if not path.is_dir():
            first.setdefault(key(path, path.stem), path)
    kept = identities(files)
    with folder_for_outputs(folder):
        for path in files:
            done = 0.0

            def file_progress(what: str, part: float, path: Path = path) -> None:
                nonlocal done
                done += part
                progress(f"{path.name}: {what}" if what else path.name, part)

            file_progress("", 0.0)
            try:
                where = folder / files[path]
                if path.is_dir():
                    image_files([path])  # says why it could not be read
                if (other := first.get(key(path, path.stem), path)) != path:
                    raise ValueError(f"its outputs would be named as those of {one_line(other)}: rename one of them")
                match = own.fullmatch(path.name) if own else None
                if match and key(path, match["stem"]) in first and where.is_dir() and path.parent.samefile(where):
                    raise ValueError(f"is an output of {one_line(first[key(path, match['stem'])])}, not an input")
                with folder_for_outputs(where) if where != folder else nullcontext(), keep_inputs(kept):
                    report = work(path, where, file_progress)
            except Exception as error:
                if not is_expected(error):
                    error.add_note(str(path))
                    raise
                text, name = explain(error), one_line(path)
                report = {"input": str(path), "error": text if name in text else f"{name}: {text}"}
                on_error(error, report["error"])
            file_progress("", 1.0 - done)
            yield report


def degrade_file(
    path: Path,
    folder: Path,
    degradation: Degradation,
    rounding: str = "per-pass",
    overwrite: bool = False,
    crop: bool = False,
) -> Report:
    """Downscale one image file: photo.png becomes photox4.png; with ``crop``, after `cropped`.

    An output that exists is kept if it holds the same image.

    Raises:
        ImageFileError: as `read_image`.
        OutputError: as `write_image`, also where another image is there and ``overwrite`` is false.
        ValueError: nothing is left after cropping.
    """
    target = folder / f"{path.stem}x{degradation.scale}.png"
    hr = read_image(path, needed_per_pixel=DEGRADING)
    lr = degrade(cropped(hr, degradation.scale) if crop else hr, degradation, rounding)
    kept = write_unless_there(target, lr, overwrite)
    return {"input": str(path), "output": str(target), "lr_size": list(lr.size), "kept": kept}


def upscale_file(
    path: Path, folder: Path, model: VSpSR, name: str, options: Options, progress: Progress = lambda *_: None
) -> Report:
    """Super-resolve one image file; finished outputs of the same settings are kept unless ``options.overwrite``.

    For ``photo.png`` at x4: ``photo_x4_s00.png`` …, on request ``photo_x4_mean.png``, ``photo_x4_stddev.png`` with
    ``photo_x4_stddev.npy`` ((H, W, C) float32, units of the full range), ``photo_x4_sheet.png``, the calibrated
    ``photo_x4_low.png``, ``photo_x4_high.png`` and ``photo_x4_trust.png``, and ``photo_x4.json``, the report. Sample i
    has the same name and content whatever the number of samples. Samples and mean are of ``options.format``; all
    others are PNG.

    Args:
        folder: where to; must exist.
        name: what to call the model in the report.
        progress: called at the beginning of each step.

    Returns:
        The report, as written; with ``kept`` = True where everything was there already.

    Raises:
        ImageFileError, OutputError: as in `read_image` and `write_image`, also where outputs exist that were made
            with other settings.
    """
    stem = f"{path.stem}_x{model.scale}"
    temperature = model.temperature if options.temperature is None else options.temperature
    settings: dict[str, Any] = {
        "input": path.name,
        "input_sha256": sha256_of_image(path),
        "model": name,
        "model_config": model.config,
        "model_sha256": model_digest(model),
        "scale": model.scale,
        "seed": options.seed,
        "temperature": temperature,
        "calibration": model.calibration,
        "degradation": {"scale": model.scale, "kernel": model.degradation.kernel, "rounding": options.rounding},
        "bits": options.bits,
        "as_pixels": options.as_pixels,
        "was_jpeg": options.was_jpeg,
        "format": options.format,
        "quality": (options.quality or QUALITY) if options.lossy else None,
        "keep_print_size": options.keep_print_size,
        "denoise": options.denoise,
        "budget": options.budget,
        "device": next(model.parameters()).device.type,
        "vspsr": __version__,
        "torch": torch.__version__,
    }
    samples = {f"{stem}_s{i:02d}{options.suffix}": i for i in range(options.samples)}
    wanted: dict[str, Record] = {sample: {} for sample in samples}
    ends = (f"mean{options.suffix}", "stddev.png", "stddev.npy", "sheet.png")
    mean, stddev, values, sheet = (f"{stem}_{end}" for end in ends)
    wanted |= {mean: {}} if options.mean else {}
    wanted |= {stddev: {}, values: {}} if options.stddev else {}
    kinds = {"low": options.intervals, "high": options.intervals, "trust": options.trust_mask}
    bounds = {f"{stem}_{kind}.png": kind for kind, asked_for in kinds.items() if asked_for}
    wanted |= {name: {"factor": options.calibration.factor} for name in bounds} if options.calibration else {}
    wanted |= {sheet: {"samples": min(options.samples, _SHOWN)}} if options.contact_sheet else {}
    outputs = Outputs(folder / f"{stem}.json", settings, wanted, options.overwrite)
    if not outputs.missing:
        return {**outputs.report(), "kept": True}

    part = 1 / (len(outputs.missing) + 1)
    progress("network", 0.0)
    source = options.read(path, bytes_per_pixel(model))
    pictures = SavedPictures(model, name, settings["model_sha256"], source, options)
    space = pictures.space

    def made(file: str) -> tuple[Picture | bytes, Record]:
        if file == mean:
            hr, exactness = pictures.mean
            return hr, exactness.record()
        if file == stddev:
            return stddev_map(space.stddev()), {}
        if file == values:
            buffer = io.BytesIO()
            np.save(buffer, space.stddev().permute(1, 2, 0).contiguous().numpy())
            return buffer.getvalue(), {}
        if file in bounds:
            return pictures.calibrated[bounds[file]], wanted[file]
        if file == sheet:
            shown = [read_image(folder / sample) for sample in islice(samples, _SHOWN)]
            title = f"{one_line(path.name)}   {one_line(name)}   seed {options.seed}   temperature {temperature:g}"
            return contact_sheet(source.picture, pictures.mean[0], space.stddev(), shown, title), wanted[sheet]
        hr, exactness = pictures.sample(samples[file])
        return hr, exactness.record()

    with outputs.being_made(pictures.about()):
        for file in outputs.missing:
            progress(file.removeprefix(f"{stem}_"), part)
            content, record = made(file)
            outputs.write(file, content, record, options.quality if file in samples or file == mean else None)
    return {**outputs.report(), "kept": False}
