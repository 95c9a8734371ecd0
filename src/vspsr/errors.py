"""The errors a user can cause, each one line that names the argument, its value and what to do; and how to tell them
from our own mistakes."""

import difflib
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

_LISTED = 12  # known names in an error


class VSpSRError(Exception):
    """Base of every error that vspsr raises on purpose and the command line prints as one line."""


class ImageFileError(VSpSRError):
    """An image file cannot be read: missing, corrupt, truncated, empty, too large or of an unsupported kind."""


class OutputError(VSpSRError):
    """An output cannot be written: missing or unwritable folder, full disk, file exists."""


class ModelError(VSpSRError):
    """A model cannot be loaded: unknown name, wrong keys or shapes, broken configuration."""


class VSpSRWarning(UserWarning):
    """Base of vspsr's own warnings, which the command line prints as one line."""


class ConsistencyWarning(VSpSRWarning):
    """No integer image in range was found that downscales to the LR image exactly."""


class ConvergenceWarning(VSpSRWarning):
    """An iterative solve did not reach its accuracy."""


class ConditionWarning(VSpSRWarning):
    """A condition on a space contradicts the LR image or lies far outside of the space."""


class ImageFileWarning(VSpSRWarning):
    """An image file was left out of a folder's, or was read although its decoder found fault with it."""


def is_expected(error: BaseException) -> bool:
    """Whether the user or the machine caused an error: any other exception is a bug of vspsr.

    Expected are vspsr's own errors, those of the operating system, exhausted memory, an optional package that is not
    installed, and a ValueError raised by a ``raise`` statement of this package, as argument checks do. A ValueError
    raised by Python or by a library (a failed unpacking, ``int("x")``, a tensor's shape) is not.
    """
    if isinstance(error, VSpSRError | OSError) or _is_out_of_memory(error) or _missing_package(error):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return (
        isinstance(error, ValueError)
        and bool(frames)
        and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
        and (frames[-1].line or "").startswith("raise ")
    )


def explain(error: BaseException) -> str:
    """An error in one line for the user; a bug is called an internal error."""
    text = " ".join(str(error).split())
    if _is_out_of_memory(error):
        return f"out of memory ({text[:120]}): use a smaller image or a machine with more memory"
    if package := _missing_package(error):
        return f"the package {package} is not installed: pip install 'vspsr[eval,train,web]'"
    if is_expected(error):
        return text
    place = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"internal error, {type(error).__name__}: {text}{place}"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so in a RuntimeError."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )


def _missing_package(error: BaseException) -> str | None:
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return None if name is None or name.startswith("vspsr") else name


def counted(n: int, noun: str) -> str:
    """A number and what it counts: "1 image", "2 images"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def size_text(size: Sequence[int]) -> str:
    """Width×height of an image, from a shape (…, height, width): "640×480"."""
    return f"{size[-1]}×{size[-2]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the known name nearest to it, or else the known names."""
    if not (names := list(known)):
        return "there are none"
    if near := difflib.get_close_matches(name, names, 1):
        return f"did you mean `{near[0]}`?"
    return f"known are {', '.join(names[:_LISTED])}{' …' if len(names) > _LISTED else ''}"
