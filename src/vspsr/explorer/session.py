"""An open picture: its space, what is shown of it, and the document that the page keeps on the server."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
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
            if (value := self.used(key)) is not None:
                return value
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
        fit = self.limits.layers_lr_pixels // self.lr_pixels
        self.layers: _Recent[Layer] = _Recent(max(_LEAST_LAYERS, min(self.limits.layers, fit)))
        self.spaces: _Recent[Any] = _Recent(_SPACES)
        self.images: _Recent[Any] = _Recent(_IMAGES)
        self.blobs: _Recent[tuple[str, bytes]] = _Recent(_IMAGES)  # media type, content
        self.drafts: _Recent[tuple[str, bytes]] = _Recent(_IMAGES)
        self.spreads: _Recent[Spread] = _Recent(_IMAGES)  # behind drafts of σ
        self.downloads = Downloads(self.limits.download_bytes)
        self._lock = threading.Lock()

    @property
    def opened(self) -> PictureSpace:
        """Its space; BusyError until there is one."""
        if self.pictures is None:
            raise BusyError("the picture is not open yet, or its opening was cancelled")
        return self.pictures

    @cached_property
    def space(self) -> SRSpace:
        """For members, regions and conditions: of a JPEG, `JpegSpace.detail`. BusyError as `opened`."""
        space = self.opened.space
        return space.detail if isinstance(space, JpegSpace) else space

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
    """The open pictures, of bounded number and size.

    Args:
        limits: on number and size.
        end: called with each session that is closed.
    """

    def __init__(self, limits: Limits, end: Callable[[Session], None]) -> None:
        self._limits, self._end, self._lock = limits, end, threading.Lock()
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, session: Session) -> None:
        """Open a session. BusyError if there is no room."""
        with self._lock:
            self._make_room([session], 0)
            self._open[session.id] = session

    def add_file(self, session: Session, title: str, picture: Picture) -> str:
        """Keep another picture of an open session: its name.

        Raises:
            VSpSRError: the session holds as many as it can.
            BusyError: all sessions together hold as many as they can.
        """
        session.used = time.monotonic()
        with self._lock:
            self._make_room([], picture.size[0] * picture.size[1])
            return session.add_file(title, picture)

    def _make_room(self, sessions: list[Session], file_pixels: int) -> None:
        """Close idle sessions, the one used longest ago first, until others and so many pixels of files fit."""
        limits, idle = self._limits, time.monotonic() - self._limits.idle_seconds
        while not self._fits([*self._open.values(), *sessions], file_pixels):
            oldest = min(self._open.values(), key=lambda s: s.used, default=None)
            if oldest is None or oldest.used > idle:
                raise BusyError(
                    f"the server is full: {len(self._open)} pictures are open, at most {limits.sessions} and "
                    f"{limits.total_lr_pixels / 1e6:.1f} megapixels together, with other files of at most "
                    f"{limits.file_pixels / 1e6:.1f} megapixels: close one, or try again later"
                )
            self._end(self._open.pop(oldest.id))

    def _fits(self, sessions: list[Session], file_pixels: int) -> bool:
        limits = self._limits
        return (
            len(sessions) <= limits.sessions
            and sum(s.lr_pixels for s in sessions) <= limits.total_lr_pixels
            and sum(s.file_pixels for s in sessions) + file_pixels <= limits.file_pixels
        )

    def get(self, name: str) -> Session:
        """A session by name, NotFoundError if it is not open."""
        session = self._open.get(name)
        if session is None:
            raise NotFoundError("this picture is not open (any more): open it again")
        session.used = time.monotonic()
        return session

    def close(self, session: Session) -> None:
        """Close a session."""
        with self._lock:
            self._open.pop(session.id, None)
            self._end(session)
