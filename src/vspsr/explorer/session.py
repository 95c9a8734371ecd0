"""An open picture: its space, what is shown of it, and the document that the page keeps on the server."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vspsr.degradation import Degradation
from vspsr.errors import VSpSRError
from vspsr.explorer.downloads import Downloads
from vspsr.explorer.jobs import BusyError, Job
from vspsr.explorer.layers import Layer, Spread
from vspsr.explorer.limits import Limits
from vspsr.images.picture import Picture
from vspsr.images.sources import Source
from vspsr.space import JpegSpace, SRSpace
from vspsr.upscaling import PictureSpace

_SPACES = 4  # spaces given edits, kept for each session
_IMAGES = 4  # float images
_LEAST_LAYERS = 8  # six are shown side by side

T = TypeVar("T")


class NotFoundError(VSpSRError):
    """There is nothing of that name, or no more."""


class _Recent(OrderedDict[str, T]):
    """The values used last."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._lock = most, threading.Lock()
        self._building: dict[str, threading.RLock] = {}

    def used(self, key: str) -> T | None:
        """The value of a key, which counts as used now; None if it is not there (any more)."""
        with self._lock:
            if key not in self:
                return None
            self.move_to_end(key)
            return self[key]

    def made(self, key: str, build: Callable[[], T]) -> T:
        """The value of a key, built if it is not there: by one thread, for which others wait."""
        with self._lock:
            own = self._building.setdefault(key, threading.RLock())
        with own:
            with self._lock:
                if key in self:
                    self.move_to_end(key)
                    return self[key]
            value = build()
            with self._lock:
                self[key] = value
                self._building.pop(key, None)
                while len(self) > self._most:
                    self.popitem(last=False)
        return value


@dataclass(eq=False)
class Session:
    """An open picture.

    Attributes:
        name: of its file.
        source: the LR picture and what is known about it.
        saved_note: one line on how it was saved, empty for what needs none.
        degradation: of the model.
        digest: of the model, see `model_digest`.
        opening: the job that runs the network.
        pictures: its space; None until the network has run.
        files: other pictures: dropped files and clips.
        document: what the page wants kept over a reload, as it sent it.
    """

    name: str
    source: Source
    limits: Limits
    saved_note: str = ""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    degradation: Degradation = field(init=False)
    digest: str = ""
    opening: Job | None = None
    pictures: PictureSpace | None = None
    files: dict[str, tuple[str, Picture]] = field(default_factory=dict)
    document: Any = None
    used: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._space: SRSpace | None = None
        fit = self.limits.layers_lr_pixels // (self.picture.size[0] * self.picture.size[1])
        self.layers: _Recent[Layer] = _Recent(max(_LEAST_LAYERS, min(self.limits.layers, fit)))
        self.spaces: _Recent[Any] = _Recent(_SPACES)
        self.images: _Recent[Any] = _Recent(_IMAGES)
        self.blobs: _Recent[tuple[str, str, bytes]] = _Recent(_IMAGES)  # name, media type, content
        self.drafts: _Recent[tuple[str, str, bytes]] = _Recent(_IMAGES)
        self.spreads: _Recent[Spread] = _Recent(_IMAGES)  # behind drafts of σ
        self.downloads = Downloads(self.limits.download_bytes)
        self._lock = threading.Lock()

    @property
    def opened(self) -> PictureSpace:
        """Its space; BusyError until there is one."""
        if self.pictures is None:
            raise BusyError("the picture is not open yet, or its opening was cancelled")
        return self.pictures

    @property
    def space(self) -> SRSpace:
        """For members, regions and conditions: of a JPEG, `JpegSpace.detail`. BusyError as `opened`."""
        if self._space is None:
            space = self.opened.space
            self._space = space.detail if isinstance(space, JpegSpace) else space
        return self._space

    @property
    def picture(self) -> Picture:
        """The LR picture."""
        return self.source.picture

    @property
    def lr_pixels(self) -> int:
        """Of the LR picture."""
        return self.picture.size[0] * self.picture.size[1]

    @property
    def file_pixels(self) -> int:
        """Of its other pictures."""
        return sum(picture.size[0] * picture.size[1] for _, picture in list(self.files.values()))

    def layer(self, name: str) -> Layer:
        """A layer by name; NotFoundError if it is not kept (any more)."""
        if (layer := self.layers.used(name)) is None:
            raise NotFoundError("the server keeps no such layer: ask for it again")
        return layer

    def spread(self, name: str) -> Spread | None:
        """The values behind a map of σ or a draft of one, if it is kept."""
        layer = self.layers.used(name)
        return self.spreads.used(name) if layer is None else layer.spread

    def file(self, name: str) -> Picture:
        """A file by name."""
        try:
            return self.files[name][1]
        except KeyError:
            raise NotFoundError("the session has no such file") from None

    def add_file(self, title: str, picture: Picture, name: str | None = None) -> str:
        """Keep a picture; its name. VSpSRError if there are too many."""
        with self._lock:
            pixels = self.file_pixels + picture.size[0] * picture.size[1]
            if len(self.files) >= self.limits.files or pixels > self.limits.file_pixels:
                raise VSpSRError(
                    f"the session holds {len(self.files)} other pictures, as many as it can: open the picture anew"
                )
            name = name or secrets.token_urlsafe(6)
            self.files[name] = (title, picture)
            return name


class Sessions:
    """The open pictures, of bounded number and size."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, session: Session) -> list[Session]:
        """Open a session; returns those closed to make room. BusyError if there is no room."""
        limits = self._limits
        with self._lock:
            closed = self._make_room(session)
            if not self._fits(session):
                raise BusyError(
                    f"the server is full: {len(self._open)} pictures are open, at most {limits.sessions} and "
                    f"{limits.total_lr_pixels / 1e6:.1f} megapixels together, with other files of at most "
                    f"{limits.file_pixels / 1e6:.1f} megapixels: close one, or try again later"
                )
            self._open[session.id] = session
        return closed

    def add_file(self, session: Session, title: str, picture: Picture) -> tuple[str, list[Session]]:
        """Keep another picture of an open session: its name, and the sessions closed to make room.

        Raises:
            VSpSRError: the session holds as many as it can.
            BusyError: all sessions together hold as many as they can.
        """
        session.used = time.monotonic()
        with self._lock:
            closed = self._make_room(None, picture)
            if not self._fits(None, picture):
                raise BusyError(
                    f"the server is full: the other files of all open pictures have at most "
                    f"{self._limits.file_pixels / 1e6:.1f} megapixels together: close a picture, or try again later"
                )
            return session.add_file(title, picture), closed

    def _make_room(self, session: Session | None, picture: Picture | None = None) -> list[Session]:
        """Close idle sessions, the one used longest ago first, until a session or another picture fits: the closed."""
        idle, closed = time.monotonic() - self._limits.idle_seconds, []
        for old in sorted(self._open.values(), key=lambda s: s.used):
            if self._fits(session, picture) or old.used > idle:
                break
            closed.append(self._open.pop(old.id))
        return closed

    def _fits(self, session: Session | None, picture: Picture | None = None) -> bool:
        limits, sessions = self._limits, [*self._open.values(), *([session] if session else [])]
        more = picture.size[0] * picture.size[1] if picture else 0
        return (
            len(sessions) <= limits.sessions
            and sum(s.lr_pixels for s in sessions) <= limits.total_lr_pixels
            and sum(s.file_pixels for s in sessions) + more <= limits.file_pixels
        )

    def get(self, name: str) -> Session:
        """A session by name, NotFoundError if it is not open."""
        session = self._open.get(name)
        if session is None:
            raise NotFoundError("this picture is not open (any more): open it again")
        session.used = time.monotonic()
        return session

    def close(self, name: str) -> None:
        """Close a session if it is open."""
        with self._lock:
            self._open.pop(name, None)
