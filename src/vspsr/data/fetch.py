"""Downloading DIV2K: with resumption, checksums and progress.

Agustsson & Timofte, NTIRE 2017 (the archives of data.vision.ee.ethz.ch), and the NTIRE 2021 learning-SR-space edition
of it. Sizes and SHA-256 of the former are those that TensorFlow Datasets has on record; of the latter none are
published, so that the archive's own checksums (CRC-32 of every file) have to do.
"""

import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vspsr.errors import OutputError, VSpSRError
from vspsr.files import one_line, sha256_of

__all__ = ["DIV2K", "Archive", "DownloadError", "download", "fetch"]

HOST = "https://data.vision.ee.ethz.ch/"
_CHUNK = 1 << 14  # what has come of an unfinished chunk is lost with the connection
_ATTEMPTS = 6

Report = Callable[[int, int], None]
"""(bytes so far, bytes in all)"""


class DownloadError(VSpSRError):
    """A download that cannot be made or finished, or that is not what it should be."""


@dataclass(frozen=True)
class Archive:
    """An archive: its path below a host; its size in bytes and SHA-256 where they are known."""

    path: str
    size: int | None = None
    sha256: str | None = None


def _known(name: str, size: int, sha256: str) -> Archive:
    return Archive(f"cvl/DIV2K/{name}.zip", size, sha256)


_OFFICIAL = {
    "train_HR": (3530603713, "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"),
    "train_LR_bicubic_X4": (246914039, "f006b837f4eb52b82909aa01478e6d6d199eefce932179491d0c9dbb706dde3a"),
    "train_LR_x8": (65753171, "706fa23164fa0756a3accb78e69b937ea47f882b47e13506895deefd623a35c2"),
    "valid_HR": (448993893, "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"),
    "valid_LR_bicubic_X4": (31505881, "a50a5d1c4b88de4e8d300d8fb2b904c52fe93b2b298a4899697760d7cbb6d553"),
    "valid_LR_x8": (8428103, "3432f23da7c6887acc5e2cde9669427a7710b3b256c58912dddc19e3eda5bc69"),
}
_NTIRE = [f"{split}_{scale}X" for split in ("tr", "va") for scale in (1, 4, 8)]
DIV2K = {name: Archive(f"alugmayr/NTIRE2021/DIV2K-{name}.zip") for name in _NTIRE}
DIV2K |= {name: _known(f"DIV2K_{name}", *about) for name, about in _OFFICIAL.items()}
"""Parts by name: NTIRE 2021's (tr_1X … va_8X) and those of DIV2K itself (train_HR … valid_LR_x8)."""


def fetch(archive: Archive, root: Path, host: str = HOST, report: Report = lambda *_: None) -> Path:
    """Download an archive, check it, unpack it; what is there already is kept.

    Args:
        archive: which.
        root: the data folder, made if missing. The archive is removed after unpacking.
        host: where from, ending in a slash.
        report: called with the progress of the download.

    Returns:
        The folder of the images.

    Raises:
        DownloadError: no network, not found, or damaged.
        OutputError: the folder cannot be written.
    """
    name = Path(archive.path).stem
    done = root / f".{name}.done"
    if done.exists() and (folder := root / done.read_text(encoding="utf-8")).is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        target = root / f"{name}.zip"
        if not target.exists():
            download(host + archive.path, target, archive.size, archive.sha256, report)
        folder = _unpack(target, root)
        done.write_text(str(folder.relative_to(root)), encoding="utf-8")
        target.unlink()
    except OSError as error:
        raise OutputError(f"{root}: cannot be written ({error.strerror or one_line(error)})") from error
    return folder


def download(
    url: str,
    target: Path,
    size: int | None = None,
    sha256: str | None = None,
    report: Report = lambda *_: None,
    pause: float = 1.0,
) -> None:
    """Download a file to ``target``; after an interruption, this time or the last, it goes on where it was.

    Args:
        url: where from.
        target: where to. ``target``.part is what has come so far.
        size, sha256: what it must have; else the size that the server tells.
        report: progress.
        pause: seconds before the second attempt, twice as many before each following one.

    Raises:
        DownloadError: no connection after several attempts in which nothing came, the server refuses, or the file
            is not what it should be (it is then removed).
    """
    try:
        import requests
    except ImportError as error:
        raise VSpSRError(f"downloads need the extra `train` (pip install 'vspsr[train]'): {error}") from error
    part = target.with_name(target.name + ".part")
    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if size is not None and have >= size:
            break
        try:
            size = _continue(url, part, have, size, report)
            if size is None or part.stat().st_size >= size:
                break
        except requests.HTTPError as error:
            status = error.response.status_code
            if status < 500 and status not in (408, 429):
                raise DownloadError(f"{url}: the server refuses ({status} {error.response.reason})") from error
            reason: Exception = error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            reason = error
        else:
            reason = ConnectionError("the connection was closed early")
        came = (part.stat().st_size if part.exists() else 0) > have
        failures = 1 if came else failures + 1
        if failures >= _ATTEMPTS:
            kept = f"; {part} is kept, the same command goes on with it" if part.exists() else ""
            raise DownloadError(
                f"{url}: cannot be reached ({one_line(reason)[:120]}). Is there a network? An archive downloaded "
                f"elsewhere can be put at {target}{kept}"
            ) from reason
        time.sleep(pause * 2 ** (failures - 1))
    _check(part, url, size, sha256)
    part.replace(target)


def _continue(url: str, part: Path, have: int, size: int | None, report: Report) -> int | None:
    """One connection: append what comes. The whole size, as the server tells it."""
    import requests

    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return have
        response.raise_for_status()
        partial = response.status_code == requests.codes.partial_content
        start = have if partial else 0  # a server that does not know ranges sends all again
        told = response.headers.get("Content-Length")
        whole = size if size is not None else None if told is None else start + int(told)
        with part.open("ab" if partial else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                file.flush()
                start += len(chunk)
                report(start, whole or 0)
    return whole


def _check(part: Path, url: str, size: int | None, sha256: str | None) -> None:
    if size is not None and part.stat().st_size != size:
        found = part.stat().st_size
        part.unlink()
        raise DownloadError(f"{url}: has {found} bytes instead of {size}; removed, try again")
    if sha256 is not None:
        found_hash = sha256_of(part)
        if found_hash != sha256:
            part.unlink()
            raise DownloadError(
                f"{url}: its SHA-256 is {found_hash[:12]}… instead of {sha256[:12]}…; removed, try again"
            )


def _unpack(target: Path, root: Path) -> Path:
    """Unpack a zip file, checking the CRC-32 of each member: into its own folder, or the one that it brings."""
    try:
        with zipfile.ZipFile(target) as archive:
            names = [n for n in archive.namelist() if not n.endswith("/")]
            tops = {n.split("/")[0] for n in names}
            own = len(tops) == 1 and all("/" in n for n in names)
            folder = root / (tops.pop() if own else target.stem)
            archive.extractall(root if own else folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        target.unlink()
        raise DownloadError(f"{target}: damaged ({one_line(error)}); removed, try again") from error
    return folder
