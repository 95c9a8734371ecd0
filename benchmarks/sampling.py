"""Ten samples on one core: our way, beside one network pass and the paper's configuration done naïvely.

    python benchmarks/sampling.py                      # LR image of 192×128
    python benchmarks/sampling.py --width 510 --height 340

"Naïvely" runs the network for every sample, as published code does. Peak memory is that of the whole process, taken
in a process of its own for each row. Times are the best of `--repeat` runs.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from charts import bars
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vspsr import VSpSR, quantize, read_image
from vspsr.nn.vspm import VSpM
from vspsr.space.sr_space import SRSpace

ROWS = (
    "shipped: one network pass",
    "shipped: ten samples, our way",
    "shipped: ten samples, network each time",
    "shipped: ten samples, quantised, exact",
    "shipped: exact standard deviation",
    "paper (4.4 M): one network pass",
    "paper (4.4 M): ten samples, our way",
    "paper (4.4 M): ten samples, network each time",
)


def paper() -> VSpSR:
    """The paper's configuration without the final convolutions that its code adds, random weights."""
    model = VSpSR("vspm", {"scale": 4, "n_atoms": 256, "convolutions": False})
    assert isinstance(model.network, VSpM)
    return model


@torch.no_grad()
def run(row: int, y: Tensor) -> float:
    """Seconds of one row."""
    model = VSpSR.from_pretrained("vspsr-x4") if row < 5 else paper()
    space: SRSpace = model(y)
    samples = space.sample(10) if row == 3 else None
    began = time.perf_counter()
    if row in (0, 5):
        model(y)
    elif row in (1, 6):
        model(y).sample(10)
    elif row in (2, 7):
        for _ in range(10):
            model(y).sample(1)
    elif row == 3:
        assert samples is not None
        assert quantize(samples, y).exact
    else:
        _ = space.stddev
    return time.perf_counter() - began


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
        seconds = min(run(args.one, y) for _ in range(args.repeat))
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
        return
    table = Table(title=f"LR {args.width}×{args.height} at x4, one core")
    for name in ("", "seconds", "× network pass", "peak GB"):
        table.add_column(name, justify="right" if name else "left")
    passes: dict[bool, float] = {}
    found: dict[str, float] = {}
    for row in args.rows:
        size = ["--width", args.width, "--height", args.height, "--repeat", args.repeat]
        command = [sys.executable, __file__, "--one", str(row), *map(str, size)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, peak = map(float, output.split())
        passes.setdefault(row >= 5, seconds)
        found[ROWS[row]] = seconds
        table.add_row(ROWS[row], f"{seconds:.2f}", f"{seconds / passes[row >= 5]:.2f}", f"{peak:.2f}")
    Console().print(table)
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
