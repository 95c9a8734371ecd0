"""Downloads with resumption, checksums and progress; the archives of DIV2K.

Agustsson & Timofte, NTIRE 2017 (the archives of data.vision.ee.ethz.ch), and the NTIRE 2021 learning-SR-space edition
of it. Sizes and SHA-256 of the former are those that TensorFlow Datasets has on record; of the latter none are
published, so that the archive's own checksums (CRC-32 of every file) have to do.
"""

import http.client
import os
import re
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vspsr.errors import OutputError, VSpSRError
from vspsr.files import make_folder, one_line, read_text, reason_of, sha256_of, write_bytes
from vspsr.version import __version__

HOST = "https://data.vision.ee.ethz.ch/"
_CHUNK = 1 << 14  # bytes; an unfinished chunk is lost when the connection breaks
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 6

Report = Callable[[int, int], None]
"""(bytes so far, bytes in all)"""


class DownloadError(VSpSRError):
    """A download cannot be made or finished, or is not what it should be."""


class _LostError(Exception):
    """A connection failed or broke off: another attempt may succeed."""


@dataclass(frozen=True)
class Archive:
    """An archive: its path below a host; its size in bytes and SHA-256 where they are known."""

    path: str
    size: int | None = None
    sha256: str | None = None


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
DIV2K |= {name: Archive(f"cvl/DIV2K/DIV2K_{name}.zip", *about) for name, about in _OFFICIAL.items()}
"""Parts by name: NTIRE 2021's (tr_1X … va_8X) and those of DIV2K itself (train_HR … valid_LR_x8)."""


def fetch(archive: Archive, root: Path, host: str = HOST, report: Report = lambda *_: None) -> Path:
    """Download an archive, check it, unpack it; an archive that has been unpacked before is not fetched again.

    Args:
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
    if folder := _unpacked(done):
        return folder
    make_folder(root)
    target = root / f"{name}.zip"
    if not target.exists():
        download(host + archive.path, target, archive.size, archive.sha256, report)
    folder = _unpack(target, root)
    write_bytes(done, folder.name.encode(), overwrite=True)
    target.unlink()
    return folder


def download(
    url: str,
    target: Path,
    size: int | None = None,
    sha256: str | None = None,
    report: Report = lambda *_: None,
    attempts: int = _ATTEMPTS,
    pause: float = 1.0,
) -> None:
    """Download a file to ``target``; an interrupted download, also of an earlier call, is continued.

    Args:
        url: where from.
        target: where to. ``target``.part holds the bytes received so far.
        size: the size that it must have; else what the server states.
        sha256: the hexadecimal SHA-256 that it must have, or how that begins.
        report: progress.
        attempts: how many attempts in a row may receive nothing.
        pause: seconds before the second attempt, twice as many before each following one.

    Raises:
        DownloadError: no connection after several attempts in which nothing came, the server refuses or gives
            answers that make no sense, or the file is not what it should be (it is then removed).
        OutputError: the file cannot be written.
    """
    if target.is_dir():
        raise OutputError(f"{target}: is a folder")
    part = target.with_name(target.name + ".part")
    failures = 0
    try:
        while True:
            have = _size(part)
            if size is not None and have >= size:
                break
            try:
                size = _continue(url, part, have, size, report)
                if size is None or _size(part) >= size:
                    break
                reason: Exception = ConnectionError("the connection was closed early")
            except _LostError as error:
                reason = error
            failures = 1 if _size(part) > have else failures + 1
            if failures >= attempts:
                kept = f"; {part} is kept, the same command goes on with it" if part.exists() else ""
                raise DownloadError(
                    f"{url}: cannot be reached ({one_line(reason)[:120]}). Is there a network? A file downloaded "
                    f"elsewhere can be put at {target}{kept}"
                ) from reason
            time.sleep(pause * 2 ** (failures - 1))
        problem = ""
        if size is not None and (found := _size(part)) != size:
            problem = f"has {found} bytes instead of {size}"
        elif sha256 is not None and not (digest := sha256_of(part)).startswith(sha256):
            problem = f"its SHA-256 is {digest}, not {sha256}"
        if problem:
            part.unlink()
            raise DownloadError(f"{url}: {problem}; removed, try again")
        part.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({reason_of(error)})") from error


def _continue(url: str, part: Path, have: int, size: int | None, report: Report) -> int | None:
    """One connection: append what is received. The size of the whole file, if known or stated by the server."""
    headers = {"User-Agent": f"vspsr/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _answer(url, headers) as response:
        odd = {k: v for k in ("Content-Encoding", "Content-Range", "Content-Length") if (v := response.headers.get(k))}
        if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if odd.get("Content-Range", f"*/{have}").endswith(f"*/{have}"):
                return have
            part.unlink()
            raise DownloadError(
                f"{url}: is another file than that of which {part} is the beginning; removed, try again"
            )
        partial = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start = have if partial else 0  # a server without ranges sends everything again
        if odd.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"{url}: comes as {one_line(odd['Content-Encoding'])}, not as the file that it is")
        if partial and not re.match(rf"bytes {have}-", odd.get("Content-Range", f"bytes {have}-")):
            raise DownloadError(f"{url}: another part comes than that from byte {have} on")
        stated = odd.get("Content-Length")
        if stated is not None and not re.fullmatch(r"\d{1,15}", stated):
            raise DownloadError(f"{url}: the server states an odd length ({one_line(stated)[:40]!r})")
        whole = size if stated is None else start + int(stated)
        if whole != size is not None:
            part.unlink(missing_ok=True)
            raise DownloadError(f"{url}: has {whole} bytes instead of {size}; removed, try again")
        with part.open("ab" if partial else "wb") as file:
            while (whole is None or start <= whole) and (chunk := _received(response)):
                file.write(chunk)
                file.flush()
                start += len(chunk)
                report(start, whole or 0)
            os.fsync(file.fileno())
    return whole


def _answer(url: str, headers: dict[str, str]) -> Any:
    """The server's answer to a request, redirects followed; "no such range" is an answer, too."""
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError(f"{url}: is no address that begins with http:// or https://")
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            return error
        error.close()
        reason = f"{error.code} {one_line(error.reason)}"
        if error.code < 500 and error.code not in (408, 429):
            raise DownloadError(f"{url}: the server refuses ({reason})") from error
        raise _LostError(reason) from error
    except (OSError, http.client.HTTPException) as error:  # URLErrors and timeouts are OSErrors
        raise _LostError(one_line(getattr(error, "reason", error)) or type(error).__name__) from error
    except ValueError as error:  # an address, perhaps one that the server redirects to
        raise DownloadError(f"{url}: leads to an address that makes no sense ({one_line(error)})") from error


def _received(response: Any) -> bytes:
    """The next bytes; empty at the end."""
    try:
        return bytes(response.read(_CHUNK))
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: sizes of chunks that are none
        raise _LostError(one_line(error) or type(error).__name__) from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _unpacked(done: Path) -> Path | None:
    """The folder that was unpacked by an earlier call, if its note exists and is valid."""
    try:
        name = read_text(done, limit=1000)
    except OutputError:
        return None
    folder = done.with_name(name) if _is_plain(name) else done
    return folder if folder.is_dir() else None


def _is_plain(name: str) -> bool:
    """Whether a name is that of an entry of its folder."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0\n")


def _unpack(target: Path, root: Path) -> Path:
    """Unpack a zip file, checking the CRC-32 of each member: into its own folder, or the one that it brings."""
    try:
        with zipfile.ZipFile(target) as archive:
            names = [n for n in archive.namelist() if not n.endswith("/")]
            tops = {n.split("/")[0] for n in names}
            own = len(tops) == 1 and all("/" in n for n in names) and _is_plain(min(tops))
            folder = root / (min(tops) if own else target.stem)
            archive.extractall(root if own else folder)
            folder.mkdir(exist_ok=True)  # of an empty archive
    except Exception as error:  # zipfile raises whatever the bytes lead to
        if isinstance(error, OSError) and error.errno is not None:
            raise OutputError(f"{root}: cannot be written ({reason_of(error)})") from error
        target.unlink()
        raise DownloadError(
            f"{target}: damaged, or not a plain zip file ({one_line(error)}); removed, try again"
        ) from error
    return folder
