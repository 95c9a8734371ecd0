"""Structure of spaces: how few directions hold the variance of a region, and how visible the lattice of LR pixels is.

    python benchmarks/structure.py --model vspsr-x4 vspsr-x4-explore --hr PHOTOS --regions 20

One region of 16×16 LR pixels a photograph, the photographs spread over the folder's, at places drawn from a seed, each
within a crop of 72×72 LR pixels. Shares: of the region's variance along its first 5, 10 and 40 principal directions.
Lattice, from samples of the whole crops:

- σ by place: the standard deviation at each of the s×s places within an LR pixel, over all crops; of these numbers the
  standard deviation over the mean. Beside it the same of the mean's true error.
- power: of samples over the truth's, brightness, at the lattice's frequencies (multiples of 1/s cycles a pixel along
  each axis, not 0) and around them: without a lattice both are equal. Geometric mean over photographs.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vspsr import SRSpace, VSpSR, read_image
from vspsr.images.folders import image_files

COUNTS = (5, 10, 40)
CROP, SIDE, SAMPLES = 72, 16, 4  # LR pixels of a crop and of the region in it; samples a crop


def crops(folder: Path, count: int, scale: int, seed: int) -> list[Tensor]:
    """Crops (3, H, W) uint8, one of each photograph that is large enough."""
    files, size = list(image_files([folder])), scale * CROP
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    step = max(1, len(files) // count)
    for path in [*files[::step], *(f for i, f in enumerate(files) if i % step)]:
        pixels = read_image(path).pixels.expand(3, -1, -1)
        if len(found) < count and min(pixels.shape[1:]) >= size:
            top, left = (int(torch.randint(n - size + 1, (), generator=generator)) for n in pixels.shape[1:])
            found.append(pixels[:, top : top + size, left : left + size].to(torch.uint8))
    return found


def shares(space: SRSpace) -> Tensor:
    """(3,): of the first 5, 10 and 40 directions in the region in the middle of a crop."""
    place = (CROP - SIDE) // 2
    explained = space.region(place, place, SIDE, SIDE).principal_components(max(COUNTS)).explained.double()
    return torch.stack([explained[:k].sum() for k in COUNTS])


def by_place(x: Tensor, scale: int) -> Tensor:
    """Mean square of images (…, H, W) at each place within an LR pixel: (s, s)."""
    cells = x.double().square().unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale))
    return cells.movedim((-3, -1), (0, 1)).flatten(2).mean(2)


def variation(squares: Tensor) -> float:
    sigma = squares.sqrt()
    return float(sigma.std(correction=0) / sigma.mean())


def lattice_power(x: Tensor, scale: int) -> Tensor:
    """Power of images (N, 3, H, W) at the lattice's frequencies and around them: (2,)."""
    brightness = x.double().mean(1)
    window = torch.hann_window(x.shape[-1], dtype=torch.float64)
    power = torch.fft.fft2((brightness - brightness.mean((1, 2), keepdim=True)) * window[:, None] * window)
    spectrum = power.abs().square().mean(0)
    # The window spreads a pure frequency over the bins next to it.
    at = torch.zeros_like(spectrum, dtype=torch.bool)
    around = torch.zeros_like(at)
    for mask, reach in ((around, 6), (at, 1)):
        for i in range(scale):
            for j in range(scale):
                if i or j:
                    rows = torch.arange(-reach, reach + 1) + i * x.shape[-2] // scale
                    columns = torch.arange(-reach, reach + 1) + j * x.shape[-1] // scale
                    mask[rows[:, None] % x.shape[-2], columns % x.shape[-1]] = True
    return torch.stack([spectrum[at].mean(), spectrum[around & ~at].mean()])


@torch.no_grad()
def measure(name: str, folder: Path, regions: int, seed: int) -> list[str]:
    model = VSpSR.from_pretrained(name)
    scale, found, ratios = model.scale, [], []
    spread, error = torch.zeros(scale, scale, dtype=torch.float64), torch.zeros(scale, scale, dtype=torch.float64)
    if not (truths := crops(folder, regions, scale, seed)):
        raise SystemExit(f"{folder}: no photograph has {scale * CROP} pixels on both sides, which {name} needs")
    for truth in track(truths, description=Path(name).name, console=Console(stderr=True), transient=True):
        space = model(model.degradation.down_uint8(truth)[None].float() / 255)
        found.append(shares(space))
        x = truth[None].float() / 255
        samples = space.sample(SAMPLES)[:, 0]
        spread += by_place(space.sample(SAMPLES, temperature=1)[:, 0] - space.mean, scale)
        error += by_place(x - space.mean, scale)
        ratios.append(lattice_power(samples, scale) / lattice_power(x, scale))
    share = torch.stack(found).mean(0).tolist()
    at, around = torch.stack(ratios).log().mean(0).exp().tolist()
    cells = [f"{variation(spread):.1%}", f"{variation(error):.1%}", f"{at:.2f}", f"{around:.2f}"]
    return [Path(name).name, *(f"{s:.1%}" for s in share), *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    title = f"{args.regions} regions of {SIDE}×{SIDE} LR pixels of {args.hr.name}"
    columns = [f"first {k}" for k in COUNTS]
    table = Table("model", *columns, "σ by place", "error by place", "power at lattice", "around it", title=title)
    for name in args.model:
        table.add_row(*measure(name, args.hr, args.regions, args.seed))
    Console().print(table)


if __name__ == "__main__":
    main()
