"""A run from recipe to finished folder: data, model, Lightning's trainer, callbacks.

The folder of a run:

    recipe.yaml             the recipe as it was run, changes of the command line included
    checkpoints/*.pt        the last ones and best.pt: tensors and plain containers, read with weights_only
    metrics.csv             figures by step;  tensorboard/  the same for TensorBoard
    pictures/step-*.png     a validation image: bicubic, mean, two samples, HR
"""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

from vspsr.data.crops import CropDataset
from vspsr.data.files import ImageSet, find_images
from vspsr.errors import ModelError, VSpSRError
from vspsr.files import one_line
from vspsr.model import VSpSR
from vspsr.nn.overlapping import OverlappingVSpM
from vspsr.training.build import build_model
from vspsr.training.callbacks import Checkpoints, Progress, Validation
from vspsr.training.checkpoint import (
    check_same_images,
    check_same_recipe,
    clear_leftovers,
    digest,
    latest,
    read_checkpoint,
)
from vspsr.training.metrics_table import MetricsTable
from vspsr.training.module import SpaceTraining
from vspsr.training.recipe import Recipe, RecipeError, Spread
from vspsr.training.recipe_file import write_recipe
from vspsr.training.signals import Interrupt
from vspsr.training.spread import Copies, atom_energies, found_copies, spread_atoms

__all__ = ["RunOptions", "train"]


@dataclass(frozen=True)
class RunOptions:
    """How and where to run a recipe; what the recipe's results do not depend on (but for the batch of all devices)."""

    output: Path
    resume: bool = False
    max_time: str | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    report: Callable[[str], None] = print
    progress: bool = True
    callbacks: tuple[lightning.Callback, ...] = ()


def train(recipe: Recipe, options: RunOptions) -> SpaceTraining:
    """Train by a recipe, to its end, to the time limit, a signal or an error; the newest state is saved in each case.

    `SpaceTraining.received` is the signal that came, Ctrl-C's or SIGTERM.

    Raises:
        RecipeError: the recipe has no data folder, or differs from the one being resumed.
        VSpSRError: data or weights that cannot be read, a folder that holds another run, a gradient that stays not
            finite.
    """
    if recipe.data.folder is None:
        raise RecipeError("`data.folder`: say where the training images lie (--data DIR)")
    found = latest(options.output)
    if found is not None and not options.resume:
        raise VSpSRError(f"{options.output}: holds a run already: --resume goes on with it, or give another folder")
    torch.manual_seed(recipe.seed)
    model = build_model(recipe)
    data, crop = recipe.data, max([recipe.crop, *(p.crop or 0 for p in recipe.phases)])
    images = find_images(recipe.data.folder, model.scale, crop, data.lr_folder, data.val_folder, data.holdout)
    rank_zero = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    log = options.report if rank_zero else _silent
    _introduce(images, log)
    crops = _crops(recipe, images, model)
    copies = None
    if recipe.spread is not None and found is None:
        copies = _spread(recipe, recipe.spread, model, crops, log)
    module = SpaceTraining(recipe, model, crops, _workers(recipe, options.accelerator), copies)
    best: float | None = None
    if found is not None:
        state = read_checkpoint(found)
        check_same_recipe(recipe, state["recipe"], found)
        check_same_images(images.train, state, options.output)
        try:
            module.restore(state)
        except RuntimeError as error:
            raise ModelError(f"{found}: does not fit the recipe ({one_line(error)[:200]})") from error
        best = state["best"]
        log(f"resuming at step {module.step} of {module.schedule.steps} from {found}")
    if rank_zero:
        clear_leftovers(options.output)
        write_recipe(options.output / "recipe.yaml", recipe)
    interrupt = Interrupt()
    try:
        trainer = _trainer(recipe, options, module, images, best, interrupt)
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        asked = f"`--accelerator` {options.accelerator}, `--devices` {options.devices}"
        raise VSpSRError(f"{asked}: cannot be had here ({one_line(error)[:200]})") from error
    with interrupt:
        trainer.fit(module)
    module.received = interrupt.received
    return module


def _silent(_: str) -> None:
    pass


def _introduce(images: ImageSet, log: Callable[[str], None]) -> None:
    for problem in images.problems[:5]:
        log(problem)
    if len(images.problems) > 5:
        log(f"… and {len(images.problems) - 5} more files left out")
    paired = "LR and HR files" if images.train[0].lr else "LR made on the fly"
    log(f"{len(images.train)} training images, {len(images.val)} validation images, {paired}")


def _crops(recipe: Recipe, images: ImageSet, model: VSpSR) -> CropDataset:
    memory = int(recipe.data.memory_gb * 1e9)
    chances = {name: getattr(recipe.data, name) for name in ("augment", "shrink", "rotate", "colour", "sharpen")}
    return CropDataset(images.train, model.degradation, recipe.seed, memory, **chances)


def _spread(
    recipe: Recipe, spread: Spread, model: VSpSR, crops: CropDataset, log: Callable[[str], None]
) -> Copies | None:
    """Copies of strong atoms in the place of weak ones: which, where they are to stay so."""
    network = model.network
    assert isinstance(network, OverlappingVSpM)
    how = spread.model_dump(exclude={"tied"})
    copies = found_copies(network, **how)
    if copies is not None:
        log(f"the atoms are {spread.strongest} and copies of them already: they are not spread again")
        return copies if spread.tied else None
    energies = atom_energies(network, crops, recipe.crop)
    copies = spread_atoms(network, energies, **how)
    kept = float(energies.topk(spread.strongest).values.sum())
    times = ", ".join(map(str, copies.counts))
    log(f"the {spread.strongest} strongest atoms, {kept:.1%} of the energy, in the place of all: {times} times")
    return copies if spread.tied else None


def _workers(recipe: Recipe, accelerator: str) -> int:
    """Processes that make batches: on a CPU none, since they would take time from the training."""
    if recipe.data.workers != "auto":
        return recipe.data.workers
    return 4 if _on_cuda(accelerator) else 0


def _on_cuda(accelerator: str) -> bool:
    return torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda")


def _on_cpu(accelerator: str) -> bool:
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return accelerator == "cpu" or (accelerator == "auto" and not gpu)


def _trainer(
    recipe: Recipe,
    options: RunOptions,
    module: SpaceTraining,
    images: ImageSet,
    best: float | None,
    interrupt: Interrupt,
) -> lightning.Trainer:
    output = options.output
    callbacks: list[Any] = [
        Validation(images.val[: recipe.validation.images], output / "pictures", best),
        Checkpoints(output / "checkpoints", digest(images.train)),
        interrupt,
    ]
    callbacks += [Progress(options.report)] if options.progress else []
    callbacks += options.callbacks
    _hush()
    cuda = _on_cuda(options.accelerator)
    many = options.nodes > 1 or str(options.devices) not in ("auto", "1")
    many = many or (cuda and options.devices == "auto" and torch.cuda.device_count() > 1)
    # A phase may leave some weights without a gradient, and the discriminator has a turn of its own.
    strategy: Any = DDPStrategy(find_unused_parameters=True) if many else "auto"
    return lightning.Trainer(
        accelerator=options.accelerator,
        devices=_devices(options),
        num_nodes=options.nodes,
        strategy=strategy,
        max_epochs=1,
        max_time=options.max_time,
        logger=[
            MetricsTable(output / "metrics.csv", module.step),
            TensorBoardLogger(str(output), name="tensorboard", version="", purge_step=module.step),
        ],
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        sync_batchnorm=cuda,
        num_sanity_val_steps=0,
        benchmark=cuda,
    )


def _hush() -> None:
    """Lightning's remarks on what is meant to be as it is here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for remark in (
        "does not have many workers",
        "in eval mode at the start",
        "smaller than the logging interval",
        "across ranks is zero",
    ):
        warnings.filterwarnings("ignore", f".*{remark}.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*", module="lightning")


def _devices(options: RunOptions) -> int | str:
    """On a CPU one process unless more are asked for."""
    if options.devices != "auto":
        return options.devices
    return 1 if _on_cpu(options.accelerator) else "auto"
