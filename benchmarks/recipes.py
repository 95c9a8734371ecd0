"""Recipes trained for the same time on the same photographs, and what their models are worth.

    python benchmarks/recipes.py --data PHOTOS --hr VAL --minutes 60 -o runs/x4 x4 paper/x4
    python benchmarks/recipes.py --data PHOTOS --hr VAL --minutes 60 -o runs/rows x4 x4,model.options.correlated=false

Every recipe comes to the end of its schedule in this time (`vspsr train --max-time`). Changes follow a recipe's name
after commas. Needs the extras `train` and `eval`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def vspsr(*arguments: object) -> None:
    """A command, in a process of its own."""
    subprocess.run([sys.executable, "-m", "vspsr.cli", *map(str, arguments)], check=True)


def trained(name: str, args: argparse.Namespace) -> Path:
    """The model of a recipe, trained unless it is there already."""
    config, *changes = [*name.split(","), *args.changes]
    folder: Path = args.output / name.replace("/", "-").replace(",", "+")
    if not (folder / "model" / "config.json").exists():
        hours, minutes = divmod(args.minutes, 60)
        options = [part for change in changes for part in ("--set", change)]
        clock = f"{hours:02d}:{minutes:02d}:00"
        resume = ["--resume"] if (folder / "run").exists() else []
        line = ("train", "--config", config, "--data", args.data, "-o", folder / "run", "--max-time", clock)
        vspsr(*line, *options, *resume)
        vspsr("export", folder / "run", "-o", folder / "model")
    return folder


def figures(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The summary of an evaluation of its model."""
    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    scale = config["options"]["scale"]
    report = folder / "report"
    line = ("evaluate", "--model", folder / "model", "--hr", args.hr, "--scale", scale, "-o", report)
    vspsr(*line, "--challenge-only", "--samples", args.samples)
    return json.loads((report / "summary.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE[,KEY=VALUE…]")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hr", type=Path, required=True, help="HR images to evaluate on")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="of all recipes"
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    table = Table(title=f"{args.minutes} minutes each")
    for column in ("recipe", "mean − bicubic, dB", "distance ÷ bicubic's", "diversity"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for name in args.recipes:
        summary = figures(trained(name, args), args)
        samples, mean, bicubic = (summary[k] for k in ("means", "means_of_mean", "means_of_bicubic"))
        gain = mean["psnr_rgb"]["mean"] - bicubic["psnr_rgb"]["mean"]
        ratio = samples["distance"]["mean"] / bicubic["distance"]["mean"]
        table.add_row(name, f"{gain:+.2f}", f"{ratio:.3f}", f"{summary['diversity']['score']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
