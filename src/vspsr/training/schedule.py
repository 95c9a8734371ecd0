"""A recipe laid out in steps: which phase a step belongs to, its batch and crop, its learning rate.

A run that is given a time is laid out the same, but moves along at the pace of the clock where that is faster: at
``max_time`` it is at the end of the schedule, annealed, however many steps it has made.
"""

import math
from dataclasses import dataclass

from vspsr.training.recipe import LearningRate, Optimiser, Phase, Recipe, RecipeError


@dataclass(frozen=True)
class ScheduledPhase:
    """A phase, the positions it takes (``start`` … ``stop`` − 1), and what it leaves to the recipe.

    Attributes:
        batch: crops of a step, of all processes.
        crop: LR pixels of a crop.
        epoch: steps in which every image is seen once.
    """

    phase: Phase
    start: int
    stop: int
    batch: int
    crop: int
    epoch: float
    optimiser: Optimiser


class Schedule:
    """The steps of a run, or as many as it makes in ``max_time`` seconds of training.

    Raises:
        RecipeError: phases of more than the recipe's `steps`.
        ValueError: a ``max_time`` that is not positive.
    """

    def __init__(self, recipe: Recipe, n_images: int, max_time: float | None = None) -> None:
        if max_time is not None and not max_time > 0:
            raise ValueError(f"`max_time` must be more than 0 seconds, got {max_time:g}")
        self.recipe, self.max_time = recipe, max_time
        self.stages: list[ScheduledPhase] = []
        start, share, before = 0, 0.0, 0
        for phase in recipe.phases:
            batch = phase.batch or recipe.batch
            epoch = n_images / batch
            if phase.steps is not None:
                length = phase.steps
            elif phase.epochs is not None:
                length = max(1, round(phase.epochs * epoch))
            else:
                assert phase.share is not None
                assert recipe.steps is not None
                share += phase.share
                length = max(1, round(share * recipe.steps) - before)
                before += length
            crop, optimiser = phase.crop or recipe.crop, phase.optimiser or recipe.optimiser
            self.stages.append(ScheduledPhase(phase, start, start + length, batch, crop, epoch, optimiser))
            start += length
        if share > 1 + 1e-9:
            raise RecipeError(f"`phases`: their shares sum to {share:g}, more than 1")
        self.steps = start

    def position(self, step: int, seconds: float) -> float:
        """Where in the schedule a step lies that begins after so many seconds of training; `steps` is the end."""
        by_clock = self.steps * seconds / self.max_time if self.max_time is not None else 0.0
        return max(float(step), by_clock)

    def stage(self, position: float) -> ScheduledPhase:
        """The stage of a position; beyond the end the last."""
        return next((s for s in self.stages if position < s.stop), self.stages[-1])

    def rate(self, position: float) -> float:
        """Learning rate. A phase with a schedule of its own follows that, else the run's goes on."""
        stage = self.stage(position)
        rate = stage.optimiser.rate
        if stage.phase.schedule is not None:
            return rate * self._factor(stage.phase.schedule, position - stage.start, stage.stop - stage.start, stage)
        return rate * self._factor(self.recipe.schedule, position, self.steps, stage)

    def _factor(self, schedule: LearningRate, position: float, steps: int, stage: ScheduledPhase) -> float:
        warm = min(1.0, (position + 1) / schedule.warmup) if schedule.warmup else 1.0
        if schedule.kind == "cosine":
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, position / steps)))
            return warm * (schedule.floor + (1 - schedule.floor) * cosine)
        if schedule.kind == "step":
            every = schedule.every_epochs * stage.epoch
            return warm * float(schedule.factor ** int(position / every + 1e-9))
        return warm
