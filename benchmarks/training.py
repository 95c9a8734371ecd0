"""Training: crops a second in each phase of a recipe, and where the time goes.

    python benchmarks/training.py                            # configs/x4.yaml on one core
    python benchmarks/training.py --config paper/x4 --steps 4
    python benchmarks/training.py --accelerator gpu --steps 50 --profile trace.json

A step is all of it: crops and their LR images, network, losses, optimisers. Feature networks have untrained weights,
which take the same time, and photographs are noise. CPU seconds are those of the process, so that other load on the
machine counts for little.
"""

import argparse
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.table import Table
from torch.profiler import profile

from vspsr.data.crops import Crops
from vspsr.data.photographs import Photographs
from vspsr.training.build import build_model
from vspsr.training.engine import Engine
from vspsr.training.recipe_file import load_recipe

WARM_UP = 2


def engine_of(config: str, accelerator: str, changes: list[str]) -> Engine:
    """The engine of a recipe, with photographs of noise."""
    recipe = load_recipe(Path(config), changes)
    features = {name: f.model_copy(update={"weights": "random"}) for name, f in recipe.features.items()}
    recipe = recipe.model_copy(update={"features": features})
    fabric = Fabric(accelerator=accelerator, devices=1)
    fabric.launch()
    model = build_model(recipe)
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 480, 480), dtype=torch.uint8, generator=generator) for _ in range(8)]
    crops = Crops(Photographs(images, fabric.device), model.degradation, recipe.seed, **recipe.data.changes)
    return Engine(recipe, model, crops, fabric)


def wait(engine: Engine) -> None:
    """Until the device has done what it was asked for."""
    if engine.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="x4")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--profile", type=Path, help="write a trace of a step of the last phase for chrome://tracing")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    engine = engine_of(args.config, args.accelerator, args.changes)
    table = Table(title=f"{args.config}, {args.accelerator}, {args.threads} thread(s)")
    for column in ("phase", "batch", "crops/s", "CPU s/crop", "making crops"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for stage in engine.schedule.stages:
        batch, crop = stage.batch, stage.crop
        for step in range(WARM_UP + args.steps):
            if step == WARM_UP:
                wait(engine)
                wall, cpu = time.perf_counter(), time.process_time()
            engine.position = float(stage.start)
            engine.train_step()
        wait(engine)
        wall, cpu = ((t - t0) / args.steps for t, t0 in ((time.perf_counter(), wall), (time.process_time(), cpu)))
        began = time.perf_counter()
        engine.crops.batch(0, 0, batch, batch, crop)
        wait(engine)
        share = (time.perf_counter() - began) / wall
        table.add_row(stage.phase.name, str(batch), f"{batch / wall:.1f}", f"{cpu / batch:.3f}", f"{share:.0%}")
    console = Console()
    console.print(table)
    engine.position = float(stage.start)
    with profile() as trace:
        engine.train_step()
        wait(engine)
    key = "self_cuda_time_total" if engine.device.type == "cuda" else "self_cpu_time_total"
    console.print(trace.key_averages().table(sort_by=key, row_limit=12, max_name_column_width=40), markup=False)
    if args.profile:
        trace.export_chrome_trace(str(args.profile))


if __name__ == "__main__":
    main()
