"""vspsr: the super-resolution space of an image, every member of which downscales to it."""

from typing import TYPE_CHECKING, Any

from vspsr.version import __version__ as __version__

if TYPE_CHECKING:
    from vspsr.consistency import Consistent, project, quantize
    from vspsr.degradation import Degradation
    from vspsr.images import read_image, write_image
    from vspsr.model import VSpSR
    from vspsr.space import SRSpace
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

# Imported when they are first used: PyTorch and the image library take seconds.
_LAZY = {"Degradation": "degradation", "VSpSR": "model", "SRSpace": "space", "upscale": "upscaling"}
_LAZY |= dict.fromkeys(("Consistent", "project", "quantize"), "consistency")
_LAZY |= dict.fromkeys(("read_image", "write_image"), "images")


def __getattr__(name: str) -> Any:
    from importlib import import_module
    from importlib.util import find_spec

    if name in _LAZY:
        return getattr(import_module(f"vspsr.{_LAZY[name]}"), name)
    if not name.startswith("_") and find_spec(f"vspsr.{name}"):  # vspsr.errors, for instance
        return import_module(f"vspsr.{name}")
    raise AttributeError(f"module 'vspsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
