"""VSpSR: one call of a network turns an LR image into its super-resolution space."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from vspsr.checks import check_number, check_rgb, check_temperature, check_types
from vspsr.degradation.operator import Degradation
from vspsr.errors import ModelError, did_you_mean
from vspsr.files import kind_of, make_folder, one_line, read_json, write_bytes, write_json
from vspsr.nn.correlated import CorrelatedVSpM
from vspsr.nn.networks import build_network
from vspsr.nn.pretrained import PretrainedSR, pretrained_part
from vspsr.nn.vspm import convert_authors_state
from vspsr.space.parameters import SpaceParameters
from vspsr.space.sr_space import SRSpace
from vspsr.state_dicts import check_keys, load, read_state

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_MAX_CONFIG = 1_000_000  # bytes
_PRIOR = {"alpha", "beta"}  # options of the network "vspm" in older files; they belong to the loss


def shipped_models() -> list[str]:
    """Names of the models inside the package, which `VSpSR.from_pretrained` loads with no network."""
    folder = resources.files("vspsr") / "weights"
    return sorted(p.name for p in folder.iterdir() if (p / _CONFIG).is_file()) if folder.is_dir() else []


def model_file(name: str, file: str) -> Path | None:
    """The path of a file in a model's folder, by the name of a folder or a shipped model; None if there is none."""
    shipped = [Path(str(resources.files("vspsr") / "weights" / name))] if name in shipped_models() else []
    folder = next((f for f in (Path(name), *shipped) if kind_of(f / _CONFIG) is not None), None)
    return None if folder is None or kind_of(folder / file) is None else folder / file


class VSpSR(nn.Module):
    """LR image → `SRSpace`, by a network that gives the parameters of the space.

    Args:
        network: "vspm" (the paper's), "overlapping" (of vspsr-x4 and vspsr-x8) or "correlated" (the recipes').
        options: arguments of the network's constructor, `scale` among them: see `vspsr.nn`. For
            `deterministic`, also a `vspsr.nn.pretrained.PretrainedSR`, which is then saved with the model.
        kernel: the degradation's kernel.
        temperature: how samples look: factor on every σ when they are drawn, the default of `SRSpace.sample`, ≥ 0.
        calibration: what σ means: factor on the standard deviation that spaces state, fitted on validation
            photographs so that it agrees with the errors there, ≥ 0.
        trained_on_jpegs: whether the network has seen LR images that were JPEGs, and what their `quantisation` was.

    Raises:
        ValueError: an unknown network or option, or one out of its range.
    """

    def __init__(
        self,
        network: str = "overlapping",
        options: Mapping[str, Any] | None = None,
        kernel: str | Sequence[float] = "bicubic",
        temperature: float = 1.0,
        calibration: float = 1.0,
        trained_on_jpegs: bool = False,
    ) -> None:
        super().__init__()
        check_types(options=(options, Mapping | None), trained_on_jpegs=(trained_on_jpegs, bool))
        self.network: nn.Module = build_network(network, options or {})
        self._name, self._options = network, dict(options or {})
        scale = self.network.scale
        assert isinstance(scale, int)
        self.degradation = Degradation(scale, kernel)
        self.temperature = check_temperature(temperature)
        self.calibration = check_number(calibration, "calibration")
        self.trained_on_jpegs = trained_on_jpegs
        self.eval()

    @property
    def scale(self) -> int:
        """s"""
        return self.degradation.scale

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, as `save_pretrained` writes them."""
        options = dict(self._options)
        if isinstance(pretrained := options.get("deterministic"), PretrainedSR):
            options["deterministic"] = {"pretrained": pretrained.architecture}
        return {
            "network": self._name,
            "options": options,
            "kernel": self.degradation.kernel,
            "temperature": self.temperature,
            "calibration": self.calibration,
            "trained_on_jpegs": self.trained_on_jpegs,
        }

    def forward(self, y: Tensor, quantisation: Tensor | None = None) -> SRSpace:
        """The super-resolution space of LR images.

        In evaluation mode (the default after construction) each image passes through the network by itself, so that
        its space does not depend on what else is in the batch. The space is float32, or float64 if y is; only the
        network is subject to autocast.

        Args:
            y: (B, 3, h, w) in [0, 1], floating point, h and w at least 1.
            quantisation: how coarsely the values of y are quantised, (B, 3, h, w) in [0, 1] (see
                `vspsr.degradation.jpeg.quantisation_map`); None for images that are exact. Networks that were not
                trained on JPEGs do not get it.

        Raises:
            ValueError: another shape, values that are not finite or out of range.
        """
        check_rgb(y)
        dtype = torch.promote_types(y.dtype, torch.float32)
        y = y.to(dtype).clone(memory_format=torch.contiguous_format)
        images = y.to(next(self.network.parameters(), y).dtype)
        inputs = [images, *self._taken(quantisation, images)]
        # Strides choose among algorithms that round differently: the values alone shall count.
        inputs = [i.contiguous().contiguous(memory_format=torch.channels_last) for i in inputs]
        if self.training or len(y) == 1:
            parameters = self.network(*inputs)
        else:
            parameters = SpaceParameters.stack([self.network(*(i[b : b + 1] for i in inputs)) for b in range(len(y))])
        parameters = parameters.map_tensors(lambda t: t.to(dtype))
        return SRSpace(y, parameters, self.degradation, self.temperature, self.calibration)

    @property
    def receptive_field(self) -> int | None:
        """LR pixels to each side that the space at a place depends on, the basis aside; None for the whole image."""
        return self.network.receptive_field if isinstance(self.network, CorrelatedVSpM) else None

    @property
    def is_local(self) -> bool:
        """Whether the network gives the parameters of a part of an image from that part's surroundings."""
        return self.receptive_field is not None

    def _taken(self, quantisation: Tensor | None, y: Tensor) -> list[Tensor]:
        """The quantisation of images if the network takes it, of their type. ValueError as in `forward`."""
        if quantisation is None:
            return []
        check_rgb(quantisation, "quantisation")
        if quantisation.shape != y.shape:
            raise ValueError(f"`quantisation` must be {tuple(y.shape)} as `y`, got {tuple(quantisation.shape)}")
        taken = self.trained_on_jpegs and getattr(self.network, "takes_quantisation", False)
        return [quantisation.to(y)] if taken else []

    def by_place(self, y: Tensor, quantisation: Tensor | None = None) -> SRSpace:
        """The space of a large image: that of `forward` up to rounding, but the network runs where it is needed first.

        Parts of the space (`SRSpace.region`, conditions) run the network on that part and its receptive field, and
        what it computes is kept. Whole images are made in bands. There are no gradients.

        Args:
            y, quantisation: as in `forward`, (1, 3, h, w).

        Raises:
            ValueError: another shape, values that are not finite or out of range, a model that is not `is_local`.
        """
        check_rgb(y)
        if len(y) != 1 or not isinstance(self.network, CorrelatedVSpM):
            raise ValueError(f"`y` must be one image and the model local, got {len(y)} images, local: {self.is_local}")
        y = y.detach().to(torch.promote_types(y.dtype, torch.float32)).clone(memory_format=torch.contiguous_format)
        parameters = self.network.by_place(y, *self._taken(quantisation, y))
        return SRSpace(y, parameters, self.degradation, self.temperature, self.calibration)

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write config.json and model.safetensors into a folder (made if missing), each under a temporary name first.

        Args:
            folder: where to.
            half: store float16, in half the space; `from_pretrained` makes float32 of it again.

        Raises:
            OutputError: the folder or the files cannot be written.
            ModelError: a weight that float16 cannot hold.
        """
        check_types(folder=(folder, str | Path), half=(half, bool))
        folder = Path(folder)
        make_folder(folder)
        state = {k: v.contiguous() for k, v in self.state_dict().items()}
        if half:
            state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
            too_large = [k for k, v in state.items() if not v.isfinite().all()]
            if too_large:
                raise ModelError(f"{too_large[0]}: has values that float16 cannot hold: save without `half`")
        weights = save(state, metadata={"format": "pt"})
        write_bytes(folder / _WEIGHTS, weights, overwrite=True)
        write_json(folder / _CONFIG, self.config, overwrite=True)

    @classmethod
    def from_pretrained(cls, name_or_path_or_hub_id: str | Path) -> "VSpSR":
        """A model by name, folder or Hugging Face Hub id: float32, in evaluation mode. Nothing is unpickled.

        Args:
            name_or_path_or_hub_id: a folder written by `save_pretrained`; a shipped model (see `shipped_models`; no
                internet needed); or "user/repository" on the Hub (downloaded once, then cached). The first of these
                that there is.

        Raises:
            ModelError: nothing of that name, or files that are damaged or do not fit together.
        """
        check_types(name_or_path_or_hub_id=(name_or_path_or_hub_id, str | Path))
        folder = _locate(str(name_or_path_or_hub_id))
        config = read_json(folder / _CONFIG, _MAX_CONFIG, ModelError)
        return model_of(config, read_state(folder / _WEIGHTS), str(folder / _CONFIG), str(folder / _WEIGHTS))

    @classmethod
    def from_authors_checkpoint(cls, path: str | Path, **options: Any) -> "VSpSR":
        """A model from a checkpoint of the authors' VSpSR code.

        Args:
            path: a state dict, as safetensors or as PyTorch's `.pth` (read with `weights_only`, so that no object
                but tensors and plain containers is ever made).
            options: arguments of `VSpM` as the checkpoint was trained with.

        Raises:
            ValueError: options that `VSpM` does not have.
            ModelError: a file that is damaged, holds other objects, or does not fit the options.
        """
        check_types(path=(path, str | Path))
        state = read_state(path)
        try:
            converted = convert_authors_state(state)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from error
        model = cls("vspm", options).float()  # whatever the default dtype is
        load(model, {f"network.{k}": v for k, v in converted.items()}, str(path))
        return model


def model_of(config: Any, state: Mapping[str, Tensor], source: str, weights: str) -> VSpSR:
    """A model from its configuration and weights, neither of which is trusted: float32, in evaluation mode.

    Args:
        config: what `VSpSR.config` gave.
        state: what `VSpSR.state_dict` gave.
        source, weights: names of the files they are from, for messages.

    Raises:
        ModelError: not the configuration of a model, or weights that do not fit it.
    """
    refused = f"{source}: not the configuration of a vspsr model"
    if not isinstance(config, dict) or not isinstance(config.get("options"), dict):
        raise ModelError(f"{refused} (it has no `options`)")
    known = inspect.signature(VSpSR).parameters
    if unknown := [one_line(key)[:60] for key in config if key not in known]:
        raise ModelError(f"{refused} (unknown {unknown[0]!r}: {did_you_mean(unknown[0], known)})")
    name = config.get("network", "overlapping")
    options = {k: v for k, v in config["options"].items() if name != "vspm" or k not in _PRIOR}
    try:
        if isinstance(options.get("deterministic"), dict):
            options["deterministic"] = pretrained_part(state, weights)
        with torch.device("meta"):  # compared before memory is allocated for sizes that the file asks for
            wanted = build_network(name, options).state_dict(prefix="network.")
        check_keys(state, wanted, f"{weights}: does not fit the model's configuration:")
        model = VSpSR(**config | {"options": options}).float()
    except ValueError as error:
        raise ModelError(f"{refused} ({error})") from error
    load(model, state, weights)
    return model


def _locate(name: str) -> Path:
    """The folder that holds a model's files."""
    if config := model_file(name, _CONFIG):
        return config.parent
    if kind_of(name) == "folder":
        raise ModelError(f"{name}: the folder has no {_CONFIG}: it was not written by `save_pretrained`")
    parts = name.split("/")
    if len(parts) == 2 and all(parts) and not name.startswith((".", "~")):
        return _download(name)
    raise ModelError(
        f"unknown model {one_line(name)[:100]!r}: give one of {', '.join(shipped_models())}, a folder, or a Hub id "
        "(user/repository)"
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[_CONFIG, _WEIGHTS]))
    except Exception as error:  # network, authorisation and repository errors have no common base
        raise ModelError(
            f"unknown model {hub_id[:100]!r}: no such folder, and the Hub cannot give it ({one_line(error)[:200]})"
        ) from error
