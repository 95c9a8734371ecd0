"""Recipes trained for the same time on the same photos, and the scores of their models.

    python benchmarks/recipes.py --data PHOTOS --hr Set14 --minutes 12 -o runs/x4 x4 paper/x4-authors
    python benchmarks/recipes.py --data PHOTOS --hr Set14 --minutes 4 -o runs/rows configs/ablation/[1-5].yaml

Every recipe keeps the proportions of its phases (in steps), which are first timed by a few steps each; --steps takes
the place of the time. Recipes that start from another (`initial`) find it among those trained in the same folder.
--without perceptual leaves out a loss whose network cannot be had. Needs the extras `train` and `eval`.
"""

import argparse
import csv
import json
import math
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from training import Clock
from vspsr.evaluation.request import Request
from vspsr.evaluation.runner import evaluate
from vspsr.training.checkpoint import latest
from vspsr.training.export import export
from vspsr.training.recipe import Recipe
from vspsr.training.recipe_file import load_recipe
from vspsr.training.run import RunOptions, train
from vspsr.training.schedule import Schedule

PROBE = 4
"""Steps by which a phase is timed; the first is not counted."""
CONSOLE = Console(stderr=True)


def without(recipe: Recipe, losses: Sequence[str]) -> Recipe:
    """The recipe without these losses."""
    nothing = dict.fromkeys(losses)
    phases = [p.model_copy(update={"losses": p.losses.model_copy(update=nothing)}) for p in recipe.phases]
    return recipe.model_copy(update={"phases": tuple(phases)})


def with_steps(recipe: Recipe, steps: Sequence[int]) -> Recipe:
    """The recipe with phases of so many steps."""
    lengths = [{"steps": n, "epochs": None, "share": None} for n in steps]
    phases = [p.model_copy(update=length) for p, length in zip(recipe.phases, lengths, strict=True)]
    return recipe.model_copy(update={"phases": tuple(phases), "log_every": max(1, sum(steps) // 20)})


def seconds_per_step(recipe: Recipe) -> list[float]:
    """Of each phase."""
    clock = Clock()
    quick = with_steps(recipe, [PROBE] * len(recipe.phases))
    with tempfile.TemporaryDirectory() as folder:
        train(quick, RunOptions(Path(folder), report=lambda _: None, progress=False, callbacks=(clock,)))
    ends = [clock.wall[i * PROBE : (i + 1) * PROBE] for i in range(len(recipe.phases))]
    return [(e[-1] - e[0]) / (PROBE - 1) for e in ends]


def fitted(recipe: Recipe, seconds: float, steps: int | None) -> Recipe:
    """The recipe, its phases in the same proportions, for so many seconds, or ``steps``."""
    phases = Schedule(recipe, n_images=1000).phases
    shares = [(s.stop - s.start) / phases[-1].stop for s in phases]
    if steps is None:
        per_step = seconds_per_step(recipe)
        steps = round(seconds / sum(share * s for share, s in zip(shares, per_step, strict=True)))
    return with_steps(recipe, [max(1, round(share * steps)) for share in shares])


def trained(path: Path, args: argparse.Namespace) -> tuple[Recipe, Path, float]:
    """Train a recipe: what was run, its folder, and the minutes it took this time (next to none if it was done)."""
    recipe = without(load_recipe(path, [f"data.folder={args.data}", "validation.images=0", *args.set]), args.without)
    if recipe.initial is not None:
        recipe = recipe.model_copy(update={"initial": args.output / recipe.initial.name})
    folder = args.output / recipe.name
    if latest(folder) is not None:  # go on with, or only evaluate, what is there
        recipe = load_recipe(folder / "recipe.yaml")
    else:
        recipe = fitted(recipe, 60 * args.minutes, args.steps)
    CONSOLE.print(f"{recipe.name}: phases of {', '.join(str(p.steps) for p in recipe.phases)} steps")
    began = time.perf_counter()
    train(recipe, RunOptions(folder, resume=True, report=lambda _: None))
    return recipe, folder, (time.perf_counter() - began) / 60


def report_losses(recipe: Recipe, folder: Path) -> None:
    """Print each phase's losses, at its begin and at its end."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for scheduled in Schedule(recipe, n_images=1).phases:
        within = [r for r in rows if scheduled.start < int(r["step"]) <= scheduled.stop and r["train/loss"]]
        names = [k for k in rows[0] if k.startswith("train/") and "norm" not in k and within and within[0].get(k)]
        terms = [f"{k.removeprefix('train/')} {float(within[0][k]):.3g} → {float(within[-1][k]):.3g}" for k in names]
        Console(width=160).print(f"{recipe.name}, {scheduled.phase.name}: {', '.join(terms)}", highlight=False)


def figures(folder: Path, args: argparse.Namespace, scale: int) -> list[str]:
    """Distances, diversity and PSNR of a run's model."""
    model = folder / "model"
    export(folder, model, overwrite=True)
    request = Request(
        args.hr, scale, model=str(model), samples=args.samples, backend=args.backend, details=False, pictures=0
    )
    evaluate(request, folder / "report", overwrite=True)
    summary = json.loads((folder / "report" / "summary.json").read_text(encoding="utf-8"))

    def mean(of: str, what: str) -> float:
        return float(summary[of].get(what, {}).get("mean", float("nan")))  # no mean where the space is not Gaussian

    bicubic, ours = mean("means_of_bicubic", "lpips"), mean("means", "lpips")
    gains = [mean(of, "psnr_rgb") - mean("means_of_bicubic", "psnr_rgb") for of in ("means_of_mean", "means")]
    diversity, missed = summary["diversity"]["score"], summary["lr"]["lr_pixels_wrong"]
    return [
        f"{bicubic:.3f}",
        "–" if math.isnan(gains[0]) else f"{mean('means_of_mean', 'lpips'):.3f}",
        f"{ours:.3f}",
        f"{ours / bicubic:.2f}",
        f"{diversity:.1f}" if diversity is not None else "–",
        " / ".join("–" if math.isnan(gain) else f"{gain:+.2f}" for gain in gains),
        str(missed),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="training images")
    parser.add_argument("--hr", type=Path, help="images to evaluate on; none: only the losses are printed")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each recipe")
    parser.add_argument("--steps", type=int, help="of each recipe, instead of the minutes")
    parser.add_argument("--set", action="append", default=[], help="change of every recipe, key=value")
    parser.add_argument("--without", action="append", default=[], help="loss to leave out")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--backend", default="stlpips-alex")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    args = parser.parse_args()
    args.data = args.data.absolute()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    table = Table("recipe", "steps", "minutes", title=f"{args.data.name}, then {args.hr}")
    if args.hr:
        for column in (
            "bicubic",
            "mean",
            "samples",
            "ratio",
            "diversity",
            "PSNR over bicubic: mean / samples",
            "LR missed",
        ):
            table.add_column(column, justify="right")
    for path in args.recipes:
        recipe, folder, minutes = trained(path, args)
        row = [recipe.name, str(Schedule(recipe, 1).steps), f"{minutes:.1f}"]
        report_losses(recipe, folder)
        scale = int(recipe.model.options.get("scale", 4))
        table.add_row(*row, *(figures(folder, args, scale) if args.hr else []))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
