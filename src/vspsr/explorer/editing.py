"""A space given the edits of the page: each is a condition of `vspsr.space` or a map of the temperature."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor

from vspsr.consistency.progress import Progress, estimate_progress, one_of
from vspsr.explorer.jobs import no_progress, shared_work
from vspsr.explorer.messages import Area, Colour, Copy, Edit, Rect, Repeat, Scribble, Texture
from vspsr.explorer.session import Session
from vspsr.images.picture import Picture
from vspsr.space import Average, ConditionedSpace, Pixels, Same, SRSpace
from vspsr.space.observations import Observation


def key_of(*messages: BaseModel | Sequence[BaseModel]) -> str:
    """A name for what messages ask for: equal for equal ones, whatever the edits are called."""
    texts = []
    for message in messages:
        parts = message if isinstance(message, Sequence) else [message]
        texts.append([part.model_dump(mode="json", exclude={"id"}) for part in parts])
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:20]


def textured_space(session: Session, edits: Sequence[Edit]) -> SRSpace:
    """The session's space with the temperature that the edits paint."""
    space, textures = session.space, _textures(edits)
    if not textures:
        return space

    def build() -> SRSpace:
        return space.with_temperature(space.temperature * texture_factor(session, edits))

    return session.spaces.made(key_of(textures), build)  # type: ignore[no-any-return]


def _textures(edits: Sequence[Edit]) -> list[Texture]:
    return [edit for edit in edits if edit.on and isinstance(edit, Texture)]


def texture_factor(session: Session, edits: Sequence[Edit]) -> float | Tensor:
    """The factor on the temperature that the edits paint, (h, w); 1 if they paint none.

    It holds for the share of an LR pixel that the area of an edit covers.
    """
    scale, (h, w) = session.degradation.scale, session.picture.size
    factor: float | Tensor = 1.0
    for edit in _textures(edits):
        mask = area_mask(edit.area, (scale * h, scale * w)).float()
        factor = factor * (1 + (edit.factor - 1) * mask.view(h, scale, w, scale).mean((1, 3)))
    return factor


def conditioned_space(session: Session, edits: Sequence[Edit]) -> ConditionedSpace | None:
    """The session's space given the conditions that are switched on, None without."""
    active = [edit for edit in edits if edit.on and not isinstance(edit, Texture)]
    if not active:
        return None

    def build() -> SRSpace:
        with shared_work():
            return session.space.condition(*(observation(session, edit) for edit in active))

    return session.spaces.made(key_of(active), build)  # type: ignore[no-any-return]


def observation(session: Session, edit: Edit) -> Observation:
    """An edit as a condition."""
    space = session.space
    channels, height, width = space.event_shape
    shape = (height, width)

    def colour(value: Sequence[float]) -> Tensor:
        return torch.tensor(value) if channels == 3 else torch.tensor([sum(value) / 3])

    match edit:
        case Scribble():
            return Pixels(area_mask(edit.area, shape), colour(edit.value), edit.stddev)
        case Colour(value=None):
            mask = area_mask(edit.area, shape)
            now = _mean_of(space, mask) if bool(mask.any()) else 0.0
            return Average(mask, now + (edit.change or 0.0), edit.stddev)
        case Colour():
            assert edit.value is not None
            return Average(area_mask(edit.area, shape), colour(edit.value), edit.stddev)
        case Repeat():
            return Same(_rect_mask(edit.source, shape), _rect_mask((*edit.to, *edit.source[2:]), shape), edit.stddev)
        case Copy():
            patch = image_of(session.file(edit.file), channels)
            values, to = torch.zeros(channels, *shape), (*edit.to, *edit.source[2:])
            values[:, *place_of(to, shape)] = patch[:, *place_of(edit.source, patch.shape[1:])]
            return Pixels(_rect_mask(to, shape), values, edit.stddev)
        case _:
            raise TypeError(f"{type(edit).__name__} is no condition")


def _mean_of(space: SRSpace, mask: Tensor) -> float:
    """The mean of the space, averaged over a mask (H, W) and the channels."""
    s, part = space.degradation.scale, []
    for axis in (1, 0):
        places = mask.any(axis).nonzero()
        part.append((int(places.min()) // s, int(places.max()) // s + 1))
    (top, bottom), (left, right) = part
    mean = space.region(top, left, bottom - top, right - left).mean
    return float(mean[:, mask[s * top : s * bottom, s * left : s * right]].mean())


def image_of(picture: Picture, channels: int) -> Tensor:
    """A picture as an image (channels, H, W) of 0 … 1."""
    image = picture.to_float()[0]
    return image.mean(0, keepdim=True) if channels == 1 else image.expand(3, -1, -1)


def unlikeliness(session: Session, edits: Sequence[Edit], progress: Progress = no_progress) -> list[dict[str, Any]]:
    """For each edit that is switched on: how many σ it lies from the space, and by how many of its own σ it is missed.

    Each is measured by itself, on the space without edits. ``where`` is the HR pixel [x, y] that is missed most.
    """
    reports: list[dict[str, Any]] = []
    active = [edit for edit in edits if edit.on]
    for i, edit in enumerate(active):
        if isinstance(edit, Texture):
            reports.append({"id": edit.id, "sigma": None, "missed": None, "where": None})
            continue
        with estimate_progress(progress), one_of(len(active), i):
            space = conditioned_space(session, [edit])
        assert space is not None
        conflict = space.conflicts[0]
        assert conflict.where is not None  # no edit is a `Linear` condition
        y, x = divmod(int(conflict.where.argmax()), conflict.where.shape[1])
        reports.append({"id": edit.id, "sigma": conflict.distance, "missed": conflict.missed, "where": [x, y]})
    return reports


def area_mask(area: Area, size: tuple[int, int]) -> Tensor:
    """The pixels whose centres the strokes cover, (H, W) bool: those within a radius of a path, one after the other."""
    mask = np.zeros(size, bool)
    for stroke in area.strokes:
        path = np.asarray(stroke.points, float).reshape(-1, 2)
        for start, end in zip(path, path[1:] if len(path) > 1 else path, strict=False):
            _draw(mask, start, end, stroke.radius, not stroke.erase)
    return torch.from_numpy(mask)


def _draw(mask: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], radius: float, value: bool) -> None:
    """Set the pixels within a radius of the segment a–b, each (x, y)."""
    height, width = mask.shape
    left, top = np.maximum(np.floor(np.minimum(a, b) - radius), 0).astype(int)
    right, bottom = np.minimum(np.ceil(np.maximum(a, b) + radius), (width, height)).astype(int)
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5
    (dx, dy), length2 = b - a, float(((b - a) ** 2).sum())
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / length2, 0, 1) if length2 else np.zeros(())
    near = (x - a[0] - t * dx) ** 2 + (y - a[1] - t * dy) ** 2 <= radius**2
    mask[top:bottom, left:right][near] = value


def place_of(rect: Rect, size: Sequence[int]) -> tuple[slice, slice]:
    """The rows and columns of a rectangle; ValueError unless it lies within a picture of a size (H, W)."""
    left, top, width, height = rect
    if top + height > size[0] or left + width > size[1]:
        raise ValueError(f"the area {left}, {top}, {width}×{height} leaves the picture of {size[1]}×{size[0]} pixels")
    return slice(top, top + height), slice(left, left + width)


def _rect_mask(rect: Rect, size: tuple[int, int]) -> Tensor:
    """(H, W) bool."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[place_of(rect, size)] = True
    return mask
