"""How the cost grows with the image and with the number of samples: linearly, and the network runs once.

    python benchmarks/scaling.py --plot scaling.png
    python benchmarks/scaling.py --model vspsr-x8 --sides 32 64 128 --samples 1 10

Square LR images, one core, the best of `--repeat` runs in one process. "n samples" are float images, projection and
network pass included; "exact" is `quantize` of one of them to 8 bits, on top.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from charts import lines
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sampling import photograph

from vspsr import VSpSR, quantize


def best(work: Callable[[], object], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@torch.no_grad()
def measure(model: VSpSR, side: int, counts: list[int], repeat: int) -> list[float]:
    y = photograph(side, side)
    found = [best(lambda: model(y), repeat)]
    for n in counts:
        found.append(best(lambda n=n: model(y).sample(n), repeat))
    space = model(y)
    x = space.sample(1)
    found.append(best(lambda: quantize(x, y), repeat))
    found.append(best(lambda: model(y).stddev, repeat))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vspsr-x4")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128, 256, 512], help="of LR images")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 10, 30])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="write a chart there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = VSpSR.from_pretrained(args.model)
    columns = ["network", *(f"{n} samples" for n in args.samples), "exact", "stddev"]
    table = Table("LR side", *columns, title=f"{args.model}: seconds on one core (µs per HR pixel)")
    sides = sorted(args.sides)
    rows = []
    for side in track(sides, console=Console(stderr=True), transient=True):
        rows.append(measure(model, side, args.samples, args.repeat))
        pixels = (side * model.scale) ** 2
        table.add_row(str(side), *(f"{s:.3f} ({1e6 * s / pixels:.2f})" for s in rows[-1]))
    Console().print(table)
    if args.plot:
        series = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
        megapixels = [(side * model.scale) ** 2 / 1e6 for side in sides]
        lines(args.plot, f"{args.model}, one core", megapixels, series, ("HR megapixels", "seconds"))


if __name__ == "__main__":
    main()
