"""What the page may ask for, checked: members of a space, edits, areas. Coordinates are HR pixels, colours 0 … 1."""

import json
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, model_validator

_DEEPEST = 8  # members within members
_MOST_EDITS = 200
_DEEPEST_JSON = 100  # lists and objects within each other

Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=100_000)]
Rect = tuple[Whole, Whole, Annotated[int, Field(ge=1, le=100_000)], Annotated[int, Field(ge=1, le=100_000)]]
"""left, top, width, height"""
Sigma = Annotated[float, Field(ge=1e-4, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=40)]
Title = Annotated[str, Field(min_length=1, max_length=200)]


def checked_json(value: Any, name: str) -> Any:
    """A value that was read from JSON, if it can be written as JSON again; otherwise ValueError, which names ``name``.

    Python's parser also takes lone surrogates ("\\ud800"), NaN, infinities, and values nested deeper than others write.
    """
    within = [value]
    for _ in range(_DEEPEST_JSON + 1):
        outer = [part for part in within if isinstance(part, dict | list)]
        within = [part for parts in outer for part in (parts.values() if isinstance(parts, dict) else parts)]
    if within:
        raise ValueError(f"`{name}` must hold lists and objects at most {_DEEPEST_JSON} deep within each other")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise ValueError(f"`{name}` must be JSON of finite numbers and of text in Unicode: {error}") from error
    return value


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Low(_Message):
    """The LR picture itself."""

    kind: Literal["lr"]


class Enlarged(_Message):
    """The LR picture enlarged by bicubic interpolation."""

    kind: Literal["bicubic"]


class Stddev(_Message):
    """The standard deviation as a colour map."""

    kind: Literal["stddev"]


class File(_Message):
    """A file of the user's."""

    kind: Literal["file"]
    file: Name


class Mean(_Message):
    """The mean of the space."""

    kind: Literal["mean"]


class Sample(_Message):
    """Sample 0 of a seed."""

    kind: Literal["sample"]
    seed: Seed


class Between(_Message):
    """A member between two others: at the angle t·π/2, so that it is as typical as they are."""

    kind: Literal["between"]
    a: "Member"
    b: "Member"
    t: Unit


class Box(_Message):
    """In LR pixels."""

    top: Whole
    left: Whole
    height: Annotated[int, Field(ge=1, le=64)]
    width: Annotated[int, Field(ge=1, le=64)]

    @property
    def part(self) -> tuple[int, int, int, int]:
        """top, left, height, width"""
        return self.top, self.left, self.height, self.width


class Moved(_Message):
    """A member moved along the principal components of a region."""

    kind: Literal["moved"]
    base: "Member"
    region: Box
    amounts: Annotated[tuple[Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)], ...], Field(max_length=16)]


Member = Annotated[Union[Mean, Sample, Between, Moved], Field(discriminator="kind")]  # noqa: UP007
Between.model_rebuild()
Moved.model_rebuild()


def depth(member: Any) -> int:
    """How deeply members lie within a member."""
    inner = [getattr(member, name) for name in ("a", "b", "base") if hasattr(member, name)]
    return 1 + max(map(depth, inner), default=0)


class Stroke(_Message):
    """A brush's path: x, y, x, y, …; erased instead of added if ``erase``."""

    points: Annotated[tuple[Coordinate, ...], Field(min_length=2, max_length=8000)]
    radius: Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False)]
    erase: bool = False

    @model_validator(mode="after")
    def _pairs(self) -> "Stroke":
        if len(self.points) % 2:
            raise ValueError("points must be pairs")
        return self


class Area(_Message):
    """What strokes cover."""

    strokes: Annotated[tuple[Stroke, ...], Field(min_length=1, max_length=200)]


class _Edit(_Message):
    id: Name
    on: bool = True


class Texture(_Edit):
    """More or less texture: a factor on the temperature of an area."""

    kind: Literal["texture"]
    area: Area
    factor: Annotated[float, Field(ge=0, le=4, allow_inf_nan=False)]


class Colour(_Edit):
    """An area has a colour on average, or is brighter on average than the mean of the space by so much."""

    kind: Literal["colour"]
    area: Area
    value: tuple[Unit, Unit, Unit] | None = None
    change: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    stddev: Sigma = 0.01

    @model_validator(mode="after")
    def _one(self) -> "Colour":
        if (self.value is None) == (self.change is None):
            raise ValueError("give either value or change")
        return self


class Scribble(_Edit):
    """Pixels have a colour."""

    kind: Literal["scribble"]
    area: Area
    value: tuple[Unit, Unit, Unit]
    stddev: Sigma = 0.02


class Copy(_Edit):
    """Pixels are those of a file (a clip of this picture, or another picture), placed at left, top."""

    kind: Literal["copy"]
    file: Name
    source: Rect
    to: tuple[Whole, Whole]
    stddev: Sigma = 0.02


class Repeat(_Edit):
    """What is at one place is at another as well."""

    kind: Literal["repeat"]
    source: Rect
    to: tuple[Whole, Whole]
    stddev: Sigma = 0.02


Edit = Annotated[Texture | Colour | Scribble | Copy | Repeat, Field(discriminator="kind")]
Edits = Annotated[tuple[Edit, ...], Field(max_length=_MOST_EDITS)]


class _WithMember(_Message):
    @model_validator(mode="after")
    def _shallow(self) -> "_WithMember":
        if any(depth(value) > _DEEPEST for value in vars(self).values()):
            raise ValueError(f"members lie within members more than {_DEEPEST} times")
        return self


AnyLayer = Annotated[Low | Enlarged | Stddev | File | Mean | Sample | Between | Moved, Field(discriminator="kind")]


class LayerRequest(_WithMember):
    """A picture to look at."""

    member: AnyLayer
    edits: Edits = ()
    background: bool = False


class Components(_WithMember):
    """The principal components of a region, and a member's part of it."""

    member: Member
    edits: Edits = ()
    region: Box
    count: Annotated[int, Field(ge=1, le=16)] = 8


class VisiblePart(Box):
    """In LR pixels, large enough for a screen."""

    height: Annotated[int, Field(ge=1, le=320)]
    width: Annotated[int, Field(ge=1, le=320)]


class DraftRequest(_WithMember):
    """A part of a member, before the exact picture of it is made; or of the map of σ."""

    member: Member | Stddev
    edits: Edits = ()
    part: VisiblePart


class Clip(_Message):
    """A part of a layer, kept as a file."""

    layer: Name
    rect: Rect


class Ask(_WithMember):
    """Which of two candidates for a region: a file (resized to the region), or a member given edits."""

    region: Box
    a: File | Member
    b: File | Member
    edits: Edits = ()
    stddev: Sigma = 4 / 255


class Export(_WithMember):
    """What to keep. A comparison has names for its pictures: of the member, then of the others."""

    what: Literal["picture", "samples", "stddev", "comparison", "session"]
    member: AnyLayer = Mean(kind="mean")
    others: Annotated[tuple[Member, ...], Field(max_length=32)] = ()
    names: Annotated[tuple[Title, ...], Field(max_length=33)] = ()
    edits: Edits = ()
    format: Literal["png", "tiff"] = "png"
    bits: Literal[8, 16] = 8

    @model_validator(mode="after")
    def _named(self) -> "Export":
        wanted = 1 + len(self.others)
        if self.what == "comparison" and len(self.names) != wanted:
            raise ValueError(f"names has {len(self.names)} names for {wanted} pictures: give one for each")
        return self
