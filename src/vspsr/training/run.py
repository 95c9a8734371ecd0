"""A run from recipe to finished folder.

recipe.yaml             the recipe as it was run, changes of the command line included
checkpoints/*.pt        the last ones: tensors and plain containers, read with weights_only
metrics.csv             figures by step
pictures/step-*.png     a validation image: bicubic, mean, two samples, HR
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from vspsr.data.crops import Crops
from vspsr.data.files import ImagePair, find_images
from vspsr.data.photographs import Photographs, read_rgb
from vspsr.errors import ImageFileError, VSpSRError
from vspsr.files import one_line
from vspsr.images.io import write_image
from vspsr.images.picture import Picture
from vspsr.model import VSpSR
from vspsr.training import checkpoint
from vspsr.training.build import build_model
from vspsr.training.engine import Engine
from vspsr.training.metrics_table import MetricsTable
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.recipe_file import plain, write_recipe
from vspsr.training.signals import noted_signals
from vspsr.training.validation import validate_image


@dataclass(frozen=True)
class RunOptions:
    """How and where to run a recipe.

    Attributes:
        output: folder of the run.
        resume: go on with the run that the folder holds.
        max_time: seconds of training in which to come to the end of the schedule, or None.
        accelerator, devices, nodes: as Lightning's Fabric takes them; "auto" is one process on a CPU, all GPUs else.
        report: is given lines for people.
        progress: is given the share of the schedule done, and what to say beside it.
        after_step: is called after each step with the engine; for tests and profiles.
    """

    output: Path
    resume: bool = False
    max_time: float | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    report: Callable[[str], None] = print
    progress: Callable[[float, str], None] = lambda _share, _text: None
    after_step: Callable[[Engine], None] = lambda _engine: None


def train(recipe: Recipe, options: RunOptions) -> tuple[Engine, int | None]:
    """Train by a recipe, to its end, a signal or an error; the newest state is saved in each case.

    Returns:
        The engine as it was after the last step, and the signal that stopped the run, if one did.

    Raises:
        RecipeError: the recipe has no data folder, or differs from the one being resumed.
        VSpSRError: data or weights that cannot be read, a folder that holds another run, a gradient that stays not
            finite.
    """
    if recipe.data.folder is None:
        raise RecipeError("`data.folder`: say where the training images lie (--data DIR)")
    found = checkpoint.latest(options.output)
    if found is not None and not options.resume:
        raise VSpSRError(f"{options.output}: holds a run already: --resume goes on with it, or give another folder")
    with noted_signals() as signals:
        fabric = _fabric(options)
        run = _Run(recipe, options, fabric, found)
        try:
            run.to_the_end(signals)
        finally:
            run.save()
    return run.engine, signals[0] if signals else None


class _Run:
    """A run under way: the engine, and what happens around its steps."""

    def __init__(self, recipe: Recipe, options: RunOptions, fabric: Fabric, found: Path | None) -> None:
        self.recipe, self.options, self.fabric = recipe, options, fabric
        self.report = options.report if fabric.is_global_zero else lambda _: None
        torch.manual_seed(recipe.seed)
        model = build_model(recipe)
        data, crop = recipe.data, max(p.crop or recipe.crop for p in recipe.phases)
        assert data.folder is not None
        images = find_images(data.folder, model.scale, crop, data.lr_folder, data.holdout)
        for problem in images.problems:
            self.report(problem)
        paired = "LR and HR files" if images.train[0].lr else "LR made on the fly"
        self.report(f"{len(images.train)} training images, {len(images.val)} validation images, {paired}")
        pairs, crops = load_crops(recipe, images.train, model, fabric.device, self.report)
        self.images, self.val = checkpoint.digest(pairs), images.val[: recipe.validation.images]
        self.engine = Engine(recipe, model, crops, fabric, options.max_time)
        if found is not None:
            state = checkpoint.read_checkpoint(found)
            checkpoint.check_same_recipe(recipe, state["recipe"], found)
            checkpoint.check_same_images(self.images, len(pairs), state, options.output)
            self.engine.restore(state, str(found))
            self.report(f"resuming at step {self.engine.step} from {found}")
        if fabric.is_global_zero:
            write_recipe(options.output / "recipe.yaml", recipe)
        self.table = MetricsTable(options.output / "metrics.csv", self.engine.step)
        self.saved_at, self.saved_step = time.monotonic(), self.engine.step if found else -1

    def to_the_end(self, signals: list[int]) -> None:
        """Step by step until the schedule is at its end or a signal comes."""
        engine, recipe = self.engine, self.recipe
        while not engine.done:
            stage = engine.schedule.stage(engine.position)
            engine.train_step()
            self.options.after_step(engine)
            ends = engine.done or engine.schedule.stage(engine.position) is not stage
            if ends or engine.step % recipe.log_every == 0:
                self._log(stage.phase.name)
            if self.val and (engine.done or engine.step % recipe.validation.every == 0):
                self._validate()
            if self._agreed(time.monotonic() - self.saved_at >= 60 * recipe.checkpoints.minutes):
                self.save()
            if self._agreed(bool(signals)):
                return

    def save(self) -> None:
        """Write a checkpoint, unless this step has one or is not whole: a run would not go on from it exactly."""
        engine = self.engine
        if not self.fabric.is_global_zero or engine.step == self.saved_step or not engine.whole:
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

    def _agreed(self, mine: bool) -> bool:
        """What the first process says, so that all do the same."""
        return mine if self.fabric.world_size == 1 else bool(self.fabric.broadcast(mine))

    def _log(self, phase: str) -> None:
        engine = self.engine
        figures = {f"train/{k}": v for k, v in engine.log().items()}
        figures |= {"rate": engine.schedule.rate(engine.position), "seconds": engine.seconds}
        if self.fabric.is_global_zero:
            self.table.add(engine.step, figures)
        text = " ".join(f"{k.removeprefix('train/')} {v:.4g}" for k, v in figures.items() if k.startswith("train/"))
        share = min(1.0, engine.position / engine.schedule.steps)
        speed = engine.schedule.stage(engine.position).batch * engine.step / engine.seconds
        self.options.progress(share, f"{phase}  {speed:.1f} crops/s  {text}")

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
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, Picture((torch.cat(pictures, -1) * 255).round().int()), overwrite=True)


def load_crops(
    recipe: Recipe, pairs: Sequence[ImagePair], model: VSpSR, device: torch.device, report: Callable[[str], None]
) -> tuple[list[ImagePair], Crops]:
    """The crops of a recipe, all images decoded and on the device; those that cannot be decoded are left out.

    Raises:
        VSpSRError: the images need more memory than `data.memory_gb`; not one can be decoded.
    """
    needed = sum(3 * p.size[0] * p.size[1] for p in pairs)
    if needed > recipe.data.memory_gb * 1e9:
        raise VSpSRError(
            f"`data.memory_gb` {recipe.data.memory_gb:g}: {len(pairs)} images take {needed / 1e9:.1f} GB decoded: "
            "give more, or fewer images"
        )
    kept: list[ImagePair] = []
    images: list[list[Tensor]] = []
    for pair in pairs:
        try:
            images.append([read_rgb(path) for path in (pair.hr, pair.lr) if path is not None])
            kept.append(pair)
        except ImageFileError as error:
            report(f"{error}: left out")
    if not kept:
        raise VSpSRError(f"{recipe.data.folder}: not one of the training images can be decoded")
    columns = [Photographs(column, device) for column in zip(*images, strict=True)]
    lr = columns[1] if len(columns) > 1 else None
    return kept, Crops(columns[0], model.degradation, recipe.seed, lr, **recipe.data.changes)


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
