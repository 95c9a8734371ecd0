"""What the explorer's server accepts and holds at most."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on requests, memory and work; beyond them the server answers with an error that says so.

    Attributes:
        upload_bytes: of a file that is uploaded.
        request_bytes: of any other request, and of a session's document.
        lr_pixels: of a picture that is opened.
        whole_lr_pixels: up to which the network runs on the whole picture when it is opened; in larger ones it runs on
            what is visible.
        total_lr_pixels: of all open pictures together.
        sessions: open pictures.
        idle_seconds: a picture that nobody asked for in this time is closed if another needs its place.
        layers: pictures held for each session; the one used longest ago is made again when it is needed.
        layers_lr_pixels: LR pixels of all of them together; eight are held in any case: six are shown side by side.
        files: other pictures of a session: dropped files and copied patches.
        file_pixels: of all of them together, over all sessions: 12 bytes each in memory.
        download_bytes: of the files made for a session and kept on disk; the newest is kept in any case.
        inexact_seconds: the budget of `quantize` for pictures whose pixels are not exact (`Source.exact`).
        waiting: unfinished jobs of a session.
        workers: threads that compute.
    """

    upload_bytes: int = 64 << 20
    request_bytes: int = 8 << 20
    lr_pixels: int = 2 << 20
    whole_lr_pixels: int = 128 * 128
    total_lr_pixels: int = 4 << 20
    sessions: int = 64
    idle_seconds: float = 3600.0
    layers: int = 24
    layers_lr_pixels: int = 16 << 20
    files: int = 64
    file_pixels: int = 64 << 20
    download_bytes: int = 256 << 20
    inexact_seconds: float = 3.0
    waiting: int = 32
    workers: int = 4
