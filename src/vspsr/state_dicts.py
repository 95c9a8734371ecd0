"""Tensors of a file onto a module: one reader, one comparison of keys, shapes and kinds. Nothing is unpickled.

A file from a stranger may ask for anything. So what it holds is bounded by the file's own size before it is read,
numbers of unusual kinds are refused, and `check_keys` takes modules on the device "meta": a network whose size comes
from the file is compared with the weights before memory is allocated for it.
"""

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.files import kind_of, one_line

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "generator", "netG", "model", "net")
"""Entries that hold the network in files that hold more, the preferred first."""

_PREFIXES = ("module.", "_orig_mod.", "netG.", "generator.")
_BESIDES = ("generator_ema.", "discriminator.", "perceptual_loss.", "pixel_loss.", "gan_loss.", "data_preprocessor.")
"""What OpenMMLab's files of a GAN hold beside the generator, whose keys begin with ``generator.``."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
_SHARED = 4  # tensors of a state dict may share their memory (tied weights), but not so often


def read_tensors(path: str | Path, mmap: bool = False) -> Any:
    """The content of a file of tensors, on the CPU.

    Args:
        path: safetensors (by its suffix; a dictionary of tensors), or what `torch.save` wrote (tensors and plain
            containers): read with ``weights_only``, so that no other object is ever made.
        mmap: map the file instead of reading it where its format allows for it.

    Raises:
        ModelError: one line: no such file, not a regular one, damaged, or holding other objects.
    """
    path = Path(path)
    name, kind = one_line(path), kind_of(path)
    if kind != "file":
        found = {"folder": "is a folder, not a checkpoint", "other": "is not a regular file", None: "no such file"}
        raise ModelError(f"{name}: {found[kind]}")
    is_safetensors = path.suffix.lower() == ".safetensors"
    try:
        if is_safetensors:  # its header is checked against the file's size by the library
            return load_file(path)
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > path.stat().st_size:  # `torch.save` compresses nothing
                raise ValueError("its archive is compressed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd files, which are then refused
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipped)
    except Exception as error:  # whatever the bytes lead to
        wanted = "a checkpoint of tensors, and other objects are not unpickled"
        raise ModelError(
            f"{name}: cannot be read as {'safetensors' if is_safetensors else wanted} ({_reason(error)})"
        ) from error


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict of the network in a checkpoint.

    Args:
        path: as in `read_tensors`. The state dict may lie within a dictionary ("params_ema", "params", "state_dict",
            …), its keys may begin with ``module.``, ``netG.`` or ``generator.``.

    Raises:
        ModelError: one line: as `read_tensors`; no state dict; tensors that are not dense, larger than the file, or
            neither integers nor floating point of 16 to 64 bits.
    """
    state, name = _unwrapped(read_tensors(path)), one_line(path)
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ModelError(f"{name}: holds no state dict of a network")
    for key, tensor in state.items():
        kinds = _FLOATS if key.endswith(("weight", "bias")) else _FLOATS + _INTEGERS
        if tensor.dtype not in kinds or tensor.layout != torch.strided or tensor.device.type != "cpu":
            kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device.type}".replace("torch.", "")
            raise ModelError(f"{name}: {one_line(key)} is of kind {kind}: weights are dense numbers of 16 to 64 bits")
    if sum(v.numel() * v.element_size() for v in state.values()) > _SHARED * Path(path).stat().st_size:
        raise ModelError(f"{name}: holds tensors that are larger than the file")
    return _without_prefixes(state)


def check_keys(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor | None], context: str) -> None:
    """ModelError that names the first key that is missing, unknown, of another shape or another kind of number.

    Args:
        state: what there is.
        wanted: what there should be, possibly on the device "meta"; None for any shape.
        context: how the message begins.
    """
    problems = [f"{k} is missing" for k in wanted if k not in state]
    problems += [f"{one_line(k)} is not known" for k in state if k not in wanted]
    for key, model in wanted.items():
        if model is None or key not in state:
            continue
        if state[key].shape != model.shape:
            problems.append(f"{key} has shape {tuple(state[key].shape)}, not {tuple(model.shape)}")
        elif state[key].is_floating_point() != model.is_floating_point() or state[key].is_complex():
            problems.append(f"{key} has {state[key].dtype} numbers, not {model.dtype}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ModelError(f"{context} {problems[0]}{more}")


def check_finite(state: Mapping[str, Tensor], name: str) -> None:
    """ModelError that names the first tensor with values that are not finite."""
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{name}: {key} has values that are not finite")


def load(
    module: nn.Module,
    state: Mapping[str, Tensor],
    name: str,
    misfit: str = "does not fit the model's configuration:",
    assign: bool = False,
) -> None:
    """Load a state dict of exactly a module's keys, shapes and kinds of numbers, all of them finite.

    Args:
        module: gets the values; with ``assign`` the tensors themselves.
        state: the tensors.
        name: of the file, for messages.
        misfit: what a message about keys and shapes says after the name.
        assign: as in `torch.nn.Module.load_state_dict`.

    Raises:
        ModelError: one line that names the first problem; the module is then as it was.
    """
    check_keys(state, module.state_dict(), f"{name}: {misfit}")
    check_finite(state, name)
    module.load_state_dict(state, assign=assign)


def digest_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names and values of a state dict, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """What torch.load says, without its advice to unpickle after all."""
    text = one_line(error)
    start = text.find("Unsupported global: ")
    start = text.find("WeightsUnpickler error: ") if start < 0 else start
    return text[max(start, 0) :][:120] or type(error).__name__


def _unwrapped(content: Any) -> dict[str, Any]:
    """The innermost dictionary that the known wrappings lead to."""
    for _ in range(10):  # a dictionary may hold itself
        if not isinstance(content, Mapping):
            break
        wrapper = next((k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if wrapper is None:
            return dict(content)
        content = content[wrapper]
    return {}


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(k.startswith("generator.") for k in state):
        state = {k: v for k, v in state.items() if not k.startswith(_BESIDES) and k != "step_counter"}
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state
