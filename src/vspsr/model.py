"""VSpSR: one call of a network turns an LR image into its super-resolution space."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vspsr.checks import check_image, check_temperature
from vspsr.degradation.operator import Degradation
from vspsr.errors import ModelError, OutputError
from vspsr.files import one_line, replacing
from vspsr.nn.correlated import CorrelatedVSpM
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.nn.pretrained import PretrainedSR, pretrained_from_state
from vspsr.nn.vspm import VSpM, convert_authors_state
from vspsr.space.parameters import SpaceParameters
from vspsr.space.sr_space import SRSpace

__all__ = ["VSpSR", "shipped_models"]

NETWORKS: dict[str, type[nn.Module]] = {"vspm": VSpM, "overlapping": OverlappingVSpM, "correlated": CorrelatedVSpM}
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_PRETRAINED = "network.deterministic.module."


def shipped_models() -> list[str]:
    """Names of the models inside the package, which `VSpSR.from_pretrained` loads with no network."""
    folder = resources.files("vspsr") / "weights"
    return sorted(p.name for p in folder.iterdir() if (p / _CONFIG).is_file()) if folder.is_dir() else []


class VSpSR(nn.Module):
    """LR image → `SRSpace`, by a network that gives the parameters of the space.

    Args:
        network: "vspm" (the paper's) or "overlapping" (the shipped models').
        options: arguments of the network's constructor, `scale` among them: see `VSpM` and `OverlappingVSpM`. For
            `deterministic`, also a `vspsr.nn.pretrained.PretrainedSR`, which is then saved with the model.
        kernel: the degradation's kernel.
        temperature: default temperature of the spaces, ≥ 0.

    Raises:
        ValueError: an unknown network or option, or one out of its range.
    """

    def __init__(
        self,
        network: str = "overlapping",
        options: Mapping[str, Any] | None = None,
        kernel: str = "bicubic",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if network not in NETWORKS:
            raise ValueError(f"`network` must be one of {', '.join(NETWORKS)}, got {network!r}")
        options = dict(options or {})
        try:
            self.network: nn.Module = NETWORKS[network](**options)
        except TypeError as error:
            raise ValueError(f"`options` of the network {network!r}: {error}") from error
        scale = self.network.scale
        assert isinstance(scale, int)
        self.degradation = Degradation(scale, kernel)
        self.temperature = check_temperature(temperature)
        if isinstance(pretrained := options.get("deterministic"), PretrainedSR):
            options["deterministic"] = {"pretrained": pretrained.architecture}
        self.config = {
            "network": network,
            "options": options,
            "kernel": kernel,
            "temperature": self.temperature,
        }
        self.eval()

    @property
    def scale(self) -> int:
        """s"""
        return self.degradation.scale

    def forward(self, y: Tensor) -> SRSpace:
        """The super-resolution space of LR images.

        In evaluation mode (the default after construction) each image passes through the network by itself, so that
        its space does not depend on what else is in the batch.

        Args:
            y: (B, 3, h, w) in [0, 1], floating point, h and w at least 1.

        Raises:
            ValueError: another shape, values that are not finite or out of range.
        """
        if y.ndim != 4 or y.shape[1] != 3:
            raise ValueError(f"`y` must be RGB images of shape (B, 3, h, w), got {tuple(y.shape)}")
        check_image(y, "y", 0.0, 1.0)
        if self.training or len(y) == 1:
            parameters = self.network(y)
        else:
            parameters = SpaceParameters.stack([self.network(image[None]) for image in y])
        return SRSpace(y, parameters, self.degradation, self.temperature)

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write config.json and model.safetensors into a folder (made if missing), each under a temporary name first.

        Args:
            folder: where to.
            half: store float16, in half the space; `from_pretrained` makes float32 of it again.

        Raises:
            OutputError: the folder or the files cannot be written.
            ModelError: a weight that float16 cannot hold.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be made ({error.strerror})") from error
        state = {k: v.contiguous() for k, v in self.state_dict().items()}
        if half:
            state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
            too_large = [k for k, v in state.items() if not v.isfinite().all()]
            if too_large:
                raise ModelError(f"{too_large[0]}: has values that float16 cannot hold: save without `half`")
        weights = save(state, metadata={"format": "pt"})
        config = (json.dumps(self.config, indent=2) + "\n").encode()
        for name, content in ((_WEIGHTS, weights), (_CONFIG, config)):
            with replacing(folder / name, overwrite=True) as file:
                file.write(content)

    @classmethod
    def from_pretrained(cls, name_or_path_or_hub_id: str | Path) -> "VSpSR":
        """A model by name, folder or Hugging Face Hub id, in evaluation mode. Nothing is unpickled.

        Args:
            name_or_path_or_hub_id: a shipped model ("vspsr-x4", "vspsr-x8"; no network needed), a folder written
                by `save_pretrained`, or "user/repository" on the Hub (downloaded once, then cached).

        Raises:
            ModelError: nothing of that name, or files that are damaged or do not fit together.
        """
        folder = _locate(str(name_or_path_or_hub_id))
        try:
            config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            if isinstance(config["options"].get("deterministic"), dict):
                state = _read_weights(folder / _WEIGHTS)
                inner = {k.removeprefix(_PRETRAINED): v for k, v in state.items() if k.startswith(_PRETRAINED)}
                config["options"]["deterministic"] = pretrained_from_state(inner, str(folder / _WEIGHTS))
            model = cls(**config)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            reason = one_line(error)  # RuntimeError: layers of impossible sizes
            raise ModelError(f"{folder / _CONFIG}: not the configuration of a vspsr model ({reason})") from error
        _load(model, _read_weights(folder / _WEIGHTS), folder / _WEIGHTS)
        return model

    @classmethod
    def from_authors_checkpoint(cls, path: str | Path, **options: Any) -> "VSpSR":
        """A model from a checkpoint of the authors' VSpSR code.

        Args:
            path: a state dict, as safetensors or as PyTorch's `.pth` (read with `weights_only`, so that no object
                but tensors and plain containers is ever made).
            options: arguments of `VSpM` as the checkpoint was trained with.

        Raises:
            ModelError: a file that is damaged, holds other objects, or does not fit the options.
        """
        path = Path(path)
        if path.suffix == ".safetensors":
            state = _read_weights(path)
        else:
            try:
                loaded = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch.load raises whatever the damaged bytes lead to
                raise ModelError(f"{path}: cannot be read as a state dict of tensors ({one_line(error)})") from error
            state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
        model = cls("vspm", options)
        try:
            tensors = {f"network.{k}": v for k, v in convert_authors_state(state).items()}
        except (ValueError, AttributeError) as error:
            raise ModelError(f"{path}: {error}") from error
        _load(model, tensors, path)
        return model


def _locate(name: str) -> Path:
    """The folder that holds a model's files."""
    if name in shipped_models():
        return Path(str(resources.files("vspsr") / "weights" / name))
    folder = Path(name)
    if folder.is_dir():
        if not (folder / _CONFIG).is_file():
            raise ModelError(f"{name}: the folder has no {_CONFIG}: it was not written by `save_pretrained`")
        return folder
    parts = name.split("/")
    if len(parts) == 2 and all(parts) and not name.startswith((".", "~")):
        return _download(name)
    raise ModelError(
        f"unknown model {name!r}: give one of {', '.join(shipped_models())}, a folder, or a Hub id (user/repository)"
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[_CONFIG, _WEIGHTS]))
    except Exception as error:  # network, authorisation and repository errors have no common base
        raise ModelError(
            f"unknown model {hub_id!r}: no such folder, and the Hub cannot give it ({one_line(error)})"
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({one_line(error)})") from error


def _load(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict of exactly the right keys and shapes, all finite; ModelError names what is wrong."""
    wanted = model.state_dict()
    problems = [f"{k} is missing" for k in wanted if k not in state]
    problems += [f"{k} is not known" for k in state if k not in wanted]
    problems += [
        f"{k} has shape {tuple(state[k].shape)}, not {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    problems += [f"{k} has values that are not finite" for k, v in state.items() if not v.isfinite().all()]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ModelError(f"{path}: does not fit the model's configuration: {problems[0]}{more}")
    model.load_state_dict(state)
