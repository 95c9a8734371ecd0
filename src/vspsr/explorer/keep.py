"""What can be taken away: exact pictures, samples, the standard deviation, a comparison page, the session itself."""

import base64
import html
import json
import secrets
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vspsr.errors import ImageFileError, OutputError
from vspsr.explorer.downloads import Download
from vspsr.explorer.jobs import Progress
from vspsr.explorer.layers import Layer
from vspsr.explorer.messages import Edits, Enlarged, Export, File, Low, Mean, Member, Sample, Stddev
from vspsr.explorer.session import Session
from vspsr.explorer.work import exact_picture, layer, stddev_of
from vspsr.images.encoding import encoded
from vspsr.images.picture import Picture
from vspsr.images.sheets import png, stddev_map
from vspsr.space.estimates import part_of

_TYPES = {"png": "image/png", "tiff": "image/tiff"}
_ZIP, _HTML, _TENSORS = "application/zip", "text/html; charset=utf-8", "application/octet-stream"
_FORMAT = "vspsr explorer session 1"
_MOST_METADATA = 64 << 20


def export(session: Session, request: Export, folder: Path, model: str, progress: Progress) -> dict[str, Any]:
    """Make a file; what the page shows about it.

    Args:
        session: of the picture.
        request: what to make.
        folder: where the file is kept until it is downloaded.
        model: the name of the model.
        progress: of pictures made.

    Raises:
        OSError, OutputError: the file cannot be written.
    """
    stem = Path(session.name).stem or "picture"
    about: dict[str, Any] = {}
    path = folder / f"export-{secrets.token_hex(12)}"
    try:
        match request.what:
            case "picture":
                about = _picture(session, request, path, progress)
                name, kind = f"{stem}_x{_scale(session)}.{request.format}", _TYPES[request.format]
            case "samples":
                about = _samples(session, request, path, progress)
                name, kind = f"{stem}_samples.zip", _ZIP
            case "stddev":
                _stddev(session, request.edits, path, progress)
                name, kind = f"{stem}_stddev.zip", _ZIP
            case "comparison":
                _comparison(session, request, path, progress)
                name, kind = f"{stem}_comparison.html", _HTML
            case "session":
                _session(session, model, path)
                name, kind = f"{stem}.vspsr.safetensors", _TENSORS
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    file = Download(name, kind, path, path.stat().st_size)
    return {"blob": session.downloads.add(file), "name": name, "bytes": file.size, **about}


def _scale(session: Session) -> int:
    return session.degradation.scale


def _exact(session: Session, member: Any, edits: Edits, bits: int, progress: Progress) -> tuple[Picture, int]:
    """A member as a picture of a depth, with alpha and metadata; LR values wrong."""
    pictures, lr = session.opened, session.picture
    if bits == pictures.out_bits and lr.alpha is None:  # as it is shown: it may exist already
        made = layer(session, member, edits, progress)
        return made.picture(lr), made.about["lr_values_wrong"]
    if bits != pictures.out_bits:
        pictures = pictures.with_bits(bits)
    picture, exactness = exact_picture(session, pictures, edits, member, progress)
    return picture, exactness.lr_values_wrong


def _picture(session: Session, request: Export, path: Path, progress: Progress) -> dict[str, Any]:
    if isinstance(request.member, Low | Enlarged | File | Stddev):
        picture, about = layer(session, request.member, request.edits).picture(session.picture), {}
    else:
        picture, wrong = _exact(session, request.member, request.edits, request.bits, progress)
        about = {"lr_values_wrong": wrong}
    path.write_bytes(encoded(picture, f".{request.format}"))
    return about


def _samples(session: Session, request: Export, path: Path, progress: Progress) -> dict[str, Any]:
    wrong = 0
    members: tuple[Member, ...] = request.others or tuple(Sample(kind="sample", seed=i) for i in range(6))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for i, member in enumerate(members):
            progress(i, len(members))
            own = part_of(progress, len(members), i)
            picture, missed = _exact(session, member, request.edits, request.bits, own)
            wrong += missed
            file.writestr(f"s{i:02d}.{request.format}", encoded(picture, f".{request.format}"))
    return {"lr_values_wrong": wrong}


def _stddev(session: Session, edits: Edits, path: Path, progress: Progress) -> None:
    stddev = stddev_of(session, edits, progress)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("stddev.png", encoded(stddev_map(stddev), ".png"))
        with file.open("stddev.npy", "w") as array:
            np.save(array, stddev.numpy(), allow_pickle=False)


def _comparison(session: Session, request: Export, path: Path, progress: Progress) -> None:
    """A page with the pictures in it, which needs nothing else."""
    shown: list[tuple[str, Any, Edits]] = [
        ("LR", Low(kind="lr"), ()),
        ("bicubic", Enlarged(kind="bicubic"), ()),
        ("mean", Mean(kind="mean"), ()),
        ("shown", request.member, request.edits),
        *((f"sample {i + 1}", member, request.edits) for i, member in enumerate(request.others)),
    ]
    height, width = (_scale(session) * n for n in session.picture.size)
    page = (resources.files("vspsr.explorer") / "comparison.html").read_text(encoding="utf-8")
    before, after = (part.replace("{{title}}", html.escape(session.name)) for part in page.split("{{data}}"))
    with path.open("w", encoding="utf-8") as file:  # one picture after the other: together they may be large
        file.write(f'{before}{{"width": {width}, "height": {height}, "pictures": [')
        for i, (title, member, edits) in enumerate(shown):
            progress(i, len(shown))
            made = layer(session, member, edits, part_of(progress, len(shown), i))
            picture = {"title": title, "note": _note(made), "data": base64.b64encode(png(made.rgb)).decode()}
            # "<" as an escape: nothing in the data can end the script element.
            file.write(", " * (i > 0) + json.dumps(picture).replace("<", "\\u003c"))
        file.write(f"]}}{after}")


def _note(made: Layer) -> str:
    if made.about.get("lr_values") is None:
        return ""
    return f"{made.about['lr_values_wrong']} of {made.about['lr_values']} LR values wrong"


def _session(session: Session, model: str, path: Path) -> None:
    """The LR picture and the files as tensors, everything else as JSON in the file's metadata."""
    tensors, files = {}, []
    for name, (title, picture) in {"": (session.name, session.picture), **session.files}.items():
        for part, values in (("pixels", picture.pixels), ("alpha", picture.alpha)):
            if values is not None:
                tensors[f"{part}:{name}"] = values.to(torch.uint8 if picture.bits == 8 else torch.int32).contiguous()
        files.append({"file": name, "title": title, "bits": picture.bits})
    if isinstance(profile := session.picture.metadata.get("icc-profile-data"), bytes):
        tensors["profile:"] = torch.frombuffer(bytearray(profile), dtype=torch.uint8)
    about = {"format": _FORMAT, "model": model, "files": files, "document": session.document}
    try:
        save_file(tensors, path, {"session": json.dumps(about)})
    except SafetensorError as error:
        raise OutputError(f"the session cannot be written ({error})") from error


def is_session_file(path: Path) -> bool:
    """Whether a file begins as a safetensors file: the length of its header, which begins with "{"."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def read_session(path: Path, title: str) -> Iterator[tuple[str, str, Picture] | dict[str, Any]]:
    """The pictures of a session file as (file, title, picture), the LR picture first under the empty name; then what
    else it says: model and document.

    Raises:
        ImageFileError: another file, or one that is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("session", "")
            if len(text) > _MOST_METADATA:
                raise ImageFileError(f"{title}: its description is too long")
            about = json.loads(text)
            if about["format"] != _FORMAT or about["files"][0]["file"] != "":
                raise ValueError("format")
            names = set(file.keys())
            for entry in about["files"]:
                name, bits = str(entry["file"]), int(entry["bits"])
                pixels = file.get_tensor(f"pixels:{name}").to(torch.int32)
                alpha = file.get_tensor(f"alpha:{name}").to(torch.int32) if f"alpha:{name}" in names else None
                metadata = {}
                if not name and "profile:" in names:
                    metadata["icc-profile-data"] = file.get_tensor("profile:").to(torch.uint8).numpy().tobytes()
                yield name, str(entry["title"]), Picture(pixels, bits, alpha, metadata)
            yield {"model": str(about["model"]), "document": about["document"]}
    except (SafetensorError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ImageFileError(f"{title}: not a session that the explorer has saved") from error
