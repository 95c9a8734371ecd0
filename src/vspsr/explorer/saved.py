"""Sessions as files: the LR picture, what is known about it, other pictures, and the page's document.

Pictures and JPEG coefficients are tensors of a safetensors file. Everything else is JSON in its metadata.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vspsr.checks import check_integer
from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.operator import MAX_SCALE
from vspsr.errors import ImageFileError, OutputError
from vspsr.explorer.messages import checked_json
from vspsr.explorer.session import Session
from vspsr.files import one_line
from vspsr.images.metadata import BLOCKS
from vspsr.images.picture import Picture
from vspsr.images.sources import Source

_FORMATS = ("vspsr explorer session 1", "vspsr explorer session 2")
_MOST_METADATA = 64 << 20
_BLOCK, _OLD_PROFILE = "metadata:", "profile:"
_NUMBERS, _TEXTS = ("xres", "yres"), ("resolution-unit",)
_LARGEST_SAMPLING = 4
_DAMAGE = SafetensorError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError


@dataclass(frozen=True)
class SavedWith:
    """What a session file says beside its pictures.

    Attributes:
        model: what the model was called.
        digest: of the model, empty in older files.
        scale: of the model, None in older files.
        document: the page's.
    """

    model: str
    digest: str
    scale: int | None
    document: Any

    def note(self, title: str, model: str, digest: str, scale: int) -> str:
        """One line if it was saved with another model than that of this explorer; otherwise empty.

        Raises:
            ImageFileError: the model had another scale.
        """
        if self.scale not in (None, scale):
            raise ImageFileError(
                f"{title}: was saved with {self.model} at scale {self.scale}, and {model} upscales by {scale}: start "
                "`vspsr explore` with `--model` of the same scale"
            )
        same = digest == self.digest if self.digest else model == self.model
        return "" if same else f"saved with {self.model}, shown with {model}: its pictures differ"


def write_session(session: Session, model: str, path: Path) -> None:
    """Write a session. OutputError if it cannot be written."""
    tensors: dict[str, Tensor] = {}
    files = []
    for name, (title, picture) in {"": (session.name, session.picture), **session.files}.items():
        for part, values in (("pixels", picture.pixels), ("alpha", picture.alpha)):
            if values is not None:
                tensors[f"{part}:{name}"] = values.to(torch.uint8 if picture.bits == 8 else torch.int32).contiguous()
        files.append({"file": name, "title": title, "bits": picture.bits})
    metadata = session.picture.metadata
    for field, value in metadata.items():
        if isinstance(value, bytes) and value:
            tensors[_BLOCK + field] = torch.frombuffer(bytearray(value), dtype=torch.uint8)
    about = {
        "format": _FORMATS[-1],
        "model": model,
        "digest": session.digest,
        "scale": session.degradation.scale,
        "files": files,
        "mode": session.picture.mode,
        "metadata": {field: metadata[field] for field in (*_NUMBERS, *_TEXTS) if field in metadata},
        "note": session.source.note,
        "exact": session.source.exact,
        "document": session.document,
    }
    if (jpeg := session.source.jpeg) is not None:
        for component, (values, table) in enumerate(zip(jpeg.coefficients, jpeg.tables, strict=True)):
            tensors[f"jpeg:{component}"] = values.short().contiguous()
            tensors[f"table:{component}"] = table.int().clone()  # Cb and Cr may share theirs
        about["jpeg"] = {
            "size": jpeg.size,
            "sampling": jpeg.sampling,
            "orientation": jpeg.orientation,
            "progressive": jpeg.progressive,
        }
    try:
        save_file(tensors, path, {"session": json.dumps(about)})
    except SafetensorError as error:
        raise OutputError(f"the session cannot be written ({error})") from error


def is_session_file(path: Path) -> bool:
    """Whether a file begins as a safetensors file: the length of its header, which begins with "{"."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def read_session(path: Path, title: str) -> Iterator[tuple[str, str, Source] | SavedWith]:
    """The pictures of a session file as (file, title, source), the LR picture first under the empty name; then what
    else it says.

    Raises:
        ImageFileError: another file, or one that is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("session", "")
            if len(text) > _MOST_METADATA:
                raise ImageFileError(f"{title}: its description is too long")
            about = {part: checked_json(value, part) for part, value in json.loads(text).items()}
            if about["format"] not in _FORMATS or about["files"][0]["file"] != "":
                raise ValueError("format")
            names = set(file.keys())
            for entry in about["files"]:
                name, bits = str(entry["file"]), int(entry["bits"])
                pixels = file.get_tensor(f"pixels:{name}").to(torch.int32)
                alpha = file.get_tensor(f"alpha:{name}").to(torch.int32) if f"alpha:{name}" in names else None
                file_title = _line(entry["title"])
                if name:
                    yield name, file_title, Source(Picture(pixels, bits, alpha))
                    continue
                metadata, note = _metadata(file, names, about), _line(about.get("note", ""))
                picture = Picture(pixels, bits, alpha, metadata, _line(about.get("mode", "RGB")))
                exact = bool(about.get("exact", True))
                yield name, file_title, Source(picture, _jpeg(file, about, picture), note, exact=exact)
            scale, digest = about.get("scale"), str(about.get("digest", ""))
            scale = None if scale is None else check_integer(scale, "scale", 2, MAX_SCALE)
            yield SavedWith(_line(about["model"]), digest, scale, about["document"])
    except _DAMAGE as error:
        raise ImageFileError(f"{title}: not a session that the explorer has saved") from error


def _line(text: Any) -> str:
    return one_line(str(text))[:300]


def _metadata(file: Any, names: set[str], about: Any) -> dict[str, bytes | str | float]:
    """Metadata of the LR picture. ValueError for values of another kind."""
    kept: dict[str, bytes | str | float] = {}
    for field in BLOCKS:
        old = field == "icc-profile-data" and _OLD_PROFILE in names
        name = _OLD_PROFILE if old else _BLOCK + field
        if name in names:
            kept[field] = file.get_tensor(name).to(torch.uint8).numpy().tobytes()
    stated = about.get("metadata", {})
    for field in _NUMBERS:
        if field in stated:
            kept[field] = value = float(stated[field])
            if not 0 <= value < math.inf:
                raise ValueError(field)
    return kept | {field: _line(stated[field]) for field in _TEXTS if field in stated}


def _jpeg(file: Any, about: Any, picture: Picture) -> JpegCoefficients | None:
    """The coefficients of the LR picture, if it has any. ValueError if they do not fit it."""
    if (stated := about.get("jpeg")) is None:
        return None
    (height, width), (down, across) = (tuple(int(n) for n in stated[name]) for name in ("size", "sampling"))
    if not (1 <= down <= _LARGEST_SAMPLING and 1 <= across <= _LARGEST_SAMPLING):
        raise ValueError("sampling")
    parts = range(len(picture.pixels))
    code = JpegCoefficients(
        (height, width),
        [file.get_tensor(f"jpeg:{component}").short() for component in parts],
        [file.get_tensor(f"table:{component}").int() for component in parts],
        (down, across),
        int(stated["orientation"]),
        progressive=bool(stated["progressive"]),
    )
    if code.upright_size != picture.size or picture.bits != 8 or picture.alpha is not None:
        raise ValueError("size")
    return code
