"""Recipes: what a run trains, on what, with which losses, for how long, as types that files are checked against."""

import inspect
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator

from vspsr.errors import VSpSRError, did_you_mean
from vspsr.files import one_line
from vspsr.model import NETWORKS
from vspsr.training.losses.options import (
    Count,
    Losses,
    NotNegative,
    Number,
    Part,
    Positive,
    WholeNumber,
    WithoutNulls,
)

__all__ = ["Phase", "Recipe", "RecipeError"]


class RecipeError(VSpSRError):
    """A recipe that cannot be read, or has a key or value that it must not have."""


class Model(Part):
    """Arguments of `vspsr.VSpSR`."""

    network: Literal["overlapping", "vspm"] = "overlapping"
    options: dict[str, Any] = Field(default_factory=dict)
    kernel: str = "bicubic"
    temperature: NotNegative = 1.0

    @model_validator(mode="after")
    def _options_fit(self) -> "Model":
        """By the constructor itself, on the meta device: nothing is allocated."""
        constructor = NETWORKS[self.network]
        known = inspect.signature(constructor).parameters
        for name in self.options:
            if name not in known:
                raise ValueError(
                    f"unknown key `options.{name}` of the network {self.network!r}: {did_you_mean(name, known)}"
                )
        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights of size 0
                constructor(**self.options)
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"`options` of the network {self.network!r}: {one_line(error)[:300]}") from error
        return self


class Deterministic(Part):
    """A pretrained SR network as the deterministic part: a checkpoint that spandrel reads."""

    checkpoint: Path
    trainable: bool = False


class Data(Part):
    """Where the images lie: see `vspsr.data.files`."""

    folder: Path | None = None
    lr_folder: Path | None = None
    val_folder: Path | None = None
    holdout: WholeNumber = 20
    memory_gb: NotNegative = 8.0
    workers: Annotated[int, Number, Field(ge=0, le=1024)] | Literal["auto"] = "auto"
    augment: bool = True
    shrink: Annotated[float, Number, Field(ge=1, le=1000)] = 1.0
    rotate: bool = False
    colour: NotNegative = 0.0
    sharpen: NotNegative = 0.0


Decay = Annotated[float, Number, Field(ge=0, lt=1)]
"""Of a moving average."""


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
    every_epochs: Positive | None = None
    every: Count | None = None
    factor: Positive = 0.1


class Features(Part):
    """A frozen feature network: see `vspsr.training.features`."""

    network: str = "squeezenet1_1"
    weights: str | None = None
    layers: tuple[str, ...] | None = None
    layer_weights: tuple[NotNegative, ...] | None = None


class Phase(Part):
    """A part of the run. Its length is given in one of three ways; what it leaves out is as in the whole recipe."""

    name: str
    losses: Losses
    steps: Count | None = None
    epochs: Positive | None = None
    share: Annotated[float, Number, Field(gt=0, le=1)] | None = None
    batch: Count | None = None
    crop: Count | None = None
    optimiser: Optimiser | None = None
    schedule: LearningRate | None = None

    @model_validator(mode="after")
    def _one_length(self) -> "Phase":
        if sum(v is not None for v in (self.steps, self.epochs, self.share)) != 1:
            raise ValueError("give exactly one of `steps`, `epochs` and `share` (of the recipe's `steps`)")
        return self


class Spread(Part):
    """At the start of a run copies of the ``strongest`` atoms replace the others, moved by up to ``shift`` pixels and
    turned by up to ``turn`` degrees, flipped or not; ``tied``: they stay copies throughout the run."""

    strongest: Count
    shift: NotNegative
    turn: NotNegative = 0.0
    flip: bool = False
    tied: bool = False


class Validation(Part):
    """Full validation images, every ``every`` steps, with the averaged weights; `best.pt` is best by ``monitor``."""

    every: Count = 500
    images: WholeNumber = 16
    monitor: Literal["energy", "energy_pixels", "psnr_mean", "psnr_sample"] = "energy"


class Checkpoints(Part):
    """How often to save, and how many to keep beside the best."""

    minutes: NotNegative = 5.0
    keep: Count = 3


class Recipe(Part):
    """A whole run."""

    name: str
    description: str = ""
    seed: Annotated[int, Number, Field(ge=0, lt=2**63)] = 0
    model: Model
    deterministic: Deterministic | None = None
    initial: Path | None = None
    spread: Spread | None = None
    frozen: tuple[str, ...] = ()
    data: Data = Data()
    steps: Count | None = None
    batch: Count = 8
    crop: Count
    projection: bool = True
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    ema: Decay = 0.999
    optimiser: Optimiser = Optimiser()
    schedule: LearningRate = LearningRate()
    features: Annotated[dict[str, Features], WithoutNulls] = Field(default_factory=dict)
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    validation: Validation = Validation()
    checkpoints: Checkpoints = Checkpoints()
    log_every: Count = 50

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.spread is not None and self.initial is None:
            raise ValueError("`spread` needs `initial`: before training no atom is stronger than another")
        if self.frozen and self.initial is None:
            raise ValueError("`frozen` needs `initial`: there is nothing to keep before training")
        if self.spread is not None and self.model.network != "overlapping":
            raise ValueError(f"`spread` is for the network `overlapping`, not {self.model.network!r}")
        if self.steps is None and any(p.share is not None for p in self.phases):
            raise ValueError("a phase has a `share`, so the recipe must have `steps`")
        for phase in self.phases:
            self._patches_fit(phase)
            for name in phase.losses.features():
                if name not in self.features:
                    raise ValueError(f"`features` has no entry {name!r}: {did_you_mean(name, self.features)}")
        return self

    def _patches_fit(self, phase: "Phase") -> None:
        """Wherever their grid begins, a crop's coarsest band must hold a patch."""
        patches = phase.losses.energy_pixels
        side = (phase.crop or self.crop) * int(self.model.options.get("scale", 4))
        for name in ("dct_crps", "log_power_crps"):
            blocks = getattr(phase.losses, name)
            if blocks is not None and side < 2 * blocks.block - 1:
                raise ValueError(
                    f"`{name}`: blocks of {blocks.block} need {2 * blocks.block - 1} pixels, but a crop of "
                    f"phase {phase.name!r} has {side}: take smaller blocks or larger crops"
                )
        if patches is not None and (coarsest := side // 2 ** ((patches.bands or 1) - 1)) < 2 * patches.patch - 1:
            raise ValueError(
                f"`energy_pixels`: patches of {patches.patch} need {2 * patches.patch - 1} pixels in the coarsest band,"
                f" but of a crop {coarsest} are left: take a larger `crop`, a smaller `patch` or fewer `bands`"
            )
