"""Training steps of the authors' configuration: CPU seconds each, beside those of the authors' code.

    python benchmarks/training.py                       # one core
    python benchmarks/training.py --threads 8 --precision bf16

256 atoms, x4, batch 4, LR crops of 48×48: once with MSE and KL, once with the adversarial loss and VGG19 (untrained
weights: the time is the same). A step is all of it: crops and their LR images, network, losses, both optimisers. CPU
seconds are those of the process, so that other load on the machine counts for little; the authors' figures, 2.9 and
9.9, were taken on one core of another machine (torch on the CPU, the same batch and crops).
"""

import argparse
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from vspsr.training.recipe_file import load_recipe
from vspsr.training.run import RunOptions, train

AUTHORS = {"MSE + KL": 2.9, "MSE + KL + GAN + VGG19": 9.9}
WARM_UP = 2


class Clock(lightning.Callback):
    def __init__(self) -> None:
        self.cpu, self.wall = list[float](), list[float]()

    def on_train_batch_end(self, *args: Any) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.wall.append(time.perf_counter())


def photographs(folder: Path) -> Path:
    """Images to crop; what is in them makes no difference to the time."""
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (320, 320, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def measure(phase: int, steps: int, precision: str, accelerator: str) -> tuple[float, float]:
    """CPU and wall seconds of a step in one phase of the recipe."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        changes = [
            f"data.folder={photographs(folder / 'data')}",
            f"precision={precision}",
            "features.vgg19.weights=random",
            "data.holdout=0",
            f"phases.{phase}.epochs=null",
            f"phases.{phase}.steps={steps + WARM_UP}",
        ]
        recipe = load_recipe(Path(__file__).parents[1] / "configs" / "paper" / "x4-authors.yaml", changes)
        recipe = recipe.model_copy(update={"phases": (recipe.phases[phase],)})
        options = RunOptions(
            folder / "run", accelerator=accelerator, report=lambda _: None, progress=False, callbacks=(clock,)
        )
        train(recipe, options)
    return tuple((t[-1] - t[WARM_UP - 1]) / steps for t in (clock.cpu, clock.wall))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument("--accelerator", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    table = Table(title=f"authors' configuration, x4, batch 4, crop 48, {args.precision}, {args.threads} thread(s)")
    for column in ("losses", "CPU s/step", "wall s/step", "authors' CPU s/step", "times faster"):
        table.add_column(column, justify="left" if column == "losses" else "right")
    for phase, (name, authors) in enumerate(AUTHORS.items()):
        cpu, wall = measure(phase, args.steps, args.precision, args.accelerator)
        table.add_row(name, f"{cpu:.2f}", f"{wall:.2f}", f"{authors:.1f}", f"{authors / cpu:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
