"""An evaluation, from folders to a report: check everything, score each image that has no record yet, summarise.

REPORT/settings.json         request and versions: written first, and compared when the command is run again
REPORT/images/{stem}.json    a record for each finished image
REPORT/images/{stem}/*.webp  pictures of the first images
REPORT/metrics.csv           a row for each image and sample
REPORT/references.csv        the same for bicubic interpolation and the mean
REPORT/summary.json          all figures
REPORT/index.html            the page
"""

import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vspsr.checks import value_text
from vspsr.consistency.threads import one_thread
from vspsr.errors import OutputError, counted, size_text
from vspsr.evaluation.dataset import Pair, find_pairs
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.processes import Task, default_processes, devices, score_all
from vspsr.evaluation.request import Request
from vspsr.evaluation.scoring import Scorer
from vspsr.files import make_folder, write_bytes, write_json
from vspsr.report.folder import read_report
from vspsr.report.records import ReportError, read_as, read_record
from vspsr.report.summary import references, samples
from vspsr.version import __version__

Step = Callable[[str, int], None]
"""Called with the current work and the number of images finished since the last call; "" for those kept from an earlier
run."""

_SETTINGS, _SUMMARY, _PAGE = "settings.json", "summary.json", "index.html"
_TABLES = {"metrics.csv": samples, "references.csv": references}


def evaluate(
    request: Request,
    output: Path,
    device: str = "cpu",
    processes: int | None = None,
    overwrite: bool = False,
    step: Step = lambda *_: None,
) -> dict[str, Any]:
    """Run an evaluation, or resume one.

    Args:
        output: the report folder; made if missing.
        device: "cpu", "cuda" (all GPUs) or "cuda:1" …
        processes: worker processes; None for as many as there are cores, images and memory for.
        overwrite: whether a report made with other settings is replaced.

    Returns:
        What summary.json holds.

    Raises:
        EvaluationError: images that do not match, or files that cannot be decoded (all other images are then scored
            and kept).
        VSpSRError, ValueError: a model, baseline, weights or option that is not available.
        OutputError: the report folder holds something else, or cannot be written.
    """
    on = devices(device)
    with one_thread():
        scorer, pairs, todo = _prepare(request, output, on[0], overwrite, step)
    if processes is None:
        processes = default_processes([t.pair for t in todo], request, scorer.source.n_samples, on)
    failures = []
    step("", len(pairs) - len(todo))
    for task, failure in score_all(scorer, todo, on, max(1, min(processes, len(todo)))):
        step(task.pair.stem, 1)
        failures += [failure] if failure else []
    if failures:
        failures.sort()
        more = f" (and {len(failures) - 1} more: {'; '.join(failures[1:])})" if len(failures) > 1 else ""
        raise EvaluationError(
            f"{failures[0]}{more}: {len(pairs) - len(failures)} of {counted(len(pairs), 'image')} done and "
            f"kept in {output}: repair the files and run the same command again"
        )
    from vspsr.report.page import write_report

    report = read_report(output)
    for name, table in _TABLES.items():
        write_bytes(output / name, table(report.records), overwrite=True)
    write_json(output / _SUMMARY, report.summary, overwrite=True)
    write_report(report)
    return report.summary


def _prepare(
    request: Request, output: Path, device: str, overwrite: bool, step: Step
) -> tuple[Scorer, list[Pair], list[Task]]:
    """Check all that can be checked before an image is scored: scorer, images, and those that are not finished."""
    _check_output(output)
    if find_spec("matplotlib") is None:  # known now, not after hours
        raise EvaluationError("the report needs the package matplotlib: install vspsr[eval]")

    def checking(stem: str, _advance: int) -> None:
        step(f"checking {stem}", 0)

    # Names and sizes first, because these are most often wrong; then networks, which take seconds to load.
    pairs = find_pairs(request.hr, request.scale, request.lr, request.results, request.samples, checking)
    scorer = Scorer(request, len(pairs[0].samples), device)
    smallest = scorer.smallest
    for pair in pairs:
        if min(pair.size) < smallest:
            raise EvaluationError(
                f"{pair.hr}: {size_text(pair.size)} pixels are too few for {scorer.backend.name} and the border: "
                f"at least {smallest} on each side are needed"
            )
    settings = {
        **scorer.settings(),
        "images": [pair.stem for pair in pairs],
        "versions": {
            "vspsr": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    _check_settings(output, settings, overwrite)
    make_folder(output)
    write_json(output / _SETTINGS, settings, overwrite=True)  # first: it marks the folder as a report
    make_folder(output / "images")
    todo = []
    for number, pair in enumerate(pairs):
        checking(pair.stem, 0)
        folder = output / "images" / pair.stem
        task = Task(pair, folder.with_name(f"{pair.stem}.json"), folder if number < request.pictures else None)
        if not _is_done(task, scorer):
            todo.append(task)
    if todo:  # these files would not fit the new records
        for name in (_SUMMARY, _PAGE, *_TABLES):
            (output / name).unlink(missing_ok=True)
    return scorer, pairs, todo


def _check_output(output: Path) -> None:
    """OutputError if the folder holds something else."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is not a folder: give another --output")
    visible = output.is_dir() and any(not p.name.startswith(".") for p in output.iterdir())
    if visible and not (output / _SETTINGS).is_file():
        raise OutputError(f"{output}: holds other files than a report: give another --output")


def _check_settings(output: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """OutputError if a report was made with other settings; with ``overwrite``, its records are removed."""
    path = output / _SETTINGS
    if not path.exists():
        return
    if not overwrite:
        previous = read_as(dict[str, Any], path)
        changed = [k for k in {**settings, **previous} if previous.get(k) != settings.get(k)]
        if not changed:
            return
        key = changed[0]
        was, now = (value_text(s.get(key)) for s in (previous, settings))
        raise OutputError(
            f"{path}: a report with {key} = {was}, not {now}, is in this folder: use --overwrite or another --output"
        )
    for record in (output / "images").glob("*.json"):
        record.unlink()
        with suppress(OSError):
            shutil.rmtree(record.with_name(record.stem))


def _is_done(task: Task, scorer: Scorer) -> bool:
    """Whether an image has a record of the very files that are there now, and the pictures wanted."""
    try:
        record = read_record(task.record)
    except ReportError:
        return False  # missing, damaged or of another version: scored anew
    fits = (record.n_samples, (record.height, record.width)) == (scorer.source.n_samples, task.pair.size)
    pictured = task.pictures is None or bool(record.pictures)
    return fits and pictured and record.files == task.pair.digests()


def interrupted(output: Path) -> str:
    """What is kept, and how to resume, after an evaluation was stopped."""
    done = len(list((output / "images").glob("*.json")))
    return f"{counted(done, 'image')} done and kept in {output}: run the same command again to go on"
