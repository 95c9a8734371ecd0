"""Score a model on a folder of HR images: ST-LPIPS and PSNR against bicubic, diversity, exactness.

    python benchmarks/quality.py --model vspsr-x4 --hr DIR --samples 3

LR images are made by MATLAB's imresize on uint8 (`Degradation.down_uint8`). Needs the extra `eval`
(stlpips-pytorch, torchvision). PSNR is over RGB, whole image.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from vspsr import VSpSR, quantize, read_image
from vspsr.resize import imresize


def perceptual() -> nn.Module:
    from stlpips_pytorch import stlpips

    return stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval()


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(1 / (a - b).square().mean()))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--every", type=int, default=1, help="only every N-th image")
    args = parser.parse_args()
    model = VSpSR.from_pretrained(args.model)
    metric = perceptual()
    files = sorted(p for p in args.hr.iterdir() if p.is_file())[:: args.every][: args.limit]
    rows = []
    for path in track(files, console=Console(stderr=True)):
        pixels = read_image(path).pixels.expand(3, -1, -1)
        height, width = (n // model.scale * model.scale for n in pixels.shape[1:])
        pixels = pixels[:, :height, :width].to(torch.uint8)
        y8 = model.degradation.down_uint8(pixels)
        x, y = pixels.float()[None] / 255, y8.float()[None] / 255
        space = model(y)
        space = space if args.temperature is None else space.at(args.temperature)
        images = [quantize(s, y8[None]) for s in [space.mean, *space.iter_samples(args.samples)]]
        missed = sum(int(q.lr_mismatches) for q in images)
        mean, *samples = (q.image.float() / 255 for q in images)
        bicubic = (imresize(y, scale=model.scale) * 255).round().clamp(0, 255) / 255

        def distance(image: Tensor, truth: Tensor = x) -> Tensor:
            return metric(2 * image - 1, 2 * truth - 1)

        scores = [distance(s) for s in samples]
        rows.append(
            [
                float(distance(bicubic)),
                float(distance(mean)),
                float(torch.stack(scores).mean()),
                psnr(bicubic, x),
                psnr(mean, x),
                sum(psnr(s, x) for s in samples) / len(samples),
                missed,
            ]
        )
    columns = ["bicubic", "mean", "samples", "bicubic dB", "mean dB", "samples dB", "LR values missed"]
    table = Table("image", *columns, title=f"{args.model}: ST-LPIPS (AlexNet), PSNR")
    for path, row in zip(files, rows, strict=True):
        table.add_row(path.name, *(f"{v:.3f}" for v in row[:3]), *(f"{v:.2f}" for v in row[3:6]), str(row[6]))
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    cells = [
        *(f"{v:.4f}" for v in means[:3]),
        *(f"{v:.2f}" for v in means[3:6]),
        str(sum(r[6] for r in rows)),
    ]
    table.add_row("all", *cells)
    console = Console()
    console.print(table)
    console.print(
        f"samples / bicubic in ST-LPIPS: {means[2] / means[0]:.3f}; mean − bicubic: {means[4] - means[3]:+.2f} dB"
    )


if __name__ == "__main__":
    main()
