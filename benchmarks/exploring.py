"""How long a picture takes on one core: to open, to draw and to make exact; components of a region, edits, and so on.

    python benchmarks/exploring.py --model vspsr-x4 vspsr-x4-explore              # HR picture of 512×512
    python benchmarks/exploring.py --model vspsr-x4-explore --lr 512 --skip nearest stddev   # LR picture of 512×512

The picture is the example photo, mirrored and cropped. Seconds are of the processor's time, the best of --repeat; the
clock's are larger where the core is shared. Except in the first row, the space has been made, and the mean of the
picture is known; in the rows of a scribble's stddev, that of the picture too. The last row says how fast the core
multiplies matrices in float32.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from sampling import photograph
from torch import Tensor

from vspsr import SRSpace, VSpSR, quantize
from vspsr.errors import ConditionWarning
from vspsr.space import Average, Pixels

SIDE = 16  # LR pixels of a region
VISIBLE = 64  # LR pixels of what a screen shows, each way
DRAFT = 128


def seconds(action: Callable[[], object], repeat: int) -> float:
    best = float("inf")
    for _ in range(repeat):
        began = time.process_time()
        action()
        best = min(best, time.process_time() - began)
    return best


def scribble(space: SRSpace, count: int = 500) -> Tensor:
    """A stroke, 10 pixels wide, of so many pixels."""
    mask = torch.zeros(space.event_shape[1:], dtype=torch.bool)
    top, left = (n // 2 - 25 for n in mask.shape)
    mask[top : top + 10, left : left + count // 10] = True
    return mask


def actions(model: VSpSR, space: SRSpace) -> dict[str, Callable[[], object]]:
    h, w = space.y.shape[-2:]
    middle = [((n - min(n, DRAFT)) // 2, min(n, DRAFT)) for n in (h, w)]
    draft = space.region(*(n for n, _ in middle), *(n for _, n in middle))
    few = scribble(space, 60)
    scale = space.degradation.scale
    top, left = (h - SIDE) // 2, (w - SIDE) // 2
    region = space.region(top, left, SIDE, SIDE)
    found = region.principal_components(8)
    stroke, colour = scribble(space), torch.tensor([0.5, 0.4, 0.3])
    target = (space.mean[0] + 0.05 * colour[:, None, None]).clamp(0, 1)
    warm = torch.ones(h, w)
    warm[top : top + SIDE, left : left + SIDE] = 1.5
    seen = ((h - min(h, VISIBLE)) // 2, (w - min(w, VISIBLE)) // 2, min(h, VISIBLE), min(w, VISIBLE))
    truth = space.sample(1)[0]
    other = truth.clone()
    rows, columns = (slice(scale * i, scale * (i + SIDE)) for i in (top, left))
    other[..., rows, columns] = space.sample(1, seed=1)[0][..., rows, columns]
    given = space.condition(Pixels(stroke, target))
    return {
        "open: a pass of the network": lambda: model(space.y),
        "the mean, made exact": lambda: quantize(space.mean, space.y),
        "a sample": lambda: space.sample(1, seed=4),
        "a sample, drawn and made exact": lambda: quantize(space.sample(1, seed=4), space.y),
        f"draft of {draft.height}×{draft.width} LR pixels of a sample": lambda: draft.sample(1),
        "stddev": lambda: space.select(0).stddev,
        "scribble of 60 pixels: stddev": lambda: space.condition(Pixels(few, target)).stddev,
        "scribble of 500 pixels: stddev": lambda: space.condition(Pixels(stroke, target)).stddev,
        "components, k = 8, of 16×16 LR pixels": lambda: space.region(top, left, SIDE, SIDE).principal_components(8),
        "region along components": lambda: region.along(found, torch.ones(8)),
        "scribble of 500 pixels: mean": lambda: space.condition(Pixels(stroke, target)).mean,
        "scribble of 500 pixels: one sample more": lambda: given.sample(1, seed=3),
        "colour of an area of 500 pixels: mean": lambda: space.condition(Average(stroke, colour)).mean,
        f"texture brush, {seen[2]}×{seen[3]} LR pixels": lambda: space.with_temperature(warm).region(*seen).sample(1),
        "likelihood ratio of two 16×16 patches": lambda: space.likelihood_ratio(truth, other),
        "nearest, whole picture": lambda: space.nearest(other),
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--lr", type=int, default=128, help="side of the LR picture")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--skip", nargs="*", default=[], help="rows that contain one of these words")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConditionWarning)  # what is asked for here need not be likely
    columns: dict[str, dict[str, float]] = {}
    for name in args.model:
        model = VSpSR.from_pretrained(name)
        space = model(photograph(args.lr, args.lr))
        rows = {k: a for k, a in actions(model, space).items() if not any(word in k for word in args.skip)}
        columns[Path(name).name] = {k: seconds(action, args.repeat) for k, action in rows.items()}
    table = Table("", *columns, title=f"LR picture of {args.lr}×{args.lr}, processor seconds on one core")
    for row in next(iter(columns.values())):
        table.add_row(row, *(f"{column[row]:.2f}" for column in columns.values()))
    a = torch.randn(1024, 1024)
    table.add_row("GFLOP/s of a matrix product", f"{2 * 1.024**3 / seconds(lambda: a @ a, 5):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
