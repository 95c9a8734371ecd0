"""What can be taken away: exact pictures, samples, the standard deviation, a comparison page, the session itself."""

import base64
import html
import json
import re
import secrets
import zipfile
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from vspsr.consistency.progress import Progress, part_of
from vspsr.explorer.downloads import Download
from vspsr.explorer.messages import Edits, Enlarged, Export, File, Low, Mean, Member, Sample, Stddev
from vspsr.explorer.saved import write_session
from vspsr.explorer.session import Session
from vspsr.explorer.work import exact_picture, layer
from vspsr.images.encoding import encoded
from vspsr.images.picture import Picture, to_bits
from vspsr.images.sheets import png, stddev_map

_TYPES = {"png": "image/png", "tiff": "image/tiff"}
_ZIP, _HTML, _TENSORS = "application/zip", "text/html; charset=utf-8", "application/octet-stream"
_UNITS = {"lr_values": "LR values", "coefficients": "JPEG coefficients"}
_PROMISES = {
    "lr_values": "every picture of the space downscales to the LR picture",
    "coefficients": "every picture of the space, downscaled and saved with the tables of the JPEG, is this file",
}


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
                name, kind = f"{stem}_x{session.degradation.scale}.{request.format}", _TYPES[request.format]
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
                write_session(session, model, path)
                name, kind = f"{stem}.vspsr.safetensors", _TENSORS
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    file = Download(name, kind, path, path.stat().st_size)
    return {"blob": session.downloads.add(file), "name": name, "bytes": file.size, **about}


def _exact(session: Session, member: Any, edits: Edits, bits: int, progress: Progress) -> tuple[Picture, int]:
    """A member as a picture of a depth, with alpha and metadata; LR values or coefficients wrong."""
    pictures, lr = session.opened, session.picture
    if bits == pictures.out_bits and lr.alpha is None:  # as it is shown: it may exist already
        made = layer(session, member, edits, progress)
        return made.picture(lr), made.about[f"{session.source.unit}_wrong"]
    if bits != pictures.out_bits:
        pictures = pictures.with_bits(bits)
    picture, exactness = exact_picture(session, pictures, edits, member, progress)
    wrong = exactness.coefficients_wrong
    return picture, exactness.lr_values_wrong if wrong is None else wrong


def _picture(session: Session, request: Export, path: Path, progress: Progress) -> dict[str, Any]:
    if isinstance(request.member, Low | Enlarged | File | Stddev):
        made = layer(session, request.member, request.edits).picture(session.picture)
        pixels = to_bits(made.pixels, made.bits, request.bits)
        picture, about = replace(made, pixels=pixels, bits=request.bits), {}
    else:
        picture, wrong = _exact(session, request.member, request.edits, request.bits, progress)
        about = {f"{session.source.unit}_wrong": wrong}
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
    return {f"{session.source.unit}_wrong": wrong}


def _stddev(session: Session, edits: Edits, path: Path, progress: Progress) -> None:
    spread = layer(session, Stddev(kind="stddev"), edits, progress).spread
    assert spread is not None
    stddev = spread.stddev.expand(len(session.picture.pixels), -1, -1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("stddev.png", encoded(stddev_map(stddev), ".png"))
        with file.open("stddev.npy", "w") as array:
            np.save(array, stddev.numpy(), allow_pickle=False)


def _comparison(session: Session, request: Export, path: Path, progress: Progress) -> None:
    """A page with the pictures in it, which needs nothing else."""
    shown: list[tuple[str, Any, Edits]] = [
        ("LR", Low(kind="lr"), ()),
        ("Bicubic", Enlarged(kind="bicubic"), ()),
        ("Mean", Mean(kind="mean"), ()),
        (request.names[0], request.member, request.edits),
        *((name, member, request.edits) for name, member in zip(request.names[1:], request.others, strict=True)),
    ]
    height, width = (session.degradation.scale * n for n in session.picture.size)
    source = session.source
    page = (resources.files("vspsr.explorer") / "comparison.html").read_text(encoding="utf-8")
    texts = {"title": session.name, "note": source.assumed, "promise": _PROMISES[source.unit]}
    before, after = (_filled(part, texts) for part in page.split("{{data}}"))
    with path.open("w", encoding="utf-8") as file:  # one picture after the other: together they may be large
        file.write(f'{before}{{"width": {width}, "height": {height}, "pictures": [')
        for i, (title, member, edits) in enumerate(shown):
            progress(i, len(shown))
            made = layer(session, member, edits, part_of(progress, len(shown), i))
            note = _note(made.about, source.unit)
            picture = {"title": title, "note": note, "data": base64.b64encode(png(made.rgb)).decode()}
            # "<" as an escape: nothing in the data can end the script element.
            file.write(", " * (i > 0) + json.dumps(picture).replace("<", "\\u003c"))
        file.write(f"]}}{after}")


def _filled(part: str, texts: dict[str, str]) -> str:
    """Part of a page with its places filled. What fills one is never taken for a place."""
    return re.sub(r"{{(\w+)}}", lambda place: html.escape(texts[place[1]]), part)


def _note(about: dict[str, Any], unit: str) -> str:
    return f"{about[f'{unit}_wrong']:,} of {about[unit]:,} {_UNITS[unit]} wrong" if unit in about else ""
