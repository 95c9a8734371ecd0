"""`vspsr train` and `vspsr export`: parse, call, print."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from vspsr.checks import value_text
from vspsr.cli.console import print_line, progress
from vspsr.cli.options import Folder, Output

_SHARES = 1000  # that the progress bar is divided into


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
    with progress(_SHARES) as step:
        done = 0

        def show(share: float, text: str) -> None:
            nonlocal done
            step(text, int(share * _SHARES) - done)
            done = int(share * _SHARES)

        options = RunOptions(
            folder, resume, seconds, accelerator, device_count, nodes, report=print_line, progress=show
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


def _seconds(text: str) -> float:
    """HH:MM:SS, or DD:HH:MM:SS, in seconds."""
    if not re.fullmatch("[0-9]{1,9}(:[0-9]{1,9}){2,3}", text):
        raise ValueError(f"`--max-time` must be HH:MM:SS, got {value_text(text)}")
    days, hours, minutes, seconds = (int(p) for p in f"0:{text}".split(":")[-4:])
    if not (total := ((24 * days + hours) * 60 + minutes) * 60 + seconds):
        raise ValueError(f"`--max-time` {text}: leaves no time to train: leave the option out for no limit")
    return float(total)
