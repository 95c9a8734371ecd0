"""What the command line shows beside its results: progress, errors in one line, devices."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from vspsr.files import one_line

__all__ = ["complain", "device", "download_progress", "is_out_of_memory", "message", "out", "progress", "tell"]

out, _err = Console(), Console(stderr=True)


def device(name: str) -> str:
    """The device asked for, "auto" resolved; ValueError where it cannot be used."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"`--device` {name!r} cannot be used here: {one_line(error)[:150]}") from error
    return name


@contextmanager
def progress(total: int) -> Iterator[Callable[[str, int], None]]:
    """A progress bar on standard error; yields step(what, advance)."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=_err, transient=True) as bar:
        task = bar.add_task("", total=total)

        def step(what: str, advance: int) -> None:
            bar.update(task, description=what, advance=advance)

        yield step


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a download on standard error; yields step(bytes so far, size or 0)."""
    columns = (BarColumn(), DownloadColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=_err, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def step(done: int, size: int) -> None:
            bar.update(task, completed=done, total=size or None)

        yield step


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so in a RuntimeError."""
    text = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text


def message(error: BaseException) -> str:
    """One line for the user."""
    if is_out_of_memory(error):
        return f"out of memory ({one_line(error)[:120]}): use a smaller image or a machine with more memory"
    return one_line(error)


def tell(text: str) -> None:
    """One line on standard output, as it is: brackets in names are no markup."""
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """One line on standard error."""
    _err.print("[bold red]error:[/bold red] ", end="")
    _err.print(text, highlight=False, markup=False, soft_wrap=True)
