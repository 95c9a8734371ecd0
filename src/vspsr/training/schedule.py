"""A recipe laid out in steps: which phase a step belongs to, its batch and crop, its learning rate."""

import math
from dataclasses import dataclass

from vspsr.training.recipe import LearningRate, Optimiser, Phase, Recipe, RecipeError

__all__ = ["Schedule", "ScheduledPhase"]

MOST_STEPS = 10**8
"""Of a run: their crops are listed in memory."""


@dataclass(frozen=True)
class ScheduledPhase:
    """A phase and the steps it takes: ``start`` … ``stop`` − 1."""

    phase: Phase
    start: int
    stop: int


class Schedule:
    """The steps of a run. An epoch is as many steps as show every training image once.

    Args:
        recipe: the recipe.
        n_images: number of training images.
        world: number of processes, each with a batch of its own.

    Raises:
        RecipeError: phases of more than the recipe's `steps`, more than 10⁸ steps in all.
    """

    def __init__(self, recipe: Recipe, n_images: int, world: int = 1) -> None:
        self.recipe, self.n_images, self.world = recipe, n_images, world
        self.phases: list[ScheduledPhase] = []
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
            self.phases.append(ScheduledPhase(phase, start, start + length))
            start += length
            if start > MOST_STEPS:
                raise RecipeError(f"`phases`: {start:.3g} steps up to phase {phase.name!r}, more than {MOST_STEPS:.0e}")
        if share > 1 + 1e-9:
            raise RecipeError(f"`phases`: their shares sum to {share:g}, more than 1")
        self.steps = start

    def epoch(self, phase: Phase) -> float:
        """Steps in which every image is seen once."""
        return self.n_images / (self.batch(phase) * self.world)

    def batch(self, phase: Phase) -> int:
        """Crops of one process in a step."""
        return phase.batch or self.recipe.batch

    def phase_at(self, step: int) -> ScheduledPhase:
        """The phase of a step; beyond the end the last."""
        return next((s for s in self.phases if step < s.stop), self.phases[-1])

    def crops(self) -> list[tuple[int, int]]:
        """(batch of one process, LR pixels of a crop) for every step."""
        sizes = []
        for scheduled in self.phases:
            size = self.batch(scheduled.phase), scheduled.phase.crop or self.recipe.crop
            sizes += [size] * (scheduled.stop - scheduled.start)
        return sizes

    def optimiser(self, scheduled: ScheduledPhase) -> Optimiser:
        """Settings of the optimiser in a phase."""
        return scheduled.phase.optimiser or self.recipe.optimiser

    def rate(self, step: int) -> float:
        """Learning rate of a step. A phase with a schedule of its own follows that, else the run's goes on."""
        scheduled = self.phase_at(step)
        rate = self.optimiser(scheduled).rate
        own, steps = scheduled.phase.schedule, scheduled.stop - scheduled.start
        if own is not None:
            return rate * self._factor(own, step - scheduled.start, steps, scheduled.phase)
        return rate * self._factor(self.recipe.schedule, step, self.steps, scheduled.phase)

    def _factor(self, schedule: LearningRate, step: int, steps: int, phase: Phase) -> float:
        warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
        if schedule.kind == "cosine":
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            return warm * (schedule.floor + (1 - schedule.floor) * cosine)
        if schedule.kind == "step":
            every = schedule.every or (schedule.every_epochs or 100.0) * self.epoch(phase)
            return warm * float(schedule.factor ** int(step / every + 1e-9))
        return warm
