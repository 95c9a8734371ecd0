"""Super-resolution of files and folders: names of outputs, what is kept, one report for each picture."""

import io
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vspsr.errors import ImageFileError, OutputError
from vspsr.files import replacing, sha256_of
from vspsr.images.io import read_image, write_image
from vspsr.images.picture import Picture
from vspsr.images.sheets import contact_sheet, stddev_map
from vspsr.model import VSpSR
from vspsr.upscaling.pictures import Exactness, PictureSpace, bytes_per_pixel
from vspsr.version import __version__

__all__ = ["Options", "upscale_file"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What `upscale_file` writes, and how."""

    samples: int = 10
    seed: int = 0
    temperature: float | None = None
    mean: bool = False
    stddev: bool = False
    contact_sheet: bool = False
    bits: int | str = "auto"
    rounding: str = "per-pass"
    overwrite: bool = False


def upscale_file(
    path: Path, folder: Path, model: VSpSR, name: str, options: Options, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Super-resolve one image file; outputs that exist are kept unless ``options.overwrite``.

    For ``photo.png`` at x4: ``photo_x4_s00.png`` …, on request ``photo_x4_mean.png``, ``photo_x4_stddev.png`` with
    ``photo_x4_stddev.npy`` ((H, W, C) float32, units of the full range), ``photo_x4_sheet.png``, and
    ``photo_x4.json``, the report.

    Args:
        path: the image file.
        folder: where to; must exist.
        model: the model.
        name: what to call it in the report.
        options: what to write, and how.
        progress: called with a word on each step.

    Returns:
        The report, as written; with ``kept`` = True where everything was there already.

    Raises:
        ImageFileError, OutputError: as in `read_image` and `write_image`, also where outputs exist that were made
            with other settings.
        ValueError: an option out of its range.
    """
    started = time.monotonic()
    stem = f"{path.stem}_x{model.scale}"
    digits = max(2, len(str(options.samples - 1)))
    outputs = {f"s{i:0{digits}d}": folder / f"{stem}_s{i:0{digits}d}.png" for i in range(options.samples)}
    wanted = {"mean": options.mean, "stddev": options.stddev, "sheet": options.contact_sheet}
    outputs |= {key: folder / f"{stem}_{key}.png" for key, value in wanted.items() if value}
    if options.stddev:
        outputs["values"] = folder / f"{stem}_stddev.npy"
    report_path = folder / f"{stem}.json"
    temperature = model.temperature if options.temperature is None else options.temperature
    settings = {
        "input": path.name,
        "input_sha256": _sha256(path),
        "model": name,
        "scale": model.scale,
        "seed": options.seed,
        "temperature": temperature,
        "degradation": {
            "scale": model.scale,
            "kernel": model.degradation.kernel,
            "rounding": options.rounding,
        },
        "bits": options.bits,
    }
    previous = {} if options.overwrite else _previous(report_path, settings)
    missing = {k for k, p in outputs.items() if options.overwrite or not p.exists()}
    if strange := [p for k, p in outputs.items() if k not in missing and p.name not in previous.get("outputs", [])]:
        raise OutputError(
            f"{strange[0]}: exists, but {report_path.name} does not say that it was made with these settings: use "
            "--overwrite or another folder"
        )
    if not missing and previous:
        return {**previous, "kept": True}
    progress("network")
    picture = read_image(path, needed_per_pixel=bytes_per_pixel(model))
    try:
        space = PictureSpace(model, picture, temperature, options.bits, options.rounding)
    except ImageFileError as error:
        raise ImageFileError(f"{path}: {error}") from error
    exactness: dict[str, Any] = dict(previous.get("lr_not_met", {}))
    shown: list[Picture] = []

    def put(key: str, made: Picture, exact: Exactness | None = None) -> None:
        if exact is not None:
            exactness[key] = asdict(exact)
        if key in missing:
            write_image(outputs[key], made, overwrite=options.overwrite)

    for index, key in enumerate(k for k in outputs if k.startswith("s") and k[1:].isdigit()):
        if key in missing or ("sheet" in missing and index < _SHOWN):
            progress(f"sample {index + 1} of {options.samples}")
            sample, exact = space.sample(index, options.seed)
            shown += [sample] if "sheet" in missing and index < _SHOWN else []
            put(key, sample, exact)
    if {"mean", "sheet"} & missing:
        progress("mean")
        mean, exact = space.mean()
        put("mean", mean, exact if options.mean else None)
    if {"stddev", "values", "sheet"} & missing:
        progress("standard deviation")
        stddev = space.stddev()
        if "stddev" in missing:
            put("stddev", stddev_map(stddev))
        if "values" in missing:
            buffer = io.BytesIO()
            np.save(buffer, stddev.permute(1, 2, 0).contiguous().numpy())
            _write(outputs["values"], buffer.getvalue(), options.overwrite)
        if "sheet" in missing:
            title = f"{path.name}   {name}   seed {options.seed}   temperature {temperature:g}"
            put("sheet", contact_sheet(picture, mean, stddev, shown, title))
    height, width = picture.size
    report = {
        **settings,
        "lr_size": [height, width],
        "hr_size": [height * model.scale, width * model.scale],
        "mode": picture.mode,
        "output_bits": space.out_bits,
        "samples": options.samples,
        "lr_values_not_met": sum(e["lr_mismatches"] for e in exactness.values()),
        "lr_not_met": exactness,
        "outputs": sorted({p.name for p in outputs.values()} | set(previous.get("outputs", []))),
        "versions": {"vspsr": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "seconds": round(time.monotonic() - started, 3),
    }
    _write(report_path, (json.dumps(report, indent=2) + "\n").encode(), overwrite=True)
    return {**report, "kept": False}


_SHOWN = 12  # samples on a contact sheet


def _sha256(path: Path) -> str:
    """Of a file's content, so that outputs of another picture of this name are not taken for its own."""
    try:
        if path.is_file():  # a pipe would be waited for
            return sha256_of(path)
    except OSError:
        pass
    read_image(path)  # says what is wrong
    raise ImageFileError(f"{path}: cannot be read")


def _write(path: Path, content: bytes, overwrite: bool) -> None:
    with replacing(path, overwrite) as file:
        file.write(content)


def _previous(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The report of an earlier run with the same settings, {} where there is none.

    Raises:
        OutputError: it was made with other settings, so that new outputs would not belong to the old.
    """
    if not path.exists():
        return {}
    try:
        previous = json.loads(path.read_text(encoding="utf-8"))
        changed = [k for k, v in settings.items() if previous.get(k) != v]
    except (OSError, ValueError, AttributeError) as error:
        raise OutputError(f"{path}: exists but is not a report of vspsr: remove it or use --overwrite") from error
    if "input_sha256" in changed:
        raise OutputError(f"{path}: outputs of another picture of this name exist: use --overwrite or another folder")
    if changed:
        key = changed[0]
        raise OutputError(
            f"{path}: outputs made with {key} = {previous.get(key)!r} exist, not {settings[key]!r}: use --overwrite or "
            "another folder"
        )
    return dict(previous)
