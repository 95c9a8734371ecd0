"""Cost of D and D⁺ from 0.25 to 64 megapixels: time and memory grow linearly with the number of pixels.

python benchmarks/degradation.py
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

from vspsr import Degradation

SIDES = (512, 1024, 2048, 4096, 8192)


def measure(side: int, scale: int) -> tuple[float, float, float]:
    """Seconds of `down` and of `pseudo_inverse` (best of 3), peak memory in bytes beyond what importing takes."""
    torch.set_num_threads(1)
    degradation = Degradation(scale)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = torch.rand(1, 1, side, side)
    y = degradation.down(x)
    degradation.pseudo_inverse(y)
    seconds = []
    for function, argument in ((degradation.down, x), (degradation.pseudo_inverse, y)):
        runs = []
        for _ in range(3):
            began = time.perf_counter()
            function(argument)
            runs.append(time.perf_counter() - began)
        seconds.append(min(runs))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
    return seconds[0], seconds[1], peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(*measure(args.side, args.scale))
        return
    table = Table(title=f"One channel, float32, one core, x{args.scale}")
    for name in ("megapixels", "down ms", "D⁺ ms", "down ns/pixel", "D⁺ ns/pixel", "peak bytes/pixel"):
        table.add_column(name, justify="right")
    for side in SIDES:  # a process each, so that one size's peak memory is not another's
        command = [sys.executable, __file__, "--scale", str(args.scale), "--side", str(side)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        down, up, peak = map(float, output.split())
        pixels = side**2
        cells = (pixels / 2**20, 1e3 * down, 1e3 * up, 1e9 * down / pixels, 1e9 * up / pixels, peak / pixels)
        table.add_row(*(f"{v:.2f}" for v in cells))
    Console().print(table)


if __name__ == "__main__":
    main()
