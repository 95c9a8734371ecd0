"""`vspsr train` and `vspsr export`: parse, call, print."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vspsr.cli.console import print_line, training_progress
from vspsr.cli.options import Folder, Output

if TYPE_CHECKING:
    from vspsr.training.engine import Engine
    from vspsr.training.schedule import ScheduledPhase


def train(
    config: Annotated[
        Path, typer.Option(help="Recipe: a YAML file, or x4, x8, paper/x4, … of the package.", show_default=False)
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of HR images, or of DIV2K's or NTIRE's folders.")] = None,
    output: Annotated[Path | None, Output] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change of the recipe, key=value; as often as wanted.")
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="Come to the end of the schedule in HH:MM:SS.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, exactly.")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, …")] = "auto",
    devices: Annotated[str, typer.Option(help="Number of devices on this node, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes.")] = 1,
) -> None:
    """Train a model by a recipe; interrupt it at any time, --resume goes on exactly where it was.

    Without -o, the folder of the run is runs/NAME, by the recipe's name.

    Example:  vspsr train --config x4 --data photos -o runs/x4
    """
    from vspsr.training.recipe_file import load_recipe
    from vspsr.training.run import RunOptions
    from vspsr.training.run import train as run

    extra: list[Any] = [f"data.folder={data.absolute()}"] if data is not None else []
    recipe = load_recipe(config, [*(changes or []), *extra])
    folder = output or Path("runs") / recipe.name
    device_count: int | str = int(devices) if re.fullmatch("[0-9]{1,9}", devices) else devices
    seconds = None if max_time is None else _seconds(max_time)
    with training_progress() as step:
        shown = _Shown(step)
        options = RunOptions(
            folder, resume, seconds, accelerator, device_count, nodes, report=print_line, progress=shown.update
        )
        engine, signal = run(recipe, options)
    if engine.done:
        print_line(f"done: {engine.step} steps; all is in {folder}")
        print_line(f"make it a model:  vspsr export {folder} -o {recipe.name}")
        return
    print_line(f"stopped after {engine.step} steps: --resume goes on; all is in {folder}")
    if signal is not None:
        raise typer.Exit(128 + signal)  # as in shells: scripts must see that the run is not done


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a run, or one of its checkpoints.")],
    output: Folder,
    temperature: Annotated[
        float | None, typer.Option(help="Default temperature of the model.", show_default="the recipe's")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size, no visible difference.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
) -> None:
    """Make a model of a run: a folder for --model, `VSpSR.from_pretrained` or the Hub, with its model card.

    Example:  vspsr export runs/x4 -o my-model
    """
    from vspsr.training.export import export as write

    model = write(checkpoint, output, temperature, overwrite, half)
    count = sum(p.numel() for p in model.parameters())
    print_line(f"{output}: x{model.scale}, {count / 1e6:.2f} M parameters; its card is {output / 'README.md'}")
    print_line(f"try it:  vspsr upscale photo.png --model {output} --contact-sheet")


class _Shown:
    """What is shown of a run under way: how far it is, how fast it has been in this phase, and the losses last logged.

    Args:
        step: as `training_progress` yields it.
    """

    def __init__(self, step: Callable[[str, float, float, str], None]) -> None:
        self.step, self.losses = step, ""
        self.stage: ScheduledPhase | None = None  # of the speed, which is that since `start`
        self.start = 0, 0.0, 0.0, 0.0

    def update(self, engine: "Engine", figures: Mapping[str, float]) -> None:
        """To be called after each step, with the figures that were logged, if any."""
        schedule, stage = engine.schedule, engine.schedule.stage(engine.position)
        now = engine.step, engine.position, engine.seconds, time.monotonic()
        if self.stage is None:  # what a resumed run's first step took is not known
            fresh = engine.step == 1
            self.stage, self.start = (schedule.stages[0], (0, 0.0, 0.0, now[3] - now[2])) if fresh else (stage, now)
        steps, positions, seconds, passed = (a - b for a, b in zip(now, self.start, strict=True))
        text = f"step {engine.step}" if schedule.max_time else f"step {engine.step} of {schedule.steps}"
        if positions > 0 and seconds > 0:
            left = timedelta(seconds=round(max(0.0, schedule.steps - engine.position) * passed / positions))
            text += f", {left} left, {self.stage.batch * steps / seconds:.1f} crops/s"
        if figures:
            names = sorted((k for k in figures if k.startswith("train/")), key=lambda k: k != "train/loss")
            losses = " ".join(f"{k.removeprefix('train/')} {figures[k]:.4g}" for k in names)
            self.losses = f", {self.stage.phase.name}: {losses}"
        text += self.losses
        line = f"{timedelta(seconds=int(engine.seconds))} {text}" if figures else ""
        self.step(text, engine.position, schedule.steps, line)
        if stage is not self.stage or positions < 0:
            self.stage, self.start = stage, now


def _seconds(text: str) -> float:
    """HH:MM:SS, or DD:HH:MM:SS, in seconds."""
    from vspsr.checks import value_text  # imports PyTorch

    if not re.fullmatch("[0-9]{1,9}(:[0-9]{1,9}){2,3}", text):
        raise ValueError(f"`--max-time` must be HH:MM:SS, got {value_text(text)}")
    days, hours, minutes, seconds = (int(p) for p in f"0:{text}".split(":")[-4:])
    if not (total := ((24 * days + hours) * 60 + minutes) * 60 + seconds):
        raise ValueError(f"`--max-time` {text}: leaves no time to train: leave the option out for no limit")
    return float(total)
