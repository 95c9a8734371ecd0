"""One training step, as a LightningModule: two optimisers, one for the network and one for a discriminator.

Everything random is a pure function of (seed, step, index of the crop): nothing is drawn from a generator whose state
would have to be kept. Learning rates and phases are functions of the step alone. So the state of a run is the step,
the weights, their average, and the optimisers' moments: `state` and `restore`.
"""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import torch
from torch import Tensor

from vspsr.data.crops import Batch, CropDataset, StepSampler, crop_loader
from vspsr.errors import VSpSRError
from vspsr.model import VSpSR
from vspsr.nn.discriminator import PatchDiscriminator
from vspsr.training.losses.adversarial import discriminator_loss
from vspsr.training.objective import Objective
from vspsr.training.recipe import Recipe, RecipeError
from vspsr.training.schedule import Schedule, ScheduledPhase
from vspsr.training.spread import Copies

__all__ = ["NotFiniteError", "SpaceTraining"]

PATIENCE = 10
"""Steps in a row that may be skipped because the gradient is not finite."""


class NotFiniteError(VSpSRError):
    """Training stopped because the gradient was not finite too many times in a row."""


class SpaceTraining(lightning.LightningModule):
    """Trains a `VSpSR` model by a recipe.

    Args:
        recipe: the recipe.
        model: the model, its weights as at the start.
        data: the training crops.
        workers: processes that make batches.
        copies: atoms that stay copies of others.

    Attributes:
        received: the signal that the run was stopped by, None where there was none.
    """

    def __init__(
        self, recipe: Recipe, model: VSpSR, data: CropDataset, workers: int = 0, copies: Copies | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recipe, self.data, self.workers, self.copies = recipe, data, workers, copies
        self.schedule = Schedule(recipe, len(data))
        self.network = model.network
        self.degradation = model.degradation
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.objective = Objective(recipe, model.degradation)
        adversarial = any(phase.losses.adversarial for phase in recipe.phases)
        self.discriminator = PatchDiscriminator() if adversarial else None
        self.step, self.skipped, self.phase_start = 0, 0, -1
        self.between_steps = True
        self.received: int | None = None
        self.sums: dict[str, Tensor] = {}
        self.counted = 0
        self.train()

    def train(self, mode: bool = True) -> "SpaceTraining":
        """The average and the feature networks stay in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    # What Lightning asks for

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the network, and for the discriminator where there is one."""
        fused = self.device.type == "cuda"
        modules = [self.network] + ([self.discriminator] if self.discriminator is not None else [])
        return [torch.optim.Adam([p for p in m.parameters() if p.requires_grad], fused=fused) for m in modules]

    def on_fit_start(self) -> None:
        """Schedule the run for the number of processes; mixed precision for the device."""
        self.schedule = Schedule(self.recipe, len(self.data), self.trainer.world_size)
        self.dtype_of_networks = network_dtype(self.recipe.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype_of_networks == torch.float16)
        if self._saved is not None:
            began = self._saved.get("processes", self.trainer.world_size)
            if began != self.trainer.world_size:
                raise VSpSRError(
                    f"the run began with {began} processes and would go on with {self.trainer.world_size}, each with "
                    f"`batch` {self.recipe.batch} of its own: resume with as many, or begin a run with `initial`"
                )
            self._restore_optimisers(self._saved)
            self._saved = None

    def train_dataloader(self) -> Any:
        """Batches from the present step on."""
        schedule = Schedule(self.recipe, len(self.data), self.trainer.world_size)
        sampler = StepSampler(schedule.crops(), self.step, self.trainer.global_rank, self.trainer.world_size)
        return crop_loader(self.data, sampler, self.workers, pin_memory=self.device.type == "cuda")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the network, and one of the discriminator in adversarial phases."""
        self.between_steps = False
        scheduled = self._enter(self.schedule.phase_at(self.step))
        losses, settings = scheduled.phase.losses, self.schedule.optimiser(scheduled)
        x, y = (_image(batch[k]) for k in ("hr", "lr"))
        first = int(batch["first"])
        optimisers = self._raw_optimisers()
        adversary = self.discriminator if losses.adversarial else None
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        if adversary is not None:
            adversary.requires_grad_(False)
        with self.autocast():
            parameters = self.network(y)
        parameters = parameters.map_tensors(_float32)
        mean, samples = self.objective.images(parameters, y, losses, self.step, first)
        total, figures = self.objective(x, parameters, mean, samples, losses, self.step, self.autocast, adversary)
        if not total.requires_grad:
            raise RecipeError(
                f"phase {scheduled.phase.name!r}: none of its losses depends on what learns: "
                "change `losses` or `frozen`"
            )
        self.manual_backward(self.scaler.scale(total))
        if self.copies is not None:
            self.copies.gather(self.network)
        rate = self.schedule.rate(self.step)
        norm, finite = self._update(optimisers[0], rate, settings.clip)
        if self.copies is not None:
            self.copies.renew(self.network)
        figures |= {"loss": total.detach(), "gradient_norm": norm}
        if adversary is not None:
            adversary.requires_grad_(True)
            if finite:
                with self.autocast():
                    outputs = adversary(torch.cat([x, samples[0].detach()]))
                real, fake = outputs.float().chunk(2)
                loss = discriminator_loss(real, fake)
                self.manual_backward(self.scaler.scale(loss))
                norm, finite = self._update(optimisers[1], rate, settings.clip)
                figures |= {"discriminator": loss.detach(), "discriminator_gradient_norm": norm}
        if self.scaler.is_enabled():
            self.scaler.update()
        self._count(finite, figures)
        self.step += 1
        if finite:
            self._average()
        self.between_steps = True

    # Parts of a step

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which networks are evaluated in the precision chosen."""
        if self.dtype_of_networks == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype_of_networks)

    def _raw_optimisers(self) -> list[torch.optim.Optimizer]:
        found = self.optimizers(use_pl_optimizer=False)
        return list(found) if isinstance(found, list) else [found]  # type: ignore[list-item]

    def _enter(self, scheduled: ScheduledPhase) -> ScheduledPhase:
        """A phase with an optimiser of its own starts without the moments of the one before."""
        if scheduled.start != self.phase_start:
            self.phase_start = scheduled.start
            if self.step == scheduled.start and scheduled.phase.optimiser is not None:
                for optimiser in self._raw_optimisers():
                    optimiser.state.clear()
        settings = self.schedule.optimiser(scheduled)
        for optimiser in self._raw_optimisers():
            for group in optimiser.param_groups:
                group.update(betas=tuple(settings.betas), weight_decay=settings.weight_decay)
        return scheduled

    def _update(self, optimiser: torch.optim.Optimizer, rate: float, clip: float) -> tuple[Tensor, bool]:
        """Clip and step, unless the gradient is not finite: its norm, and whether it was finite."""
        self.scaler.unscale_(optimiser)
        parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip or float("inf"))
        finite = bool(norm.isfinite())
        if finite:
            for group in optimiser.param_groups:
                group["lr"] = rate
            self.scaler.step(optimiser)
        return norm.detach(), finite

    def _count(self, finite: bool, figures: Mapping[str, Tensor]) -> None:
        """Sum up figures; warn of a skipped step, and stop after too many."""
        if finite:
            self.skipped = 0
            for name, value in figures.items():
                self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value
            self.counted += 1
            return
        self.skipped += 1
        wrong = [name for name, value in figures.items() if not bool(value.isfinite())]
        lightning.pytorch.utilities.rank_zero_warn(
            f"step {self.step}: the gradient is not finite ({', '.join(wrong)}): step skipped"
        )
        if self.skipped >= PATIENCE:
            raise NotFiniteError(
                f"step {self.step}: the gradient was not finite {PATIENCE} times in a row ({', '.join(wrong)}): "
                "resume with a lower `optimiser.rate` or in precision fp32"
            )

    @torch.no_grad()
    def _average(self) -> None:
        """Update the average: after step t, the decay is min(`ema`, (1 + t) / (10 + t)).

        So a run's first weights, which are far from the later ones, are soon forgotten.
        """
        decay = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        ours, theirs = self.network.state_dict(), self.average.network.state_dict()
        floating = [k for k, v in ours.items() if v.is_floating_point()]
        torch._foreach_lerp_([theirs[k] for k in floating], [ours[k] for k in floating], 1 - decay)
        for key in ours.keys() - set(floating):
            theirs[key].copy_(ours[key])

    # The state of a run

    _saved: dict[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """Tensors and plain containers from which the run goes on exactly."""
        optimisers = [optimiser.state_dict() for optimiser in self._raw_optimisers()]
        return {
            "step": self.step,
            "skipped": self.skipped,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "copies": None if self.copies is None else self.copies.state(),
            "discriminator": None if self.discriminator is None else self.discriminator.state_dict(),
            "optimisers": optimisers,
            "scaler": self.scaler.state_dict(),
            "sums": self.sums,
            "counted": self.counted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, before the fit begins; optimisers follow when they exist."""
        self.step, self.skipped, self.counted = state["step"], state["skipped"], state["counted"]
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        if (copies := state.get("copies")) is not None:
            self.copies = Copies(**copies)
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
        self.sums = dict(state["sums"])
        self._saved = state

    def _restore_optimisers(self, state: dict[str, Any]) -> None:
        for optimiser, saved in zip(self._raw_optimisers(), state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
        self.sums = {k: v.to(self.device) for k, v in self.sums.items()}
        start = self.schedule.phase_at(self.step).start
        self.phase_start = -1 if self.step == start else start


def network_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What networks are evaluated in; "auto": bf16 where the device has it, else fp16 on a GPU and fp32 on a CPU."""
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32


def _float32(parameter: Tensor) -> Tensor:
    """In float32; coefficients and atoms also in plain layout, so that noise and gradients lie as they do."""
    layout = torch.preserve_format if parameter.dim() == 4 else torch.contiguous_format
    return parameter.to(torch.float32, memory_format=layout)


def _image(integers: Tensor) -> Tensor:
    return integers.float().div_(255).contiguous(memory_format=torch.channels_last)
