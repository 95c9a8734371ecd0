"""One training step, on any device and number of processes.

Everything random is a pure function of (seed, step, index of the crop): nothing is drawn from a generator whose state
would have to be kept. Learning rates and phases are functions of the position in the schedule. So the state of a run is
the step, the seconds trained, the weights, their average, and the optimisers' moments: `state` and `restore`.

Nothing in a step waits for the device. Figures are added up there, and read when they are logged. A gradient that is
not finite counts as zero; too many of them spoil the run.
"""

import copy
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from vspsr.data.crops import Batch, Crops
from vspsr.errors import ModelError
from vspsr.files import one_line
from vspsr.model import VSpSR
from vspsr.state_dicts import load
from vspsr.training.losses.adversarial import PatchDiscriminator, discriminator_loss
from vspsr.training.objective import Objective
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.schedule import Schedule, ScheduledPhase

PATIENCE = 10
"""Steps without a finite gradient between two lines of the log that spoil a run."""

_MICRO_BATCH = 8  # of a CPU: what a piece needs in memory


class Engine:
    """Trains a `VSpSR` model by a recipe.

    Args:
        recipe, model: the recipe, and its model at the start.
        crops: the training crops, on the device that trains.
        fabric: launched.
        max_time: as in `Schedule`.

    Attributes:
        average: the model with the averaged weights, for validation and export.
        whole: whether no step is under way, so that `state` is that of the end of a step.
        finite: whether the gradient of the last step was, a bool on the device.
    """

    def __init__(
        self, recipe: Recipe, model: VSpSR, crops: Crops, fabric: Fabric, max_time: float | None = None
    ) -> None:
        self.recipe, self.crops, self.fabric, self.device = recipe, crops, fabric, fabric.device
        self.schedule = Schedule(recipe, len(crops.photographs), max_time)
        self.average = copy.deepcopy(model).requires_grad_(False).eval().to(self.device)
        self.network = model.network.to(self.device).train()
        self.objective = Objective(recipe, model.degradation).to(self.device).eval()
        self.discriminator = PatchDiscriminator().to(self.device) if recipe.adversarial else None
        self.optimisers = [
            torch.optim.Adam([p for p in module.parameters() if p.requires_grad], fused=True)
            for module in (self.network, self.discriminator)
            if module is not None
        ]
        self.dtype = network_dtype(recipe.precision, self.device)
        self.forward: Any = torch.compile(self.network) if recipe.compile else self.network
        self.step, self.seconds, self.position, self.whole = 0, 0.0, 0.0, True
        self.sums: dict[str, Tensor] = {}
        self.counted = 0
        self.failed = torch.zeros((), dtype=torch.int64, device=self.device)
        self.finite = self.failed == 0
        for stage in self.schedule.stages:
            if stage.batch % fabric.world_size:
                raise RecipeError(f"`batch` {stage.batch} is no multiple of {fabric.world_size} devices")

    @property
    def done(self) -> bool:
        """Whether the schedule is at its end."""
        return self.position >= self.schedule.steps

    @property
    def spoilt(self) -> bool:
        """Whether too many steps failed since `log`: the run must end, and its state is worth nothing."""
        return bool(self.failed >= PATIENCE)

    def train_step(self) -> None:
        """One step of the network, and one of the discriminator in adversarial phases."""
        began, self.whole = time.monotonic(), False
        stage = self.schedule.stage(self.position)
        settings, rate = stage.optimiser, self.schedule.rate(self.position)
        adversary = self.discriminator if "adversarial" in stage.phase.losses else None
        figures: dict[str, Tensor] = {}
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=False)
            for group in optimiser.param_groups:
                group.update(lr=rate, betas=settings.betas, weight_decay=settings.weight_decay)
        for batch in self._batches(stage):
            self._backward(batch, stage, adversary, figures)
        self.finite = self._update(self.optimisers[0], settings.clip, figures, "gradient_norm")
        if adversary is not None:
            self.finite &= self._update(self.optimisers[1], settings.clip, figures, "discriminator_gradient_norm")
        self.failed += ~self.finite
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += 1
        self.step += 1
        self._average()
        self.seconds += time.monotonic() - began
        timed = self.schedule.max_time is not None  # all follow the clock of the first process
        now = self.fabric.broadcast(self.seconds) if timed else self.seconds
        self._move_to(self.schedule.position(self.step, now))
        self.whole = True

    def log(self) -> dict[str, float]:
        """Means of the figures since the last call, over all processes."""
        names = list(self.sums)
        values = torch.stack([self.sums[n].float() for n in names]) / max(1, self.counted)
        means = self.fabric.all_reduce(values, reduce_op="mean").tolist()  # type: ignore[union-attr]
        self.sums, self.counted, self.failed = {}, 0, torch.zeros_like(self.failed)
        return dict(zip(names, means, strict=True))

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which networks are evaluated in the precision chosen."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    # Parts of a step

    def _batches(self, stage: ScheduledPhase) -> list[Batch]:
        """The crops of this process in pieces that fit in memory."""
        size = stage.batch // self.fabric.world_size
        piece = self.recipe.micro_batch or (_MICRO_BATCH if self.device.type == "cpu" else size)
        first = self.fabric.global_rank * size
        return [
            self.crops.batch(self.step, first + i, min(piece, size - i), stage.batch, stage.crop)
            for i in range(0, size, piece)
        ]

    def _backward(
        self, batch: Batch, stage: ScheduledPhase, adversary: nn.Module | None, figures: dict[str, Tensor]
    ) -> None:
        share = len(batch.hr) * self.fabric.world_size / stage.batch
        y = batch.lr.contiguous(memory_format=torch.channels_last)
        extra = (batch.quantisation,) if getattr(self.network, "takes_quantisation", False) else ()
        with self.autocast():
            parameters = self.forward(y, *extra)
        parameters = parameters.map_tensors(_float32)
        if adversary is not None:
            adversary.requires_grad_(False)
        total, values, images = self.objective(batch, parameters, stage.phase, self.autocast, adversary)
        if not total.requires_grad:
            raise RecipeError(f"phase {stage.phase.name!r}: none of its losses depends on what learns")
        (share * total).backward()
        values["loss"] = total.detach()
        if adversary is not None:
            adversary.requires_grad_(True)
            with self.autocast():  # apart, as `Adversarial` sees them: batch normalisation is over a whole call
                real, fake = (adversary(x).float() for x in (batch.hr, images.samples[0].detach()))
            loss = discriminator_loss(real, fake)
            (share * loss).backward()
            values["discriminator"] = loss.detach()
        for name, value in values.items():
            figures[name] = figures.get(name, 0.0) + share * value

    def _update(self, optimiser: torch.optim.Optimizer, clip: float, figures: dict[str, Tensor], name: str) -> Tensor:
        """Average over processes, clip and step; whether the gradient was finite. Else it counts as zero."""
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        if self.fabric.world_size > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            flat = self.fabric.all_reduce(flat, reduce_op="mean")  # type: ignore[assignment]
            for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                g.copy_(part.view_as(g))
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = norm.isfinite()
        factor = torch.where(finite, (clip / (norm + 1e-6)).clamp_max(1.0) if clip else torch.ones_like(norm), 0.0)
        torch._foreach_mul_(gradients, factor)
        for g in gradients:
            g.nan_to_num_(0.0, 0.0, 0.0)
        optimiser.step()
        figures[name] = torch.where(finite, norm, 0.0)
        return finite

    @torch.no_grad()
    def _average(self) -> None:
        """Average of the weights, exponential with a warm-up: decay min(ema, t/(t + 9)), t the number of steps made."""
        decay = min(self.recipe.ema, self.step / (self.step + 9))
        ours, theirs = self.network.state_dict(), self.average.network.state_dict()
        floating = [k for k, v in ours.items() if v.is_floating_point()]
        torch._foreach_lerp_([theirs[k] for k in floating], [ours[k] for k in floating], 1 - decay)
        for key in ours.keys() - set(floating):
            theirs[key].copy_(ours[key])

    def _move_to(self, position: float) -> None:
        """Move along the schedule. A phase with an optimiser of its own starts without earlier moments."""
        before, self.position = self.schedule.stage(self.position), position
        stage = self.schedule.stage(position)
        if stage is not before and stage.phase.optimiser is not None:
            for optimiser in self.optimisers:
                optimiser.state.clear()

    # The state of a run

    def _modules(self) -> dict[str, nn.Module | None]:
        return {"network": self.network, "average": self.average.network, "discriminator": self.discriminator}

    def state(self) -> dict[str, Any]:
        """Tensors and plain containers from which the run goes on exactly."""
        return {
            **{name: getattr(self, name) for name in ("step", "seconds", "position", "sums", "counted", "failed")},
            **{name: module.state_dict() if module else None for name, module in self._modules().items()},
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def restore(self, state: Mapping[str, Any], source: str) -> None:
        """Go on from `state`. ModelError, which names ``source``, where it does not fit."""
        self.step, self.seconds, self.counted = state["step"], state["seconds"], state["counted"]
        for name, module in self._modules().items():
            if module is not None:
                load(module, state[name] or {}, source, "does not fit the recipe:")
        try:
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
        except (ValueError, LookupError, TypeError) as error:
            raise ModelError(f"{source}: does not fit the recipe: {one_line(error)[:200]}") from error
        self.sums = {k: v.to(self.device) for k, v in state["sums"].items()}
        self.failed = state["failed"].to(self.device)
        # With another time to train, the schedule goes on from where it is at the new pace.
        self.position = state["position"]
        self._move_to(max(self.position, self.schedule.position(self.step, self.seconds)))


def network_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What networks are evaluated in; "auto": bf16 on a GPU that has it, else fp32."""
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    cuda = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if cuda else torch.float32


def _float32(parameter: Tensor) -> Tensor:
    """In float32; coefficients and atoms also in plain layout, so that noise and gradients lie as they do."""
    layout = torch.preserve_format if parameter.dim() == 4 else torch.contiguous_format
    return parameter.to(torch.float32, memory_format=layout)
