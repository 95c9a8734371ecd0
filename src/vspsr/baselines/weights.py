"""The published weights of the baselines: where they are, and how to download them.

`weights.toml` lists them. A download is checked against the SHA-256 that its publisher states; many releases put the
first eight digits into the file's name, a few state none.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import torch

from vspsr.data.fetch import DownloadError, download
from vspsr.errors import ModelError, did_you_mean
from vspsr.files import make_folder, one_line, sha256_of

_ATTEMPTS = 3  # connections in a row that bring nothing, before a download fails


@dataclass(frozen=True)
class PublishedWeights:
    """One published checkpoint.

    Attributes:
        name: such as "edsr-x4".
        architecture: a name in `BASELINES`.
        scale: s.
        url: of the file itself.
        page: the web page of its publisher.
        licence: SPDX identifier as its publisher states it, or a remark.
        trained: on what, with which loss.
        sha256: all 64 hexadecimal digits, or the first 8 or more, as published; None if none is.
        sha256_from: who states it.
    """

    name: str
    architecture: str
    scale: int
    url: str
    page: str
    licence: str
    trained: str
    sha256: str | None = None
    sha256_from: str | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return Path(urlsplit(self.url).path).name


@lru_cache(maxsize=1)
def published_weights() -> dict[str, PublishedWeights]:
    """Name → published weights; of several for one architecture and scale the first is the default."""
    text = resources.files(__package__).joinpath("weights.toml").read_text(encoding="utf-8")
    return {name: PublishedWeights(name=name, **entry) for name, entry in tomllib.loads(text).items()}


def weights_folder() -> Path:
    """Where weights are kept by default: PyTorch's hub folder (TORCH_HOME, or ~/.cache/torch), as in torchvision."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(
    name: str,
    folder: str | Path | None = None,
    unverified: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Path:
    """Download published weights, once.

    Args:
        name: in `published_weights`.
        folder: where to; `weights_folder()` by default. Made if missing.
        unverified: whether to accept a file of which no checksum is published. Loading it runs no code in any case.
        progress: called with the bytes received so far and the size of the file (0 if it is not known).

    Returns:
        The file: the one that exists if its checksum is right or none is known, otherwise a download. An interrupted
        download is continued.

    Raises:
        ModelError: an unknown name; no checksum known and ``unverified`` not given; a wrong checksum; no download.
        OutputError: the folder or the file cannot be written.
    """
    weights = published_weights().get(name)
    if weights is None:
        raise ModelError(f"unknown weights {one_line(name)!r}: {did_you_mean(name, published_weights())}")
    if weights.sha256 is None and not unverified:
        raise ModelError(
            f"{name}: {weights.url} has no published checksum, so that a download cannot be verified: allow it with "
            "--unverified (`unverified=True`)"
        )
    folder = weights_folder() if folder is None else Path(folder)
    path = folder / weights.file
    if path.is_file():
        if not sha256_of(path).startswith(weights.sha256 or ""):
            raise ModelError(f"{name}: {one_line(path)} is another file, by its SHA-256: move it away")
        return path
    make_folder(folder)
    try:
        download(weights.url, path, None, weights.sha256, progress, attempts=_ATTEMPTS)
    except DownloadError as error:
        raise ModelError(f"{name}: {error}") from error
    return path
