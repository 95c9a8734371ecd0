"""vspsr: the super-resolution space of an image, every member of which downscales to it."""

from typing import TYPE_CHECKING, Any

from vspsr.consistency import Consistent, project, quantize
from vspsr.degradation import Degradation
from vspsr.model import VSpSR
from vspsr.space import SRSpace
from vspsr.version import __version__ as __version__

if TYPE_CHECKING:
    from vspsr.images import read_image, write_image
    from vspsr.upscaling import upscale

__all__ = [
    "Consistent",
    "Degradation",
    "SRSpace",
    "VSpSR",
    "project",
    "quantize",
    "read_image",
    "upscale",
    "write_image",
]

# Imported when they are first used: they bring the image library along.
_LAZY = {"read_image": "vspsr.images", "write_image": "vspsr.images", "upscale": "vspsr.upscaling"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'vspsr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
