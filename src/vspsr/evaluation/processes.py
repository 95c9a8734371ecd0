"""Images distributed over worker processes on one machine.

Each image is scored by one process with one thread, so that its figures do not depend on the number of processes.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch

from vspsr.consistency.threads import one_thread
from vspsr.errors import ImageFileError
from vspsr.evaluation.dataset import Pair
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.request import Request
from vspsr.evaluation.scoring import Scorer
from vspsr.files import one_line, write_json
from vspsr.images.io import available_memory

_MOST = 61 if sys.platform == "win32" else 1 << 16  # that Windows can wait for
_PER_GPU = 4  # processes that share a GPU: much of the work runs on CPUs

# Memory, measured and rounded up; tests/evaluation/test_memory.py compares the peaks with it.
_BASE = 1100 << 20  # bytes of a process beside its image: Python, torch, the weights of a model and of the distance
_BASELINE = 300 << 20  # bytes to load the largest baseline, EDSR with 43 million parameters
_ALEX, _VGG, _EDSR = 1200, 2800, 3000  # bytes per HR pixel: features of the distance and of the widest baseline
_SAMPLE = 24  # bytes per HR pixel: the values of a sample, 16 bits deep, and its map of distances


@dataclass(frozen=True)
class Task:
    """One image to be scored: its files, the file of its record, the folder of its pictures (None for no pictures)."""

    pair: Pair
    record: Path
    pictures: Path | None


def devices(name: str) -> list[str]:
    """All GPUs if ``name`` is "cuda", else the one named."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] if name == "cuda" else [name]


def default_processes(pairs: Sequence[Pair], request: Request, n_samples: int, on: Sequence[str]) -> int:
    """Number of processes: limited by cores, images and, roughly, memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = cores if on[0] == "cpu" else min(cores, _PER_GPU * len(on))
    pixels = max((pair.size[0] * pair.size[1] for pair in pairs), default=0)
    free = available_memory()
    if free is not None:
        most = min(most, free // memory_needed(request, n_samples, pixels))
    return max(1, min(most, len(pairs)))


def memory_needed(request: Request, n_samples: int, pixels: int) -> int:
    """Peak memory of a process, in bytes, that scores images of at most this number of HR pixels; an upper estimate.

    The networks run one after the other. So their weights add up, and of their features only the largest count.
    """
    is_network = request.baseline not in (None, "bicubic")
    features = max(_VGG if request.backend.endswith("vgg") else _ALEX, _EDSR * is_network)
    return _BASE + _BASELINE * is_network + (features + _SAMPLE * n_samples) * pixels


def score_all(scorer: Scorer, tasks: Sequence[Task], on: Sequence[str], processes: int) -> Iterator[tuple[Task, str]]:
    """Score images and write their records; yields each with the error of its files, or "".

    The devices ``on`` are distributed over the processes. One process is this one, with the scorer itself.

    Raises:
        EvaluationError: a worker process has died.
        Other errors than those of one image's files.
    """
    if processes == 1:
        with one_thread():
            for task in tasks:
                yield task, _score(scorer, task)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads or GPUs may hang
    alive, ours = context.Pipe(duplex=False)  # workers end when `ours` is closed, if only by the end of this process
    pool = ProcessPoolExecutor(
        max_workers=min(processes, _MOST),
        mp_context=context,
        initializer=_start,
        initargs=(scorer.request, scorer.source.n_samples, list(on), context.Value("i", 0), alive),
    )
    running: dict[Future[str], Task] = {}
    try:
        for task in tasks:
            running[pool.submit(_work, task)] = task
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        raise EvaluationError(
            "a worker process has died, most likely for want of memory: run again with fewer --processes"
        ) from error
    finally:
        if not all(future.done() for future in running):  # an error or an interruption: images under way are given up
            ours.close()
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        alive.close()


_worker: dict[str, Any] = {}
"""In a worker process: how to make its `Scorer`, then the scorer itself."""


def _start(request: Request, n_found: int, on: list[str], counter: "Synchronized[int]", alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the parent decides
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    torch.set_num_threads(1)
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    _worker.update(request=request, n_found=n_found, device=on[number % len(on)])


def _end_with_parent(alive: Connection) -> None:
    """Wait for the end of the parent process, however it ends, then end this one."""
    with suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def _work(task: Task) -> str:
    if "scorer" not in _worker:
        _worker["scorer"] = Scorer(_worker["request"], _worker["n_found"], _worker["device"])
    return _score(_worker["scorer"], task)


def _score(scorer: Scorer, task: Task) -> str:
    try:
        record = scorer.score(task.pair, task.pictures)
    except ImageFileError as error:
        return one_line(error)
    write_json(task.record, record, overwrite=True)
    return ""
