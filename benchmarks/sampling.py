"""Ten samples on one core: our way, beside one network pass and the paper's configuration done naïvely.

    python benchmarks/sampling.py                      # LR image of 192×128
    python benchmarks/sampling.py --width 510 --height 340

"Naïvely" runs the network for every sample, as published code does. The network of the recipes has random weights
here, and so has the paper's. Multiplications are those of convolutions and products of matrices. Peak memory is that
of the whole process, taken in a process of its own for each row. Times are the best of `--repeat` runs.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from charts import bars
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vspsr import VSpSR, quantize, read_image

MODELS: dict[str, Callable[[], VSpSR]] = {
    "shipped": lambda: VSpSR.from_pretrained("vspsr-x4"),
    "recipe x4": lambda: VSpSR("correlated", {"scale": 4}),
    # Without the final convolutions that the authors' code adds.
    "paper (4.4 M)": lambda: VSpSR("vspm", {"scale": 4, "n_atoms": 256, "convolutions": False}),
}
PASS, OUR_WAY, NAIVELY = "one network pass", "ten samples, our way", "ten samples, network each time"
EXACT, STDDEV = "ten samples, quantised, exact", "exact standard deviation"
ROWS = (
    *(("shipped", what) for what in (PASS, OUR_WAY, NAIVELY, EXACT, STDDEV)),
    *(("recipe x4", what) for what in (PASS, OUR_WAY, NAIVELY)),
    *(("paper (4.4 M)", what) for what in (PASS, OUR_WAY, NAIVELY)),
)


def work_of(model: VSpSR, what: str, y: Tensor) -> Callable[[], object]:
    """The work of one row; what it begins with is made already."""
    space = model(y)
    samples = space.sample(10) if what == EXACT else None

    def exact() -> None:
        assert samples is not None
        assert quantize(samples, y).exact

    return {
        PASS: lambda: model(y),
        OUR_WAY: lambda: model(y).sample(10),
        NAIVELY: lambda: [model(y).sample(1) for _ in range(10)],
        EXACT: exact,
        STDDEV: lambda: space.stddev,
    }[what]


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def multiplications(work: Callable[[], object], y: Tensor) -> float:
    """In thousands for each LR pixel."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e3 / (y.shape[-2] * y.shape[-1])


def speed_of_core() -> float:
    """GFLOP/s of one core in float32, products of matrices of 1024×1024 numbers."""
    torch.set_num_threads(1)
    a, best = torch.rand(1024, 1024), float("inf")
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return 2 * 1.024**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=range(len(ROWS)), help="only these rows, from 0")
    parser.add_argument("--plot", type=Path, help="write a chart there")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        torch.set_num_threads(1)
        y = photograph(args.height, args.width)
        name, what = ROWS[args.one]
        model = MODELS[name]().eval()
        with torch.no_grad():
            seconds = min(seconds_of(work_of(model, what, y)) for _ in range(args.repeat))
            thousands = multiplications(work_of(model, what, y), y)
        print(seconds, thousands, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
        return
    table = Table(title=f"LR {args.width}×{args.height} at x4, one core")
    for name in ("", "seconds", "× network pass", "1000 multiplications an LR pixel", "peak GB"):
        table.add_column(name, justify="right" if name else "left")
    passes: dict[str, float] = {}
    found: dict[str, float] = {}
    for row in args.rows:
        size = ["--width", args.width, "--height", args.height, "--repeat", args.repeat]
        command = [sys.executable, __file__, "--one", str(row), *map(str, size)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, thousands, peak = map(float, output.split())
        name, what = ROWS[row]
        passes.setdefault(name, seconds)
        found[f"{name}: {what}"] = seconds
        figures = f"{seconds:.2f}", f"{seconds / passes[name]:.2f}", f"{thousands:,.0f}", f"{peak:.2f}"
        table.add_row(f"{name}: {what}", *figures)
    Console().print(table)
    print(f"This core makes {speed_of_core():.0f} GFLOP/s in float32.")
    if args.plot:
        bars(args.plot, str(table.title), found, "seconds")


def photograph(height: int, width: int) -> Tensor:
    """The example photo, mirrored and cropped to a size, as 8-bit values."""
    whole = read_image(Path(__file__).parents[1] / "examples" / "cat.png").to_float()
    row = torch.cat([whole, whole.flip(-1)] * (1 + width // (2 * whole.shape[-1])), -1)
    both = torch.cat([row, row.flip(-2)] * (1 + height // (2 * whole.shape[-2])), -2)
    return both[..., :height, :width].contiguous()


if __name__ == "__main__":
    main()
