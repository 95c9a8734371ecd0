"""A pretrained SR network as the deterministic part: any that spandrel knows. Nothing is unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vspsr.errors import ModelError
from vspsr.nn.spandrel_networks import from_state
from vspsr.state_dicts import read_state

__all__ = ["PretrainedSR", "load_pretrained", "pretrained_from_state"]


class PretrainedSR(nn.Module):
    """A network of spandrel's, always in evaluation mode, frozen or not.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`.
        trainable: whether its weights take part in training.

    Shapes: (B, 3, h, w) in [0, 1] → (B, 3, s·h, s·w), in [0, 1] unless gradients are wanted.
    """

    def __init__(self, descriptor: Any, trainable: bool = False) -> None:
        super().__init__()
        self.descriptor, self.module = descriptor, descriptor.model
        self.architecture, self.scale = str(descriptor.architecture.name), int(descriptor.scale)
        self.trainable = trainable
        self.module.requires_grad_(trainable)
        self.module.eval()

    def train(self, mode: bool = True) -> "PretrainedSR":
        """Stays in evaluation mode: no batch statistics are learned anew."""
        return super().train(False)

    def forward(self, y: Tensor) -> Tensor:
        """See the class."""
        # A copy goes in, because some networks scale their input in place.
        if self.trainable and torch.is_grad_enabled():
            h, w = y.shape[-2:]
            right, below = self.descriptor.size_requirements.get_padding(w, h)
            padded = F.pad(y, (0, right, 0, below), mode="replicate") if right or below else y.clone()
            return self.module(padded)[..., : self.scale * h, : self.scale * w]  # type: ignore[no-any-return]
        out: Tensor = self.descriptor(y.clone())
        return out.clone()  # tensors made in inference mode, as spandrel does, are of no use in training

    def check_trainable(self) -> None:
        """ModelError where the bare network is not what spandrel evaluates, so that it cannot be fine-tuned."""
        y = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            bare = self.module(y.clone())
        if not isinstance(bare, Tensor) or not torch.allclose(bare.clamp(0, 1), self.descriptor(y.clone()), atol=1e-4):
            raise ModelError(f"`deterministic.trainable`: {self.architecture} can only be used frozen")


def load_pretrained(path: Path, scale: int, trainable: bool = False) -> PretrainedSR:
    """The SR network of a checkpoint: a state dict as safetensors or as PyTorch's .pth (read with `weights_only`).

    Raises:
        ModelError: a file that is damaged or holds other objects, an architecture that spandrel does not know, a
            network that is not from RGB to RGB at this scale; spandrel is not installed.
    """
    module = pretrained_from_state(read_state(path), str(path), trainable)
    if module.scale != scale:
        raise ModelError(f"{path}: upscales by {module.scale}, the model by {scale}")
    if trainable:
        module.check_trainable()
    # What is saved with our model must be recognised again.
    pretrained_from_state(module.module.state_dict(), f"{path}, saved anew,")
    return module


def pretrained_from_state(state: Mapping[str, Tensor], name: str, trainable: bool = False) -> PretrainedSR:
    """The network that a state dict belongs to, told by its keys and shapes. Raises as `load_pretrained`."""
    return PretrainedSR(from_state(state, name).descriptor, trainable)
