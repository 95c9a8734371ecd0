"""An evaluation from folders to report: check everything, score image by image, go on where it stopped, sum up.

REPORT/settings.json         what was asked for and with which versions: written first, compared when going on
REPORT/images/{stem}.json    a record for each image that is done
REPORT/images/{stem}/*.webp  pictures of the first images
REPORT/metrics.csv           a row for each image and sample
REPORT/references.csv        likewise, of bicubic interpolation and of the mean
REPORT/summary.json          everything in figures
REPORT/index.html            everything to look at
"""

import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vspsr.errors import OutputError
from vspsr.evaluation.dataset import Pair, digests, find_pairs
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.processes import Ranks, Task, default_processes, devices, one_thread, score_all
from vspsr.evaluation.request import Request
from vspsr.evaluation.scoring import Scorer
from vspsr.files import make_folder, replacing
from vspsr.report.records import ImageRecord, read_json, references, samples, summarize, write_json
from vspsr.version import __version__

__all__ = ["ElsewhereError", "Plan", "evaluate", "interrupted", "prepare"]

Step = Callable[[str, int], None]
"""Called with what is being done, and how many images more are done."""


def _no_step(_what: str, _advance: int) -> None:
    pass


_SETTINGS, _SUMMARY, _PAGE = "settings.json", "summary.json", "index.html"
_TABLES = {"metrics.csv": samples, "references.csv": references}


class ElsewhereError(EvaluationError):
    """What went wrong is told by another process."""


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        pairs: all images, by stem.
        todo: those among them that are not done yet.
        settings: what settings.json holds.
    """

    pairs: list[Pair]
    todo: list[Task]
    settings: dict[str, Any]


def evaluate(
    request: Request,
    output: Path,
    device: str = "cpu",
    processes: int | None = None,
    overwrite: bool = False,
    step: Step = _no_step,
    ranks: Ranks | None = None,
) -> dict[str, Any] | None:
    """Run an evaluation, or go on with one.

    Args:
        request: what to evaluate.
        output: the report folder; made where it is missing.
        device: "cpu", "cuda" (all GPUs) or "cuda:1" …
        processes: worker processes; None for as many as there are cores, images and memory for.
        overwrite: whether a report made with other settings is replaced.
        step: for a progress bar.
        ranks: the place in a distributed run; all ranks must see ``output``.

    Returns:
        What summary.json holds; None on ranks other than 0.

    Raises:
        EvaluationError: images that do not go together, or files that cannot be decoded (all other images are scored
            then, and kept).
        VSpSRError, ValueError: a model, a baseline, weights or an option that cannot be had.
        OutputError: the report folder holds something else, or cannot be written.
    """
    ranks = ranks or Ranks()
    on = devices(device, ranks)
    with one_thread():
        scorer: Scorer | None = None
        plan: Plan | None = None
        if ranks.rank == 0:
            try:
                scorer, plan = prepare(request, output, on[0], overwrite, step)
            finally:
                plan = ranks.told(plan)  # nothing where an error is on its way
        else:
            plan = ranks.told(None)
        if plan is None:
            raise ElsewhereError("rank 0 could not start")
        mine = plan.todo[ranks.rank :: ranks.world]
        if scorer is None:
            scorer = Scorer(request, plan.settings["samples"], on[0])
    if processes is None:
        processes = default_processes([t.pair for t in mine], request, plan.settings["samples"], on, ranks)
    failures = []
    step("", len(plan.pairs) - len(plan.todo))
    for task, failure in score_all(scorer, mine, on, max(1, min(processes, len(mine)))):
        step(task.pair.stem, ranks.world)  # the others are about as fast
        failures += [failure] if failure else []
    failures = sorted(f for of_rank in ranks.gathered(failures) for f in of_rank)
    if failures and ranks.rank > 0:
        raise ElsewhereError("rank 0 tells what went wrong")
    if failures:
        more = f" (and {len(failures) - 1} more: {'; '.join(failures[1:])})" if len(failures) > 1 else ""
        raise EvaluationError(
            f"{failures[0]}{more}: {len(plan.pairs) - len(failures)} of {len(plan.pairs)} images are done and kept in "
            f"{output}: mend the files and run the same command again"
        )
    return _finish(plan, output) if ranks.rank == 0 else None


def prepare(
    request: Request, output: Path, device: str, overwrite: bool = False, step: Step = _no_step
) -> tuple[Scorer, Plan]:
    """Check everything that can be checked before an image is scored, and see what is done already.

    Raises: as `evaluate`.
    """
    _check_output(output)
    if find_spec("matplotlib") is None:  # not after hours, when the page is to be written
        raise EvaluationError("the report needs the package matplotlib: install vspsr[eval]")

    def checking(stem: str, _advance: int) -> None:
        step(f"checking {stem}", 0)

    # Names and sizes first, for these are most often wrong; then what takes seconds to load.
    pairs = find_pairs(request.hr, request.scale, request.lr, request.results, request.samples, 1, checking)
    scorer = Scorer(request, len(pairs[0].samples), device)
    smallest = scorer.smallest
    for pair in pairs:
        if min(pair.size) < smallest:
            height, width = pair.size
            raise EvaluationError(
                f"{pair.hr}: {width}×{height} pixels are too few for {scorer.backend.name} and the border: at least "
                f"{smallest} on each side are needed"
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
    make_folder(output / "images")
    write_json(output / _SETTINGS, settings)
    tasks = []
    for number, pair in enumerate(pairs):
        folder = output / "images" / pair.stem
        tasks.append(Task(pair, folder.with_name(f"{pair.stem}.json"), folder if number < request.pictures else None))
    todo = []
    for task in tasks:
        checking(task.pair.stem, 0)
        if not _is_done(task):
            todo.append(task)
    if todo:  # they would belong to other records
        for name in (_SUMMARY, _PAGE, *_TABLES):
            (output / name).unlink(missing_ok=True)
    return scorer, Plan(pairs, todo, settings)


def _check_output(output: Path) -> None:
    """OutputError where the folder holds something else."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is not a folder: give another --output")
    visible = output.is_dir() and any(not p.name.startswith(".") for p in output.iterdir())
    if visible and not (output / _SETTINGS).is_file():
        raise OutputError(f"{output}: holds other files than a report: give another --output")


def _check_settings(output: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """OutputError where a report was made with other settings, unless it is to be replaced: then what is left of it."""
    path = output / _SETTINGS
    if not path.exists():
        return
    previous = read_json(path) or {}
    changed = [k for k in {**settings, **previous} if previous.get(k) != settings.get(k)]
    if not changed and not overwrite:
        return
    if not overwrite:
        key = changed[0]
        was, now = (_short(s.get(key)) for s in (previous, settings))
        raise OutputError(
            f"{path}: a report with {key} = {was}, not {now}, is in this folder: use --overwrite or another --output"
        )
    for stem in previous.get("images", []):
        if Path(stem).name != stem:
            continue  # no name that we gave
        (output / "images" / f"{stem}.json").unlink(missing_ok=True)
        with suppress(OSError):
            shutil.rmtree(output / "images" / stem)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _record(path: Path) -> ImageRecord | None:
    """A record that was written; None where there is none, or none of this version."""
    content = read_json(path)
    try:
        return None if content is None else ImageRecord.from_json(content)
    except (KeyError, TypeError, ValueError):
        return None


def _is_done(task: Task) -> bool:
    """Whether an image has a record of the very files that are there now, and the pictures wanted."""
    record = _record(task.record)
    if record is None or (task.pictures is not None and not record.pictures):
        return False
    return record.files == digests(task.pair.files)


def _finish(plan: Plan, output: Path) -> dict[str, Any]:
    """Tables, summary and page of all records."""
    from vspsr.report.page import write_report

    records: list[ImageRecord] = []
    for pair in plan.pairs:
        record = _record(output / "images" / f"{pair.stem}.json")
        if record is None:
            raise EvaluationError(
                f"{output}: the record of {pair.stem} is missing: all processes must write to one shared folder"
            )
        records.append(record)
    for name, table in _TABLES.items():
        _write(output / name, table(records))
    summary = summarize(plan.settings, records)
    write_json(output / _SUMMARY, summary)
    write_report(output)
    return summary


def _write(path: Path, content: bytes) -> None:
    with replacing(path, overwrite=True) as file:
        file.write(content)


def interrupted(output: Path) -> str:
    """What is done, and how to go on, after an evaluation was stopped by its user."""
    done = len(list((output / "images").glob("*.json")))
    return f"{done} images are done and kept in {output}: run the same command again to go on"
