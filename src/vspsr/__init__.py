"""vspsr: the super-resolution space of an image, every member of which downscales to it bit for bit."""

from typing import TYPE_CHECKING, Any

from vspsr.consistency import Consistent, project, quantize
from vspsr.degradation import Degradation
from vspsr.model import VSpSR
from vspsr.space import SRSpace

if TYPE_CHECKING:
    from vspsr.image import read_image, write_image
    from vspsr.inference import upscale

__version__ = "0.1.0"

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
_LAZY = {"read_image": "vspsr.image", "write_image": "vspsr.image", "upscale": "vspsr.inference"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'vspsr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
