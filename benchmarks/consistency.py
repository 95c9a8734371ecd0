"""Ways to make an SR image consistent with its LR image, compared: LR-PSNR and LR values missed.

    python benchmarks/consistency.py --hr DIR --golden GOLDEN

The SR image is bicubic upscaling with Gaussian noise, as an SR network that knows nothing of consistency; the LR
image is made by MATLAB's imresize on uint8. LR-PSNR is the challenge's: the 8-bit result downscaled by MATLAB's
imresize on uint8, against the LR image. The consistency-enforcing module (CEM) of Bahat & Michaeli, *Explorable Super
Resolution* (CVPR 2020), is computed with its truncated filters: 27 taps of the inverse, borders repeated, and the
cubic kernel with a = −0.75; beside it the same with MATLAB's kernel, a = −0.5. With --golden, a folder that holds
cem_golden.npz and cem_lrpsnr.json, these filters are first compared with the output of the authors' module, and its
LR-PSNR on five Kodak images is printed.
"""

import argparse
import json
import math
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vspsr import Degradation, project, quantize, read_image
from vspsr.degradation.resize import imresize
from vspsr.errors import ConsistencyWarning

METHODS = (
    "no projection",
    "CEM, a = −0.75 (as published)",
    "CEM, a = −0.5 (MATLAB's)",
    "exact projection",
    "quantize",
)


class TruncatedFilters:
    """The CEM by convolutions: x + U F (y − H x), with H the bicubic filter and subsampling, U = s² Hᵀ, F ≈ (H U)⁻¹."""

    def __init__(self, scale: int, a: float = -0.75, taps: int = 27) -> None:
        self.scale, self.offset = scale, scale // 2 - 1
        t = (torch.arange(4 * scale + 1, dtype=torch.float64) - 2 * scale - 0.5).abs() / scale
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        kernel = torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))
        self.kernel = kernel / kernel.sum()
        # H U is convolution with the kernel's autocorrelation, seen at every s-th place.
        full = F.conv1d(self.kernel[None, None], self.kernel[None, None], padding=4 * scale)[0, 0]
        seen = scale * full[4 * scale % scale :: scale]
        ring = torch.zeros(64, dtype=torch.float64)
        ring[(torch.arange(len(seen)) - len(seen) // 2) % len(ring)] = seen
        inverse = torch.fft.ifft(1 / torch.fft.fft(ring)).real
        self.inverse = inverse.roll(taps // 2)[:taps]

    def down(self, x: Tensor) -> Tensor:
        return _filtered(x, self.kernel)[..., self.offset :: self.scale, self.offset :: self.scale]

    def up(self, u: Tensor) -> Tensor:
        spread = u.new_zeros(*u.shape[:-2], *(self.scale * n for n in u.shape[-2:]))
        spread[..., self.offset :: self.scale, self.offset :: self.scale] = _filtered(u, self.inverse)
        return self.scale**2 * _filtered(spread, self.kernel.flip(0))

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.up(y - self.down(x))


def _filtered(x: Tensor, taps: Tensor) -> Tensor:
    """Correlation with the same taps along both axes, borders repeated; x: (B, C, H, W)."""
    taps, pad = taps.to(x), len(taps) // 2
    channels = x.shape[1]
    rows = taps[:, None].expand(channels, 1, -1, 1)
    out = F.conv2d(F.pad(x, (0, 0, pad, pad), "replicate"), rows, groups=channels)
    return F.conv2d(F.pad(out, (pad, pad, 0, 0), "replicate"), rows.mT, groups=channels)


def rounded(x: Tensor) -> Tensor:
    """(1, C, H, W) in [0, 1] → uint8."""
    return (255 * x).round().clamp(0, 255).to(torch.uint8)


def lr_psnr(difference: Tensor) -> float:
    mse = float(difference.double().square().mean())
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def results(x: Tensor, y8: Tensor, degradation: Degradation) -> list[tuple[Tensor, float]]:
    """The 8-bit image of every method, and its seconds."""
    y, scale = y8.double() / 255, degradation.scale
    published, matlab = TruncatedFilters(scale), TruncatedFilters(scale, a=-0.5)
    ways = (
        lambda: rounded(x),
        lambda: rounded(published.project(x, y)),
        lambda: rounded(matlab.project(x, y)),
        lambda: rounded(project(x, y, degradation)),
        lambda: quantize(x, y8, degradation).image,
    )
    out = []
    for way in ways:
        began = time.perf_counter()
        image = way()
        out.append((image, time.perf_counter() - began))
    return out


def tell_of_the_authors(golden: Path, scales: list[int], console: Console) -> None:
    data = np.load(golden / "cem_golden.npz")
    rows = json.loads((golden / "cem_lrpsnr.json").read_text(encoding="utf-8"))
    for scale in scales:
        if f"x{scale}/output" not in data:
            continue
        x, y, theirs = (torch.from_numpy(data[f"x{scale}/{k}"]).double() for k in ("generated", "lr", "output"))
        apart = float((TruncatedFilters(scale).project(x, y) - theirs).abs().max())
        found = [row["after_round"] for row in rows if row["scale"] == scale and row["gen"] == "noise5"]
        console.print(
            f"x{scale}: the authors' module, on five Kodak images: LR-PSNR {np.mean(found):.1f} dB, at worst "
            f"{min(found):.1f}; our convolutions are its own to {apart:.0e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--scales", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--noise", type=float, default=5.0, help="standard deviation, 8-bit levels")
    parser.add_argument("--golden", type=Path, help="folder of the authors' figures")
    parser.add_argument("--every", type=int, default=1, help="only every N-th image")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConsistencyWarning)
    console = Console()
    files = sorted(p for p in args.hr.iterdir() if p.is_file())[:: args.every]
    columns = ("mean dB", "worst", "exact", "missed", "largest", "s/image")
    for scale in args.scales:
        degradation = Degradation(scale)
        found: list[list[tuple[float, int, int, float]]] = [[] for _ in METHODS]
        total = 0
        for path in track(files, f"x{scale}", console=Console(stderr=True), transient=True):
            pixels = read_image(path).pixels.expand(3, -1, -1)
            height, width = (n // scale * scale for n in pixels.shape[1:])
            y8 = degradation.down_uint8(pixels[None, :, :height, :width].to(torch.uint8))
            x = imresize(y8.double() / 255, scale=scale)
            generator = torch.Generator().manual_seed(0)
            x = x + args.noise / 255 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            total += y8.numel()
            for rows, (image, seconds) in zip(found, results(x, y8, degradation), strict=True):
                difference = (degradation.down_uint8(image).int() - y8.int()).abs()
                rows.append((lr_psnr(difference), int(difference.count_nonzero()), int(difference.max()), seconds))
        table = Table("", *columns, title=f"{args.hr.name} at x{scale}: {len(files)} images, {total} LR values")
        for name, rows in zip(METHODS, found, strict=True):
            finite = [row[0] for row in rows if math.isfinite(row[0])]
            table.add_row(
                name,
                f"{np.mean(finite):.1f}" if finite else "∞",  # of the images that are not exact
                f"{min(finite):.1f}" if finite else "∞",
                f"{len(rows) - len(finite)}/{len(rows)}",
                str(sum(row[1] for row in rows)),
                str(max(row[2] for row in rows)),
                f"{np.mean([row[3] for row in rows]):.2f}",
            )
        console.print(table)
    console.print(
        "All rounded to 8 bits. mean dB: of the images that are not exact; missed: LR values; largest: levels."
    )
    if args.golden:
        tell_of_the_authors(args.golden, args.scales, console)


if __name__ == "__main__":
    main()
