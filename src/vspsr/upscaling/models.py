"""Which model super-resolves a picture: the one that is asked for, or the shipped one for pictures of its kind."""

from collections.abc import Callable
from functools import cache

from vspsr.model import VSpSR

_FITTING = {4: ("vspsr-x4", "vspsr-x4-explore"), 8: ("vspsr-x8", "vspsr-x8")}
"""By scale: the shipped model for exact pixels, and the one for JPEGs. Their cards have the figures."""


class Models:
    """A model for exact pixels and one for JPEGs. Each is loaded when it is first needed.

    Args:
        name: what `VSpSR.from_pretrained` takes, for both; None for the shipped models that fit.
        scale: what the models must have; None for that of ``name``, or 4.
        load: from a name to a model.

    Raises:
        ModelError: as ``load``.
        ValueError: no shipped model has the scale, or ``name`` has another.

    Attributes:
        scale: of the models.
    """

    def __init__(
        self, name: str | None = None, scale: int | None = None, load: Callable[[str], VSpSR] = VSpSR.from_pretrained
    ) -> None:
        self._load = cache(load)
        if name is not None:
            self._names = name, name
            self.scale = self._load(name).scale
            if scale not in (None, self.scale):
                raise ValueError(f"`scale` {scale} does not fit: the model {name} upscales by {self.scale}")
            return
        self.scale = 4 if scale is None else scale
        if self.scale not in _FITTING:
            known = " and ".join(map(str, _FITTING))
            raise ValueError(f"`scale` {scale}: shipped models upscale by {known}: give another model by `model`")
        self._names = _FITTING[self.scale]

    def fitting(self, jpeg: bool = False) -> tuple[VSpSR, str]:
        """The model for pictures that count by their JPEG coefficients, or by their pixels, and its name."""
        name = self._names[jpeg]
        return self._load(name), name
