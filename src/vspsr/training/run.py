"""A run from recipe to finished folder.

recipe.yaml             the recipe as it was run, changes of the command line included
checkpoints/*.pt        the last ones: tensors and plain containers, read with weights_only
metrics.csv             figures by step
pictures/step-*.png     a validation image: bicubic, mean, two samples, HR
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from vspsr.data.crops import Crops
from vspsr.data.files import find_images
from vspsr.data.photographs import decode_pairs
from vspsr.errors import ImageFileError, OutputError, VSpSRError
from vspsr.files import kind_of, lies_within, make_folder, one_line, read_bytes, write_bytes
from vspsr.images.io import write_image
from vspsr.images.picture import Picture
from vspsr.training import checkpoint
from vspsr.training.build import build_model
from vspsr.training.engine import Engine
from vspsr.training.metrics_table import MetricsTable
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.recipe_file import plain, to_yaml
from vspsr.training.schedule import ScheduledPhase
from vspsr.training.signals import noted_signals
from vspsr.training.validation import validate_image

_FOLDERS = "checkpoints", "pictures"


class NotFiniteError(VSpSRError):
    """Training stopped because the gradient was not finite too many times."""


@dataclass(frozen=True)
class RunOptions:
    """How and where to run a recipe.

    Attributes:
        output: folder of the run.
        resume: go on with the run that the folder holds.
        max_time: seconds of training in which to come to the end of the schedule, or None.
        accelerator, devices, nodes: as Lightning's Fabric takes them; "auto" is one process on a CPU, all GPUs else.
        report: is given lines for people.
        progress: is called after each step, with the engine and the figures that were logged, if any.
    """

    output: Path
    resume: bool = False
    max_time: float | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    report: Callable[[str], None] = print
    progress: Callable[[Engine, Mapping[str, float]], None] = lambda _engine, _figures: None


def train(recipe: Recipe, options: RunOptions) -> tuple[Engine, int | None]:
    """Train by a recipe, to its end, a signal or an error; the newest state is saved in each case, unless it is spoilt.

    Returns:
        The engine as it was after the last step, and the signal that stopped the run, if one did.

    Raises:
        RecipeError: the recipe has no data folder, or differs from the one being resumed.
        OutputError: a folder among the training images, or that holds another run or files of other origin.
        VSpSRError: data or weights that cannot be read; NotFiniteError: a gradient that stays not finite.
    """
    if recipe.data.folder is None:
        raise RecipeError("`data.folder`: say where the training images lie (--data DIR)")
    found = _run_in(options, recipe)
    with noted_signals() as signals:
        fabric = _fabric(options)
        run = _Run(recipe, options, fabric, found)
        try:
            run.to_the_end(signals)
        finally:
            run.save()
            if fabric.is_global_zero and run.saved_step < 0:  # there is nothing to go on from
                (options.output / "recipe.yaml").unlink(missing_ok=True)
    return run.engine, signals[0] if signals else None


def _run_in(options: RunOptions, recipe: Recipe) -> Path | None:
    """The newest checkpoint of the folder; OutputError where a run must not write there.

    In a folder without checkpoints a run that was killed early may have left files: they are replaced if its
    recipe.yaml is the one that this run writes.
    """
    folder, found = options.output, checkpoint.latest(options.output)
    for images in filter(None, (recipe.data.folder, recipe.data.lr_folder)):
        if any(lies_within(folder / part, images) for part in _FOLDERS):
            raise OutputError(f"{folder}: would lie among the training images in {images}: give a folder elsewhere")
    if found is not None and not options.resume:
        raise OutputError(f"{folder}: holds a run already: --resume goes on with it, or give another folder")
    written = folder / "recipe.yaml"
    if found is None and (kind_of(written) != "file" or read_bytes(written) != to_yaml(recipe)):
        for path in (written, folder / "metrics.csv", *folder.glob("pictures/step-*.png")):
            if path.exists() or path.is_symlink():
                raise OutputError(f"{path}: belongs to no run of this recipe: move it away, or give another folder")
    return found


class _Run:
    """A run under way: the engine, and what happens around its steps."""

    def __init__(self, recipe: Recipe, options: RunOptions, fabric: Fabric, found: Path | None) -> None:
        self.recipe, self.options, self.fabric = recipe, options, fabric
        self.report = options.report if fabric.is_global_zero else lambda _: None
        self.progress = options.progress if fabric.is_global_zero else lambda _engine, _figures: None
        torch.manual_seed(recipe.seed)
        model = build_model(recipe)
        data, crop = recipe.data, max(p.crop or recipe.crop for p in recipe.phases)
        assert data.folder is not None
        images = find_images(data.folder, model.scale, crop, data.lr_folder, data.holdout)
        for problem in images.problems:
            self.report(problem)
        paired = "LR and HR files" if images.train[0].lr else "LR made on the fly"
        self.report(f"{len(images.train)} training images, {len(images.val)} validation images, {paired}")
        pairs, hr, lr = decode_pairs(images.train, data.memory_gb, fabric.device, self.report)
        crops = Crops(hr, model.degradation, recipe.seed, lr, **data.changes)
        self.images, self.val = checkpoint.digest(pairs), images.val[: recipe.validation.images]
        self.engine = Engine(recipe, model, crops, fabric, options.max_time)
        length = "" if options.max_time is None else f"{options.max_time / 60:g} minutes of training, at most "
        self.report(f"{length}{self.engine.schedule.steps} steps")
        if found is not None:
            state = checkpoint.read_checkpoint(found)
            checkpoint.check_same_recipe(recipe, state["recipe"], found)
            checkpoint.check_same_images(self.images, len(pairs), state, options.output)
            self.engine.restore(state, str(found))
            self.report(f"resuming at step {self.engine.step} from {found}")
            if self.engine.done:
                self.report(f"it is at its end: a run in another folder goes on with --set initial={options.output}")
        if fabric.is_global_zero:
            for part in _FOLDERS:
                make_folder(options.output / part)
            write_bytes(options.output / "recipe.yaml", to_yaml(recipe), overwrite=True)
        self.table = MetricsTable(options.output / "metrics.csv", self.engine.step)
        self.saved_at, self.saved_step = time.monotonic(), self.engine.step if found else -1

    def to_the_end(self, signals: list[int]) -> None:
        """Step by step until the schedule is at its end or a signal comes."""
        engine, recipe = self.engine, self.recipe
        while not engine.done:
            stage = engine.schedule.stage(engine.position)
            engine.train_step()
            ends = engine.done or engine.schedule.stage(engine.position) is not stage
            self.progress(engine, self._log(stage) if ends or engine.step % recipe.log_every == 0 else {})
            if self.val and (engine.done or engine.step % recipe.validation.every == 0):
                self._validate()
            # The first process decides, so that all do the same. A step that failed may be the first of a spoilt run.
            due = time.monotonic() - self.saved_at >= 60 * recipe.checkpoints.minutes
            if self.fabric.broadcast(due and bool(engine.finite)):
                self.save()
            if self.fabric.broadcast(bool(signals)):
                return

    def save(self) -> None:
        """Write a checkpoint, unless this step has one, or a run could not go on from it: not whole, or spoilt."""
        engine = self.engine
        if not self.fabric.is_global_zero or engine.step == self.saved_step or not engine.whole or engine.spoilt:
            return
        content = {
            **engine.state(),
            "recipe": plain(self.recipe),
            "model": engine.average.config,
            "n_images": len(engine.crops.photographs),
            "images": self.images,
        }
        folder = self.options.output / "checkpoints"
        checkpoint.write_checkpoint(folder / f"step-{engine.step:08d}.pt", content)
        checkpoint.prune(folder, self.recipe.checkpoints.keep)
        self.saved_at, self.saved_step = time.monotonic(), engine.step

    def _log(self, stage: ScheduledPhase) -> dict[str, float]:
        engine = self.engine
        if engine.spoilt:
            found = checkpoint.latest(self.options.output)
            start = "from scratch" if found is None else f"from scratch or with `--set initial={found}`"
            part = f"phases.{engine.schedule.stages.index(stage)}." if stage.phase.optimiser else ""
            precision = "" if engine.dtype == torch.float32 else " or in precision fp32"
            raise NotFiniteError(
                f"step {engine.step}: the gradient was not finite in {int(engine.failed)} of the last steps: train "
                f"in another folder, {start}, with a lower `{part}optimiser.rate`{precision}"
            )
        figures = {f"train/{k}": v for k, v in engine.log().items()}
        figures |= {"rate": engine.schedule.rate(engine.position), "seconds": engine.seconds}
        if self.fabric.is_global_zero:
            self.table.add(engine.step, figures)
        return figures

    def _validate(self) -> None:
        """Validation images, on the first process; their figures are averaged in float64."""
        engine = self.engine
        found: list[tuple[dict[str, float], list[Tensor]]] = []
        for pair in self.val if self.fabric.is_global_zero else ():
            try:
                found.append(validate_image(pair, engine.average, engine.device))
            except ImageFileError as error:
                self.report(f"{error}: not validated on")
        if not found:
            return
        first, pictures = found[0]
        means = {f"val/{name}": sum(figures[name] for figures, _ in found) / len(found) for name in first}
        self.table.add(engine.step, means)
        path = self.options.output / "pictures" / f"step-{engine.step:08d}.png"
        make_folder(path.parent)
        write_image(path, Picture((torch.cat(pictures, -1) * 255).round().int()), overwrite=True)


def _fabric(options: RunOptions) -> Fabric:
    """Fabric for what was asked for, launched. VSpSRError where that cannot be had here."""
    gpus = torch.cuda.is_available() and options.accelerator in ("auto", "gpu", "cuda")
    devices = options.devices if options.devices != "auto" or gpus else 1
    if gpus:
        torch.set_float32_matmul_precision("high")  # as convolutions already do it
    try:
        fabric = Fabric(accelerator=options.accelerator, devices=devices, num_nodes=options.nodes)
    except Exception as error:  # Fabric has no common base for what it refuses
        asked = f"`--accelerator` {options.accelerator}, `--devices` {options.devices}"
        raise VSpSRError(f"{asked}: cannot be had here ({one_line(error)[:200]})") from error
    fabric.launch()
    return fabric
