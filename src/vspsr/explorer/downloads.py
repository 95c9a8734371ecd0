"""Files that were made for the user, on disk until they are downloaded."""

import secrets
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Download:
    """A file to download.

    Attributes:
        name: what it is called.
        kind: its media type.
        path: where it is.
        size: bytes.
    """

    name: str
    kind: str
    path: Path
    size: int


class Downloads:
    """The files of a session: the newest, and earlier ones as long as all of them fit a limit.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most, self._least = most, 1  # bytes, files
        self._files: dict[str, Download] = {}
        self._lock = threading.Lock()

    def add(self, file: Download) -> str:
        """Keep a file; the key to `get` it by. After `close` it is removed at once."""
        key = secrets.token_hex(10)
        with self._lock:
            self._files[key] = file
            self._remove_surplus()
        return key

    def get(self, key: str) -> Download | None:
        """A file by its key, None if it is not kept (any more)."""
        return self._files.get(key)

    def close(self) -> None:
        """Remove all files."""
        with self._lock:
            self._most, self._least = -1, 0
            self._remove_surplus()

    def _remove_surplus(self) -> None:
        while len(self._files) > self._least and sum(file.size for file in self._files.values()) > self._most:
            oldest = next(iter(self._files))
            self._files.pop(oldest).path.unlink(missing_ok=True)
