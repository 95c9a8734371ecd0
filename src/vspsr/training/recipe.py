"""Recipes: what a run trains, on what, with which losses, for how long, as types that files are checked against."""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, ValidationInfo, model_validator

from vspsr.data.crops import Jpegs
from vspsr.errors import VSpSRError, did_you_mean
from vspsr.files import one_line
from vspsr.nn.networks import build_network
from vspsr.training.losses import CheckedLosses, Loss
from vspsr.training.losses.base import Count, FeatureLoss, NoNulls, NotNegative, Number, Part, Positive, WholeNumber


class RecipeError(VSpSRError):
    """A recipe that cannot be read, or has a key or value that it must not have."""


class Model(Part):
    """Arguments of `vspsr.VSpSR`."""

    network: Literal["correlated", "overlapping", "vspm"] = "correlated"
    options: dict[str, Any] = Field(default_factory=dict)
    kernel: str = "bicubic"
    temperature: NotNegative = 1.0
    calibration: NotNegative = 1.0

    @model_validator(mode="after")
    def _options_fit(self) -> "Model":
        """By the constructor itself, on the meta device: nothing is allocated."""
        try:
            with torch.device("meta"):
                build_network(self.network, self.options)
        except (TypeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"`options` of the network {self.network!r}: {one_line(error)[:300]}") from error
        return self


class Deterministic(Part):
    """A pretrained SR network as the deterministic part: a checkpoint that spandrel reads."""

    checkpoint: Path
    trainable: bool = False


class Jpeg(Part):
    """A ``share`` of the LR crops are JPEGs of these qualities (uniform) and kinds of subsampling (equally often)."""

    share: Annotated[float, Number, Field(ge=0, le=1)] = 0.5
    quality: tuple[Annotated[int, Number, Field(ge=1, le=100)], Annotated[int, Number, Field(ge=1, le=100)]] = (50, 97)
    subsampling: tuple[Literal[420, 444], ...] = (420, 444)


class Data(Part):
    """Where the images lie (see `vspsr.data.files`), and how crops are changed (see `vspsr.data.crops`)."""

    folder: Path | None = None
    lr_folder: Path | None = None
    holdout: WholeNumber = 20
    memory_gb: NotNegative = 8.0
    turn: bool = True
    shrink: Annotated[float, Number, Field(ge=1)] = 1.0
    colour: NotNegative = 0.0
    sharpen: NotNegative = 0.0
    jpeg: Jpeg | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """How crops are changed: arguments of `Crops`."""
        changes = self.model_dump(include={"turn", "shrink", "colour", "sharpen"})
        return changes | {"jpegs": self.jpeg and Jpegs(**dict(self.jpeg))}


Decay = Annotated[float, Number, Field(ge=0, lt=1)]  # of a moving average


class Optimiser(Part):
    """Adam (Kingma & Ba 2015) with L2 weight decay; ``clip`` is the largest norm of the gradient, 0 for none."""

    rate: Positive = 5e-4
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 0.5


class LearningRate(Part):
    """Learning rate over the steps: linear warm-up, then cosine to ``floor``·rate, steps of ``factor``, or constant."""

    kind: Literal["cosine", "step", "constant"] = "cosine"
    warmup: WholeNumber = 0
    floor: NotNegative = 0.02
    every_epochs: Positive = 100
    factor: Positive = 0.1


class Features(Part):
    """A frozen feature network: see `vspsr.training.features`."""

    network: str = "squeezenet1_1"
    weights: str | None = None
    layers: tuple[str, ...] | None = None
    layer_weights: tuple[Positive, ...] | None = None


class Phase(Part):
    """A part of the run. Its length is given in one of three ways; what it leaves out is as in the whole recipe."""

    name: str
    losses: CheckedLosses
    steps: Count | None = None
    epochs: Positive | None = None
    share: Annotated[float, Number, Field(gt=0, le=1)] | None = None
    batch: Count | None = None
    crop: Count | None = None
    optimiser: Optimiser | None = None
    schedule: LearningRate | None = None

    @model_validator(mode="after")
    def _one_length(self) -> "Phase":
        if not self.losses:
            raise ValueError("`losses` must have at least one")
        if sum(v is not None for v in (self.steps, self.epochs, self.share)) != 1:
            raise ValueError("give exactly one of `steps`, `epochs` and `share` (of the recipe's `steps`)")
        return self

    def terms(self) -> list[tuple[str, Loss]]:
        """The losses with a name each; several of one kind are numbered."""
        kinds = cast(dict[str, tuple[Loss, ...]], self.losses)
        return [
            (name if len(losses) == 1 else f"{name}_{i}", loss)
            for name, losses in kinds.items()
            for i, loss in enumerate(losses)
        ]


class Validation(Part):
    """Full validation images, every ``every`` steps and at the end, with the averaged weights."""

    every: Count = 500
    images: WholeNumber = 16


class Checkpoints(Part):
    """How often to save, and how many to keep."""

    minutes: NotNegative = 5.0
    keep: Count = 2


class Recipe(Part):
    """A whole run.

    ``batch`` is that of all processes together; each takes its part in pieces of at most ``micro_batch`` crops (by
    default all at once on a GPU, 8 on a CPU) and adds up their gradients.
    """

    name: str
    description: str = ""
    seed: Annotated[int, Number, Field(ge=0, lt=2**63)] = 0
    model: Model
    deterministic: Deterministic | None = None
    initial: Path | None = None
    data: Data = Data()
    steps: Count | None = None
    batch: Count = 48
    micro_batch: Count | None = None
    crop: Count = 48
    projection: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    ema: Decay = 0.999
    optimiser: Optimiser = Optimiser()
    schedule: LearningRate = LearningRate()
    features: Annotated[dict[str, Features], NoNulls] = Field(default_factory=dict)
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    validation: Validation = Validation()
    checkpoints: Checkpoints = Checkpoints()
    log_every: Count = 50

    @property
    def adversarial(self) -> bool:
        """Whether a phase has a discriminator."""
        return any("adversarial" in phase.losses for phase in self.phases)

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> "Recipe":
        if self.steps is None and any(p.share is not None for p in self.phases):
            raise ValueError("a phase has a `share`, so the recipe must have `steps`")
        if self.steps is not None and all(p.share is None for p in self.phases) and not info.context:
            own = ", ".join(f"`phases.{i}.{'steps' if p.steps else 'epochs'}`" for i, p in enumerate(self.phases))
            raise ValueError(f"`steps` {self.steps} has no effect: no phase has a `share`. Leave it out and set {own}")
        if self.data.jpeg is not None and (self.data.lr_folder or any((p.crop or self.crop) % 16 for p in self.phases)):
            raise ValueError("`data.jpeg` needs crops of a multiple of 16 LR pixels, and LR images made on the fly")
        for phase in self.phases:
            for _, loss in phase.terms():
                if isinstance(loss, FeatureLoss) and (used := loss.features) not in self.features:
                    hint = did_you_mean(used, self.features)
                    raise ValueError(f"`features` has no entry {used!r} (e.g. `{used}: {{network: vgg19}}`): {hint}")
        return self
