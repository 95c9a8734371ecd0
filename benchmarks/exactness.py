"""How many LR values the samples of a model miss, over a folder of HR images: 0 is the claim.

    python benchmarks/exactness.py --hr DIR --models vspsr-x4 vspsr-x8 --samples 3

LR images are made by `Degradation.down_integers` in each convention. The 16-bit version of an 8-bit image is ×257
plus seeded noise of ±128 levels, clipped, so that all its bits are used.
"""

import argparse
import time
import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vspsr import VSpSR, quantize, read_image
from vspsr.errors import ConsistencyWarning


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hr", type=Path, nargs="+", required=True)
    parser.add_argument("--models", nargs="+", default=["vspsr-x4", "vspsr-x8"])
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--rounding", nargs="+", default=["per-pass", "single"])
    parser.add_argument("--every", type=int, default=1, help="only every N-th image")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConsistencyWarning)
    console = Console()
    table = Table("folder", "model", "bits", "rounding", "images × samples", "missed", "largest", "s per image")
    for folder in args.hr:
        files = sorted(p for p in folder.iterdir() if p.is_file())[:: args.every]
        for name in args.models:
            model = VSpSR.from_pretrained(name)
            found: dict[tuple[int, str], list[float]] = {}
            for path in track(files, f"{folder.name} {name}", console=Console(stderr=True), transient=True):
                pixels = read_image(path).pixels.expand(3, -1, -1)
                height, width = (n // model.scale * model.scale for n in pixels.shape[1:])
                for bits in args.bits:
                    hr = pixels[:, :height, :width]
                    if bits == 16:
                        noise = torch.randint(-128, 129, hr.shape, generator=torch.Generator().manual_seed(0))
                        hr = (hr * 257 + noise).clamp(0, 65535).int()
                    for rounding in args.rounding:
                        lr = model.degradation.down_integers(hr, bits, rounding)
                        space = model(lr[None].float() / (2**bits - 1))
                        for x in space.iter_samples(args.samples):
                            began = time.perf_counter()
                            result = quantize(x, lr[None], model.degradation, bits, rounding)
                            seconds = time.perf_counter() - began
                            row = found.setdefault((bits, rounding), [0, 0, 0, 0.0])
                            missed, largest = int(result.lr_values_wrong), int(result.lr_max_deviation)
                            row[:] = [row[0] + 1, row[1] + missed, max(row[2], largest), row[3] + seconds]
                            if missed:
                                console.print(f"{path.name} {name} {bits} {rounding}: {missed} missed, {largest}")
            for (bits, rounding), (count, missed, largest, seconds) in found.items():
                cells = (folder.name, name, bits, rounding, count, int(missed), int(largest), f"{seconds / count:.2f}")
                table.add_row(*map(str, cells))
    console.print(table)


if __name__ == "__main__":
    main()
