"""Coverage of the closed form of a space, and the effect of one fitted factor on its standard deviation.

    python benchmarks/calibration.py --model vspsr-x4 --fit PHOTOS --hr BSD100 --plot calibration.png
    python benchmarks/calibration.py --model vspsr-x4 --hr BSD100 --promise 0.1 0.1

The factor, a model's `calibration`, is the one with the smallest mean CRPS on the images of --fit (with a manifest.csv
those whose `split` is val), then applied to those of --hr. Needs the extra `eval`.

With --promise ALPHA DELTA, every other image of --hr gives the distribution-free factor of `vspsr calibrate`, and the
others check it: at most ALPHA of the values may lie outside of mean ± factor·σ, except with probability DELTA.
"""

import argparse
import csv
from pathlib import Path
from statistics import NormalDist

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vspsr import VSpSR, read_image
from vspsr.evaluation.calibrating import truth_and_space
from vspsr.evaluation.dataset import find_pairs
from vspsr.images.folders import image_files
from vspsr.metrics.calibration import gaussian_marginals
from vspsr.metrics.intervals import IntervalTally
from vspsr.metrics.tallies import PIT_BINS, Marginals

LEVELS = (0.5, 0.8, 0.9, 0.95)


def validation_images(folder: Path) -> list[Path]:
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        return list(image_files([folder]))
    with manifest.open(newline="") as file:
        return [folder / row["file"] for row in csv.DictReader(file) if row["split"] == "val"]


@torch.no_grad()
def forecast(model: VSpSR, path: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Truth, mean, and standard deviation at calibration 1, each (3, H, W) float64."""
    pixels = read_image(path).pixels.expand(3, -1, -1)
    height, width = (n // model.scale * model.scale for n in pixels.shape[1:])
    truth = pixels[:, :height, :width].to(torch.uint8)
    space = model(model.degradation.down_uint8(truth)[None].float() / 255).with_calibration(1.0)
    return truth.double() / 255, space.mean[0].double(), space.stddev[0].double()


def tallies(model: VSpSR, files: list[Path], factors: list[float]) -> dict[float, Marginals]:
    total = {t: Marginals.empty(PIT_BINS) for t in factors}
    for path in track(files, console=Console(stderr=True), transient=True):
        truth, mean, stddev = forecast(model, path)
        for t in factors:
            total[t] += gaussian_marginals(truth, mean, t * stddev, 1 / 255)
    return total


def promise(model: VSpSR, folder: Path, alpha: float, delta: float) -> Table:
    pairs = find_pairs(folder, model.scale)
    halves = IntervalTally(), IntervalTally()
    for i, pair in enumerate(track(pairs, console=Console(stderr=True), transient=True)):
        with torch.no_grad():
            space, truth = truth_and_space(model, pair)
            halves[i % 2].update(truth.to_float()[0], space.mean[0], space.stddev[0])
    fitted, checked = halves
    factors = {
        f"Gaussian, {1 - alpha:.0%}": NormalDist().inv_cdf(1 - alpha / 2),
        f"calibrated, alpha {alpha:g}, delta {delta:g}": fitted.factor(alpha, delta),
    }
    title = f"mean ± factor·σ of {folder.name}: {fitted.n} images for the factor, {checked.n} to check it"
    sizes = [f"{k} quarter" for k in ("smallest", "2nd", "3rd", "largest")]
    columns = "factor", "inside, fitted", "inside, checked", f"images with ≥ {1 - alpha:.0%} inside", *sizes
    table = Table("", *columns, title=title)
    for name, factor in factors.items():
        inside = [f"{half.coverage(factor):.1%}" for half in halves]
        classes = [f"{c['coverage']:.1%} (± {c['smallest']:.1f}…{c['largest']:.1f})" for c in checked.by_size(factor)]
        table.add_row(name, f"{factor:.2f}", *inside, f"{checked.joint_coverage(factor, alpha):.0%}", *classes)
    return table


def plot(path: Path, found: dict[float, Marginals]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="central interval", ylabel="share of truths within", aspect="equal")
    levels = [k / 50 for k in range(51)]
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for t, m in found.items():
        axes.plot(levels, [m.coverage(level) for level in levels], label=f"factor {t:.2f}")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--promise", type=float, nargs=2, metavar=("ALPHA", "DELTA"))
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="only every N-th image of both folders")
    parser.add_argument("--plot", type=Path, help="write the reliability plot there")
    args = parser.parse_args()
    model = VSpSR.from_pretrained(args.model)
    if args.promise:
        Console().print(promise(model, args.hr, *args.promise))
        return
    if args.fit is None:
        parser.error("--fit or --promise is needed")
    grid = [round(0.8 + 0.1 * k, 2) for k in range(18)]
    on_validation = tallies(model, validation_images(args.fit)[:: args.every], grid)
    fitted = min(grid, key=lambda t: on_validation[t].crps)
    chosen = sorted({model.temperature, 1.0, model.calibration, fitted})
    found = tallies(model, list(image_files([args.hr]))[:: args.every], chosen)
    title = f"{args.model} on {args.hr.name}; calibration fitted on {args.fit.name}: {fitted:g}"
    table = Table("factor on σ", *(f"{level:.0%}" for level in LEVELS), "spread/skill", "CRPS", title=title)
    for t in chosen:
        m = found[t]
        cover = [f"{m.coverage(level):.1%}" for level in LEVELS]
        table.add_row(f"{t:g}", *cover, f"{m.spread_skill:.2f}", f"{m.crps:.3f}")
    Console().print(table)
    if args.plot:
        plot(args.plot, found)


if __name__ == "__main__":
    main()
