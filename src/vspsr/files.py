"""Files written completely or not at all, safe reading of text and JSON, file names as printable text."""

import hashlib
import json
import math
import os
import secrets
import stat
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

from vspsr.errors import OutputError, VSpSRError

if sys.platform != "win32":
    import fcntl

_STALE = 24 * 3600  # seconds after which a temporary file is stale if the file system does not support locks
_LARGEST = 1 << 28  # bytes, far above any of our text files
_DIRECTIONS = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f", "\u061c"}

Identities = frozenset[tuple[int, int]]
"""Device and inode of files."""

_kept: ContextVar[Identities] = ContextVar("kept", default=frozenset())


def printable(name: object) -> str:
    """A name as text that can be encoded in UTF-8 and holds no control characters.

    Bytes that are not UTF-8 (surrogates in Python's names), control characters, line separators and marks that change
    the direction of text become backslash escapes; everything else stays as it is.
    """
    return "".join(map(_escaped, str(name)))


def _escaped(character: str) -> str:
    if 0xDC80 <= (code := ord(character)) <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS:
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def one_line(text: object) -> str:
    """Text with line breaks on one line, printable."""
    return printable(" ".join(str(text).split()))


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line: of an error of the operating system without its number and file."""
    return error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)


def kind_of(path: str | Path) -> Literal["file", "folder", "other"] | None:
    """What a path leads to, links followed; None for nothing, or a name that the system does not even look up."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # ValueError: a null character in the name
        return None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def lies_within(path: Path, folder: Path) -> bool:
    """Whether a path, which need not exist, is a folder or below it, links followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null character: nothing lies there
        return False


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits. OSError if it cannot be read."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: str | Path, limit: int = _LARGEST, error: type[VSpSRError] = OutputError) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises:
        VSpSRError: of the class ``error``: the file is missing, a folder, a pipe or another special file, too large or
            not readable. One line that begins with ``path``.
    """
    path, name = Path(path), one_line(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            raise error(f"{name}: is not a regular file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as problem:  # ValueError: a null character in the name
        raise error(f"{name}: cannot be read ({reason_of(problem)})") from problem
    if len(content) > limit:
        raise error(f"{name}: has more than {limit} bytes")
    return content


def read_text(path: str | Path, limit: int = _LARGEST, error: type[VSpSRError] = OutputError) -> str:
    """The text of a regular file in UTF-8, without its byte order mark; line ends become "\\n".

    Raises:
        VSpSRError: of the class ``error``: as `read_bytes`, or not UTF-8.
    """
    try:
        text = read_bytes(path, limit, error).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{one_line(path)}: is not text in UTF-8 (byte {problem.start})") from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path, limit: int = _LARGEST, error: type[VSpSRError] = OutputError) -> Any:
    """The value that a JSON file holds, of whatever type: the caller checks it.

    Raises:
        VSpSRError: of the class ``error``: as `read_text`, no JSON, or nested too deeply.
    """
    try:
        return json.loads(read_text(path, limit, error))
    except RecursionError as problem:
        raise error(f"{one_line(path)}: its JSON is nested too deeply") from problem
    except ValueError as problem:
        raise error(f"{one_line(path)}: is not JSON ({one_line(problem)})") from problem


def to_json(value: Any) -> Any:
    """A value for JSON, which has no infinity: it becomes "inf" or "-inf", NaN null, and a dataclass an object."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


def write_bytes(path: str | Path, content: bytes, overwrite: bool = False) -> None:
    """Write a file completely or not at all. OutputError as in `replacing`."""
    with replacing(path, overwrite) as file:
        file.write(content)


def write_json(path: str | Path, content: Any, overwrite: bool = False) -> None:
    """`write_bytes` of `to_json`."""
    text = json.dumps(to_json(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # Bytes of names that are not UTF-8 become escapes of JSON.
    write_bytes(path, text.encode(errors="backslashreplace"), overwrite)


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name in the same folder; move it into place at the end.

    Where ``path`` is a symbolic link, the file that it points to is replaced and the link stays. The first write to a
    folder removes what killed processes have left in it (`clear_stale`).

    Args:
        path: where to.
        overwrite: whether a file that exists may be replaced.

    Raises:
        OutputError: the file exists, or it cannot be written. One line that begins with ``path``.
            An existing file is untouched and no temporary file is left.
    """
    name, path = one_line(path), Path(path)
    try:
        check_free(path, overwrite)
        final = path.resolve()
        _clear_stale_once(final.parent)
        temporary, file = _temporary(final.parent)
    except FileNotFoundError as error:
        raise OutputError(f"{name}: the folder {one_line(path.parent)} does not exist") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise OutputError(f"{name}: cannot be written ({reason_of(error)})") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # some disks say no earlier that they are full
            check_free(path, overwrite)  # it may have appeared in the meantime
            if sys.platform == "win32":  # no open file can be renamed there
                file.close()
            if not overwrite:
                with suppress(OSError):  # it has appeared just now, or the file system has no such links
                    os.link(temporary, final)
                    return
                check_free(path)
            temporary.replace(final)
    except OSError as error:
        raise OutputError(f"{name}: cannot be written ({reason_of(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make an output folder where it is missing, and clear it (`clear_stale`). OutputError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{one_line(folder)}: the output folder cannot be made ({reason_of(error)})") from error
    clear_stale(folder)


def clear_stale(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote to a folder.

    Files that a running process writes are kept: it holds a lock on them. If the file system does not support locks,
    files are kept for a day.
    """
    with suppress(OSError):
        for path in folder.glob(".vspsr-*.tmp"):
            with suppress(OSError):
                if path.is_file():
                    _unlink_if_stale(path)


_clear_stale_once = lru_cache(maxsize=4096)(clear_stale)  # listing a large folder for each file in it takes long


def _unlink_if_stale(path: Path) -> None:
    with path.open("r+b") as file:
        try:
            lock(file, wait=False)
        except BlockingIOError:
            return
        except OSError:
            if time.time() - os.fstat(file.fileno()).st_mtime < _STALE:
                return
        if sys.platform != "win32":
            path.unlink()  # under the lock: its writer, if there is one, then makes another
            return
    path.unlink()  # Windows removes no open file, and has no locks here


def _temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file, locked as long as it is open."""
    while True:
        path = folder / f".vspsr-{secrets.token_hex(8)}.tmp"
        file = path.open("x+b")
        with suppress(OSError):
            lock(file, wait=True)
        if path.exists():
            return path, file
        file.close()  # another process removed it as stale before it was locked


def lock(file: BinaryIO | int, wait: bool) -> None:
    """Lock an open file. BlockingIOError: another process has the lock; another OSError: locks are not supported."""
    if sys.platform == "win32":
        raise OSError("no locks")
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_free(path: Path, overwrite: bool = False) -> None:
    """OutputError where something exists that must not be replaced, an input for instance (`keep_inputs`)."""
    name = one_line(path)
    if not identities([path]).isdisjoint(_kept.get()):
        raise OutputError(f"{name}: would replace an input: give another folder for the outputs")
    if (kind := kind_of(path)) == "folder":
        raise OutputError(f"{name}: is a folder")
    if kind == "other":
        raise OutputError(f"{name}: is not a regular file")
    if (kind or path.is_symlink()) and not overwrite:
        raise OutputError(f"{name}: exists already: use `overwrite` or another name")


def identities(paths: Iterable[Path]) -> Identities:
    """Of the files that exist, links followed."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):  # ValueError: a null character in the name
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


@contextmanager
def keep_inputs(inputs: Identities) -> Iterator[None]:
    """Within it, in the same thread, `check_free` and `replacing` refuse these files as outputs."""
    token = _kept.set(_kept.get() | inputs)
    try:
        yield
    finally:
        _kept.reset(token)
