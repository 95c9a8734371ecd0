"""What happens around the steps: checkpoints, validation, figures, a progress bar."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from vspsr.data.files import ImagePair
from vspsr.errors import ImageFileError
from vspsr.images.io import write_image
from vspsr.images.picture import Picture
from vspsr.training.checkpoint import prune, write_checkpoint
from vspsr.training.module import SpaceTraining
from vspsr.training.recipe_file import plain
from vspsr.training.validation import ValidationImage, validate_image

__all__ = ["Checkpoints", "Progress", "Validation"]


class Validation(Callback):
    """Every so many steps, and at the end: validation images shared out over the processes, figures averaged.

    Args:
        pairs: the images.
        folder: where pictures of the first go.
        best: the best figure so far, of a run that is resumed.
    """

    def __init__(self, pairs: Sequence[ImagePair], folder: Path, best: float | None = None) -> None:
        self.pairs, self.folder, self.best = pairs, folder, best
        self.improved = False

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any) -> None:
        """Log figures of the steps since the last time; validate."""
        module: SpaceTraining = pl_module
        last = module.step == module.schedule.steps
        phase_ends = module.step == module.schedule.phase_at(module.step - 1).stop  # the next may have other losses
        if module.step % module.recipe.log_every == 0 or phase_ends:
            self._log_training(trainer, module)
        if self.pairs and (module.step % module.recipe.validation.every == 0 or last):
            self._validate(trainer, module)

    def _log_training(self, trainer: lightning.Trainer, module: SpaceTraining) -> None:
        count = max(1, module.counted)
        figures = {k: float(trainer.strategy.reduce(v / count, reduce_op="mean")) for k, v in module.sums.items()}
        module.sums, module.counted = {}, 0
        log(
            trainer,
            {f"train/{k}": v for k, v in figures.items()} | {"rate": module.schedule.rate(module.step - 1)},
            module,
        )

    def _validate(self, trainer: lightning.Trainer, module: SpaceTraining) -> None:
        """Figures are summed over processes in float64, so that they do not depend on how many there are.

        In every phase they are those of the last one's terms, so that the best is the same over the whole run.
        """
        terms = module.schedule.phases[-1].phase.losses.energy_features
        sums: dict[str, float] = {}
        shown: ValidationImage | None = None
        for index in range(trainer.global_rank, len(self.pairs), trainer.world_size):
            try:
                result = validate_image(self.pairs[index], module.average, module.objective, module.device, terms)
            except ImageFileError as error:
                lightning.pytorch.utilities.rank_zero_warn(f"{error}: not validated on")
                continue
            shown = result if index == 0 else shown
            for key, value in {**result.figures, "count": 1.0}.items():
                sums[key] = sums.get(key, 0.0) + value
        totals = _sum_over_processes(sums, trainer)
        count = totals.pop("count", 0.0)
        if not count:
            return
        figures = {k: v / count for k, v in totals.items()}
        log(trainer, {f"val/{k}": v for k, v in figures.items()}, module)
        monitored = figures.get(module.recipe.validation.monitor)
        if monitored is not None:
            value = -monitored if module.recipe.validation.monitor.startswith("psnr") else monitored
            if self.best is None or value < self.best:
                self.best, self.improved = value, True
        if shown is not None and trainer.is_global_zero:
            self._show(trainer, module, shown)

    def _show(self, trainer: lightning.Trainer, module: SpaceTraining, shown: ValidationImage) -> None:
        strip = torch.cat(shown.pictures, -1)
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = Picture((strip * 255).round().int())
        write_image(self.folder / f"step-{module.step:08d}.png", picture, overwrite=True)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("bicubic, mean, two samples, HR", strip, module.step)


class Checkpoints(Callback):
    """Saves every so many minutes, when validation improves, at the end, and when the run is stopped.

    Args:
        folder: where to.
        images: `digest` of the training images, to be found the same when the run is resumed.
    """

    def __init__(self, folder: Path, images: str) -> None:
        self.folder, self.images = folder, images
        self.saved_at, self.saved_step = time.monotonic(), -1

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any) -> None:
        """Save where it is time."""
        module: SpaceTraining = pl_module
        validation = _validation(trainer)
        if validation is not None and validation.improved:
            validation.improved = False
            self._write(trainer, module, "best.pt")
        due = time.monotonic() - self.saved_at >= 60 * module.recipe.checkpoints.minutes
        if due or module.step == module.schedule.steps:
            self.save(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save what the time limit has cut short."""
        self.save(trainer, pl_module)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save, unless a step was half done: the last checkpoint then is the newest exact state."""
        if pl_module.between_steps and hasattr(pl_module, "scaler"):
            self.save(trainer, pl_module)

    def save(self, trainer: lightning.Trainer, module: SpaceTraining) -> None:
        """Write a numbered checkpoint, and remove the oldest. Before the first step there is nothing to keep."""
        if module.step not in (0, self.saved_step):
            self._write(trainer, module, f"step-{module.step:09d}.pt")
            if trainer.is_global_zero:
                prune(self.folder, module.recipe.checkpoints.keep)
            self.saved_step = module.step
        self.saved_at = time.monotonic()

    def _write(self, trainer: lightning.Trainer, module: SpaceTraining, name: str) -> None:
        if not trainer.is_global_zero:
            return
        validation = _validation(trainer)
        content = {
            **module.state(),
            "recipe": plain(module.recipe),
            "model": module.average.config,
            "best": None if validation is None else validation.best,
            "images": self.images,
            "n_images": len(module.data),
            "processes": trainer.world_size,
        }
        write_checkpoint(self.folder / name, content)


class Progress(Callback):
    """A bar on a terminal, else a line from time to time: step, losses, steps a second, time left."""

    def __init__(self, report: Callable[[str], None], every_seconds: float = 30.0) -> None:
        self.report, self.every = report, every_seconds
        self.text = ""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Show the bar."""
        self.began, self.first, self.reported = time.monotonic(), pl_module.step, time.monotonic()
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.bar = Bar(*columns, disable=not trainer.is_global_zero)
        self.live = trainer.is_global_zero and self.bar.console.is_terminal
        if self.live:
            self.bar.start()
        self.task = self.bar.add_task("", total=pl_module.schedule.steps, completed=pl_module.step)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *args: Any) -> None:
        """Move it on."""
        module: SpaceTraining = pl_module
        if not trainer.is_global_zero:
            return
        now = time.monotonic()
        if self.live:
            self.bar.update(self.task, completed=module.step)
        last = module.step == module.schedule.steps
        if now - self.reported < (1.0 if self.live else self.every) and not last:
            return
        self.reported = now
        speed = (module.step - self.first) / (now - self.began)
        phase = module.schedule.phase_at(module.step - 1).phase.name
        metrics = {k.removeprefix("train/"): float(v) for k, v in trainer.logged_metrics.items() if "norm" not in k}
        figures = " ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        self.text = f"{phase} {speed:.2f} steps/s {figures}"
        if self.live:
            self.bar.update(self.task, description=self.text)
        else:
            self.report(f"step {module.step} of {module.schedule.steps}: {self.text}")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take it away."""
        self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Take it away."""
        if hasattr(self, "bar"):
            self.bar.stop()


def log(trainer: lightning.Trainer, figures: dict[str, float], module: SpaceTraining) -> None:
    """Figures to all loggers, under the step that they belong to, and to the progress bar."""
    for logger in trainer.loggers:
        logger.log_metrics(figures, step=module.step)
    shown = {k: torch.tensor(v) for k, v in figures.items() if k.startswith("train/") or k in _SHOWN}
    trainer._logger_connector.logged_metrics.update(shown)


_SHOWN = ("val/energy", "val/psnr_mean")


def _sum_over_processes(sums: dict[str, float], trainer: lightning.Trainer) -> dict[str, float]:
    """Sums over all processes; a process may have had no image at all."""
    if trainer.world_size == 1:
        return dict(sums)
    parts: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(parts, sums)
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: sum(part.get(key, 0.0) for part in parts) for key in keys}


def _validation(trainer: lightning.Trainer) -> Validation | None:
    return next((c for c in trainer.callbacks if isinstance(c, Validation)), None)  # type: ignore[attr-defined]
