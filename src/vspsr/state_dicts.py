"""The tensors of a checkpoint file, found in whatever a training script wrapped around them. Nothing is unpickled."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vspsr.errors import ModelError
from vspsr.files import one_line

__all__ = ["read_state", "require", "sha256_of"]

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "generator", "netG", "model", "net")
"""Entries that hold the network in files that hold more, the preferred first."""

_PREFIXES = ("module.", "_orig_mod.", "netG.", "generator.")
_GENERATOR = "generator."
_BESIDES = ("generator_ema.", "discriminator.", "perceptual_loss.", "pixel_loss.", "gan_loss.", "data_preprocessor.")
"""What OpenMMLab's files of a GAN hold beside the generator, whose keys begin with ``generator.``."""


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict of the network in a checkpoint.

    Args:
        path: safetensors (by its suffix), or what `torch.save` wrote: read with ``weights_only``, so that no object
            but tensors and plain containers is ever made. A state dict may lie within a dictionary ("params_ema",
            "params", "state_dict", …), its keys may begin with ``module.``, ``netG.`` or ``generator.``.

    Raises:
        ModelError: one line: no such file, damaged, holding other objects, or no tensors.
    """
    path = Path(path)
    name = one_line(path)
    if not path.is_file():
        raise ModelError(f"{name}: {'is a folder, not a checkpoint' if path.is_dir() else 'no such file'}")
    if path.suffix.lower() == ".safetensors":
        try:
            content: Any = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{name}: cannot be read as safetensors ({one_line(error)[:200]})") from error
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd files, which are then refused
                content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the bytes lead to
            raise ModelError(
                f"{name}: cannot be read as a checkpoint of tensors, and other objects are not unpickled "
                f"({_reason(error)})"
            ) from error
    state = _unwrapped(content)
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ModelError(f"{name}: holds no state dict of a network")
    return _without_prefixes(state)


def require(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size | None], name: str, release: str) -> None:
    """ModelError where keys are missing, unknown or of another shape (None: any). The first is named."""
    problems = [f"{k} is missing" for k in wanted if k not in state]
    problems += [f"{k} is not known" for k in state if k not in wanted]
    problems += [
        f"{k} has shape {tuple(state[k].shape)}, not {tuple(shape)}"
        for k, shape in wanted.items()
        if shape is not None and k in state and state[k].shape != shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ModelError(f"{name}: looks like {release}, but {problems[0]}{more}")


def _reason(error: Exception) -> str:
    """What torch.load says, without its advice to unpickle after all."""
    text = one_line(error)
    start = text.find("Unsupported global: ")
    start = text.find("WeightsUnpickler error: ") if start < 0 else start
    return text[max(start, 0) :][:120] or type(error).__name__


def _unwrapped(content: Any) -> dict[str, Any]:
    """The innermost dictionary that the known wrappings lead to."""
    while isinstance(content, Mapping):
        wrapper = next((k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if wrapper is None:
            return dict(content)
        content = content[wrapper]
    return {}


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(k.startswith(_GENERATOR) for k in state):
        state = {k: v for k, v in state.items() if not k.startswith(_BESIDES) and k != "step_counter"}
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if all(k.startswith(prefix) for k in state):
                state, changed = {k.removeprefix(prefix): v for k, v in state.items()}, True
    return state
