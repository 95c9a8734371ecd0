"""How long a picture takes on one core: to open, to draw and to make exact; components of a region, edits, and so on.

    python benchmarks/exploring.py --model vspsr-x4 vspsr-x4-explore              # HR picture of 512×512
    python benchmarks/exploring.py --model vspsr-x4-explore --lr 1250 1600 --by-place --repeat 1 --skip nearest stddev

The picture is the example photo, mirrored and cropped. Seconds are of the processor's time, the best of --repeat; the
clock's are larger where the core is shared. Except in the first two rows, the space has been made, and with --by-place
the network has run on what the rows before needed. In the rows of a scribble's stddev, that of the picture is known.
The last row says how fast the core multiplies matrices in float32.
"""

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from sampling import photograph
from torch import Tensor

from vspsr import SRSpace, VSpSR, quantize
from vspsr.consistency import Quantized
from vspsr.errors import ConditionWarning
from vspsr.images import write_image
from vspsr.images.picture import Picture
from vspsr.space import Average, Pixels, PrincipalComponents

FIRST = 48  # LR pixels of σ that are shown first, each way
SIDE = 16  # LR pixels of a region
VISIBLE = 64  # LR pixels of what a screen shows, each way
SCREEN = (200, 320)  # at full size on a screen of 1280×800
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


def middle(space: SRSpace, height: int, width: int) -> tuple[int, int, int, int]:
    """The part of this size, or less, in the middle: top, left, height, width in LR pixels."""
    size = [min(n, m) for n, m in zip(space.y.shape[-2:], (height, width), strict=True)]
    top, left = ((n - m) // 2 for n, m in zip(space.y.shape[-2:], size, strict=True))
    return top, left, size[0], size[1]


def to_png(space: SRSpace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder) / "sample.png", Picture(quantized(space).image[0, 0].int(), 8))


@cache
def quantized(space: SRSpace) -> Quantized:
    """A sample, drawn and made exact."""
    return quantize(space.sample(1, seed=4), space.y)


def actions(made: Callable[[Tensor], SRSpace], space: SRSpace) -> dict[str, Callable[[], object]]:
    """What is measured, in this order; the first rows run the network where it has not run yet."""
    h, w = space.y.shape[-2:]
    draft, screen, seen = middle(space, DRAFT, DRAFT), middle(space, *SCREEN), middle(space, VISIBLE, VISIBLE)
    place = middle(space, SIDE, SIDE)
    stroke, few, colour = scribble(space), scribble(space, 60), torch.tensor([0.5, 0.4, 0.3])
    warm = torch.ones(h, w)
    warm[place[0] : place[0] + SIDE, place[1] : place[1] + SIDE] = 1.5

    @cache
    def near() -> Tensor:
        """The mean around the stroke, a little changed."""
        top, left, height, width = (space.degradation.scale * n for n in draft)
        image = torch.zeros(space.event_shape)
        mean = space.region(*draft).mean
        image[:, top : top + height, left : left + width] = (mean + 0.05 * colour[:, None, None]).clamp(0, 1)
        return image

    @cache
    def given() -> SRSpace:
        return space.condition(Pixels(stroke, near()))

    @cache
    def found() -> PrincipalComponents:
        return space.region(*place).principal_components(8)

    @cache
    def others() -> tuple[Tensor, Tensor]:
        """Two samples of the region."""
        return space.region(*place).sample(1)[0], space.region(*place).sample(1, seed=1)[0]

    @cache
    def other() -> Tensor:
        """A sample with another in the region."""
        x, (top, left) = space.sample(1)[0], (space.degradation.scale * n for n in place[:2])
        x[0, :, top : top + others()[1].shape[1], left : left + others()[1].shape[2]] = others()[1]
        return x

    return {
        "open": lambda: made(space.y),
        f"the mean of {screen[2]}×{screen[3]} LR pixels, the picture just opened": lambda: (
            made(space.y).region(*screen).mean
        ),
        f"draft of {draft[2]}×{draft[3]} LR pixels of a sample": lambda: space.region(*draft).sample(1),
        f"draft of {screen[2]}×{screen[3]} LR pixels of a sample": lambda: space.region(*screen).sample(1),
        f"σ of {FIRST}×{FIRST} LR pixels": lambda: space.region(*middle(space, FIRST, FIRST)).stddev,
        "components, k = 8, of 16×16 LR pixels": lambda: space.region(*place).principal_components(8),
        "scribble of 500 pixels: draft": lambda: (
            space.condition(Pixels(stroke, near())).region(*middle(space, VISIBLE, VISIBLE)).mean
        ),
        "scribble of 500 pixels: draft of one sample more": lambda: given().region(*seen).sample(1, seed=3),
        "colour of an area of 500 pixels: draft": lambda: space.condition(Average(stroke, colour)).region(*seen).mean,
        f"texture brush, {seen[2]}×{seen[3]} LR pixels": lambda: space.with_temperature(warm).region(*seen).sample(1),
        "likelihood ratio of two 16×16 patches": lambda: space.region(*place).likelihood_ratio(*others()),
        "whole: the network where it has not run": lambda: space.parameters.whole(),
        "whole: the mean, drawn and made exact": lambda: quantize(space.mean, space.y),
        "whole: a sample": lambda: space.sample(1, seed=4),
        "whole: a sample, drawn and made exact": lambda: quantized.__wrapped__(space),
        "whole: region along components": lambda: space.region(*place).along(found(), torch.ones(8)),
        "whole: scribble of 500 pixels: mean": lambda: space.condition(Pixels(stroke, near())).mean,
        "whole: a PNG of the sample": lambda: to_png(space),
        "whole: stddev": lambda: space.select(0).stddev,
        "whole: scribble of 60 pixels: stddev": lambda: space.condition(Pixels(few, near())).stddev,
        "whole: scribble of 500 pixels: stddev": lambda: space.condition(Pixels(stroke, near())).stddev,
        "whole: nearest": lambda: space.nearest(other()),
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--lr", type=int, nargs="+", default=[128], help="side of the LR picture, or height and width")
    parser.add_argument("--by-place", action="store_true", help="run the network where it is needed first")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--skip", nargs="*", default=[], help="rows that contain one of these words")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConditionWarning)  # what is asked for here need not be likely
    height, width = args.lr[0], args.lr[-1]
    columns: dict[str, dict[str, float]] = {}
    memory = {}
    console = Console()
    for name in args.model:
        model = VSpSR.from_pretrained(name)
        made = model.by_place if args.by_place else model
        space = made(photograph(height, width))
        column = columns[Path(name).name] = {}
        for row, action in actions(made, space).items():
            if not any(word in row for word in args.skip):
                column[row] = seconds(action, args.repeat)
                memory[row] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # GB
    title = f"LR picture of {height}×{width}, processor seconds on one core"
    table = Table("", *columns, "peak memory so far, GB", title=title)
    for row in next(iter(columns.values())):
        table.add_row(row, *(f"{column[row]:.2f}" for column in columns.values()), f"{memory[row]:.1f}")
    a = torch.randn(1024, 1024)
    table.add_row("GFLOP/s of a matrix product", f"{2 * 1.024**3 / seconds(lambda: a @ a, 5):.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
