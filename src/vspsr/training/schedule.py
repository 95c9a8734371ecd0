"""A recipe laid out in steps: which phase a step belongs to, its batch and crop, its learning rate."""

import math
from dataclasses import dataclass

from vspsr.training.recipe import Optimiser, Phase, Recipe, RecipeError, Schedule

__all__ = ["Plan", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A phase and the steps it takes: ``start`` … ``stop`` − 1."""

    phase: Phase
    start: int
    stop: int


class Plan:
    """The steps of a run. An epoch is as many steps as show every training image once.

    Args:
        recipe: the recipe.
        n_images: number of training images.
        world: number of processes, each with a batch of its own.

    Raises:
        RecipeError: phases of more than the recipe's `steps`.
    """

    def __init__(self, recipe: Recipe, n_images: int, world: int = 1) -> None:
        self.recipe, self.n_images, self.world = recipe, n_images, world
        self.stages: list[Stage] = []
        start, share, before = 0, 0.0, 0
        for phase in recipe.phases:
            if phase.steps is not None:
                length = phase.steps
            elif phase.epochs is not None:
                length = max(1, round(phase.epochs * self.epoch(phase)))
            else:
                assert phase.share is not None
                assert recipe.steps is not None
                share += phase.share
                length = max(1, round(share * recipe.steps) - before)
                before += length
            self.stages.append(Stage(phase, start, start + length))
            start += length
        if share > 1 + 1e-9:
            raise RecipeError(f"`phases`: their shares sum to {share:g}, more than 1")
        self.steps = start

    def epoch(self, phase: Phase) -> float:
        """Steps in which every image is seen once."""
        return self.n_images / (self.batch(phase) * self.world)

    def batch(self, phase: Phase) -> int:
        """Crops of one process in a step."""
        return phase.batch or self.recipe.batch

    def stage(self, step: int) -> Stage:
        """The stage of a step; beyond the end the last."""
        return next((s for s in self.stages if step < s.stop), self.stages[-1])

    def crops(self) -> list[tuple[int, int]]:
        """(batch of one process, LR pixels of a crop) for every step."""
        sizes = []
        for stage in self.stages:
            size = self.batch(stage.phase), stage.phase.crop or self.recipe.crop
            sizes += [size] * (stage.stop - stage.start)
        return sizes

    def optimiser(self, stage: Stage) -> Optimiser:
        """Settings of the optimiser in a stage."""
        return stage.phase.optimiser or self.recipe.optimiser

    def temperature(self, step: int) -> float:
        """Temperature of the samples in the losses, linear over the phase."""
        stage = self.stage(step)
        first, last = stage.phase.temperature
        return first + (last - first) * (step - stage.start) / max(1, stage.stop - stage.start - 1)

    def rate(self, step: int) -> float:
        """Learning rate of a step. A phase with a schedule of its own follows that, else the run's goes on."""
        stage = self.stage(step)
        rate = self.optimiser(stage).rate
        if stage.phase.schedule is not None:
            factor = self._factor(stage.phase.schedule, step - stage.start, stage.stop - stage.start, stage.phase)
        else:
            factor = self._factor(self.recipe.schedule, step, self.steps, stage.phase)
        return rate * factor

    def _factor(self, schedule: Schedule, step: int, steps: int, phase: Phase) -> float:
        warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
        if schedule.kind == "cosine":
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            return warm * (schedule.floor + (1 - schedule.floor) * cosine)
        if schedule.kind == "step":
            every = schedule.every or (schedule.every_epochs or 100.0) * self.epoch(phase)
            return warm * float(schedule.factor ** int(step / every + 1e-9))
        return warm
