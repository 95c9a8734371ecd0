"""Options of the networks in recipes, as types: misspelt ones and values out of range are told before a run begins."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from vspsr.errors import did_you_mean
from vspsr.training.losses.options import Count, Positive

__all__ = ["OPTIONS", "OverlappingOptions", "VspmOptions", "check_options"]


class OverlappingOptions(TypedDict, total=False):
    """Of `vspsr.nn.overlapping.OverlappingVSpM`."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    scale: Annotated[int, Field(ge=2, multiple_of=2)]
    n_atoms: Count
    channels: Count
    blocks: Annotated[int, Field(ge=0)]
    n_modes: Count


class VspmOptions(TypedDict, total=False):
    """Of `vspsr.nn.vspm.VSpM`."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    scale: Literal[4, 8]
    n_atoms: Annotated[int, Field(ge=4, multiple_of=4)]
    stochastic_basis: bool
    stochastic_coefficients: bool
    deterministic: Literal["bilinear", "bicubic"] | None
    convolutions: bool
    alpha: Positive
    beta: Positive


OPTIONS: dict[str, Any] = {"overlapping": OverlappingOptions, "vspm": VspmOptions}
"""By the names of the networks."""


def check_options(network: str, options: dict[str, Any]) -> None:
    """ValueError, one line, where the network does not have an option or may not have its value."""
    try:
        TypeAdapter(OPTIONS[network]).validate_python(options, strict=True)
    except ValidationError as error:
        problems = error.errors()
        problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        name = str(problem["loc"][0])
        if problem["type"] != "extra_forbidden":
            raise ValueError(f"`options.{name}`: {problem['msg']}, got {problem['input']!r}") from None
        known = list(OPTIONS[network].__annotations__)
        hint = did_you_mean(name, known)
        raise ValueError(f"unknown key `options.{name}` of the network {network!r}: {hint}") from None
