"""Work in threads: fair among owners, with progress, and stopped between any two tensor operations."""

import logging
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from vspsr.consistency.progress import Progress
from vspsr.errors import VSpSRError, explain, is_expected

_KEPT = 256  # finished jobs
_PER_OWNER = 2  # jobs of one owner that run at the same time
_LONGEST_PAUSE = 10.0  # seconds; bounded, because the other job may need something that the paused one is making
_log = logging.getLogger("vspsr.explorer")


def no_progress(done: int, total: int) -> None:
    """Progress that nobody follows."""


State = Literal["waiting", "running", "done", "failed", "cancelled"]

_shared: ContextVar[bool] = ContextVar("shared", default=False)


@contextmanager
def shared_work() -> Iterator[None]:
    """Within it a job does not pause: others may wait for what it makes."""
    token = _shared.set(True)
    try:
        yield
    finally:
        _shared.reset(token)


class BusyError(VSpSRError):
    """The server or a session has as much to do as it accepts."""


class Cancelled(BaseException):
    """Raised within a job that was cancelled. Not an Exception, so that no handler of errors swallows it."""


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        owner: the session it belongs to.
        key: jobs of one owner and key that are not finished are one job.
        what: in words, for the user.
        background, urgent: see `Jobs`.
        after: a job that must be done first.
    """

    owner: str
    key: str
    what: str
    work: Callable[[Progress], Any]
    background: bool = False
    urgent: bool = False
    after: "Job | None" = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: State = "waiting"
    progress: tuple[int, int] = (0, 0)
    result: Any = None
    error: str | None = None
    cancelled: bool = False
    may_pause: bool = True  # until it has paused as long as it may: then others seem to wait for it
    give_way: Callable[["Job"], None] = lambda _: None

    @property
    def finished(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state not in ("waiting", "running")

    def report(self) -> dict[str, Any]:
        """Its state as JSON values."""
        done, total = self.progress
        return {
            "job": self.id,
            "what": self.what,
            "state": self.state,
            "done": done,
            "total": total,
            "result": self.result,
            "error": self.error,
        }

    def _step(self, done: int, total: int) -> None:
        self.progress = (done, total)
        if self.may_pause and not _shared.get():
            self.give_way(self)
        if self.cancelled:
            raise Cancelled

    def run(self) -> None:
        """Do the work; every error becomes one line."""
        try:
            with torch.no_grad(), _Interruptible(self):
                self.result = self.work(self._step)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except Exception as error:
            if not is_expected(error):
                _log.exception("internal error in the job %r", self.what)
            self.error = explain(error) if is_expected(error) else "internal error: the server's log has the details"
            self.state = "failed"


class _Interruptible(TorchFunctionMode):
    """Within it, every tensor operation of this thread first looks whether the job was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._job.cancelled:
            raise Cancelled
        return func(*args, **(kwargs or {}))


class Jobs:
    """A pool of threads.

    An owner has at most two jobs running, and the next job is one of the owner with the fewest running: a slow job of
    one session delays no other. Background jobs run when the owner has nothing else to do, an urgent one beside two.
    Long jobs pause between steps while an urgent one runs, and background jobs while another runs. Having paused for
    10 s, a job does not pause again.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._limit = waiting
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: list[Job] = []
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._open = True
        self._threads = [threading.Thread(target=self._loop, daemon=True, name=f"job-{i}") for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        owner: str,
        key: str,
        what: str,
        work: Callable[[Progress], Any],
        background: bool = False,
        urgent: bool = False,
        after: Job | None = None,
    ) -> Job:
        """A new job, or the one of this owner and key that waits or runs, which then is as urgent as the new one.

        It is cancelled if the job ``after`` which it is to run fails or is cancelled.

        Raises:
            BusyError: too many jobs of the owner wait.
        """
        with self._changed:
            own = [job for job in (*self._queue, *self._running) if job.owner == owner and not job.cancelled]
            for job in own:
                if job.key == key:
                    job.background &= background
                    job.urgent |= urgent
                    self._changed.notify()
                    return job
            if len(own) >= self._limit:
                raise BusyError(f"{len(own)} requests for this picture wait already: cancel some or wait")
            job = Job(owner, key, what, work, background, urgent, after, give_way=self._give_way)
            self._jobs[job.id] = job
            self._queue.append(job)
            finished = [name for name, other in self._jobs.items() if other.finished]
            for name in finished[: max(0, len(self._jobs) - _KEPT)]:
                del self._jobs[name]
            self._changed.notify()
            return job

    def get(self, owner: str, job_id: str) -> Job | None:
        """A job of an owner, None if there is none of this name."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    def of(self, owner: str) -> list[Job]:
        """Unfinished jobs of an owner."""
        with self._changed:
            return [job for job in (*self._running, *self._queue) if job.owner == owner]

    def cancel(self, job: Job) -> None:
        """Stop a job at its next tensor operation; one that waits never starts."""
        with self._changed:
            job.cancelled = True
            if job in self._queue:
                self._queue.remove(job)
                job.state = "cancelled"
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel everything and end the threads."""
        with self._changed:
            self._open = False
            for job in (*self._queue, *self._running):
                job.cancelled = True
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def _give_way(self, job: Job) -> None:
        """Wait while a job runs that comes before this one."""
        until = time.monotonic() + _LONGEST_PAUSE
        with self._changed:
            while self._open and not job.cancelled and any(_rank(other) < _rank(job) for other in self._running):
                if (left := until - time.monotonic()) <= 0:
                    job.may_pause = False
                    break
                self._changed.wait(left)

    def _next(self) -> Job | None:
        for job in [job for job in self._queue if job.after and job.after.state in ("failed", "cancelled")]:
            self._queue.remove(job)
            job.state = "cancelled"
        running = Counter(job.owner for job in self._running)

        def may_begin(job: Job) -> bool:
            most = 1 if job.background else _PER_OWNER + job.urgent
            return running[job.owner] < most and (job.after is None or job.after.state == "done")

        free = filter(may_begin, self._queue)
        return min(free, key=lambda job: (_rank(job), running[job.owner]), default=None)

    def _loop(self) -> None:
        torch.get_num_threads()  # settles this thread's number before another thread is in `one_thread`
        while True:
            with self._changed:
                while self._open and (job := self._next()) is None:
                    self._changed.wait()
                if not self._open:
                    return
                assert job is not None
                self._queue.remove(job)
                self._running.append(job)
            job.state = "running"
            job.run()
            with self._changed:
                self._running.remove(job)
                self._changed.notify_all()


def _rank(job: Job) -> tuple[bool, bool]:
    """Lower for what comes first."""
    return job.background, not job.urgent
