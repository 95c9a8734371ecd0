"""Ten samples of one image scored on one core: the challenge's way beside ours.

    python benchmarks/evaluation.py                              # 768×512, ten samples, x4
    python benchmarks/evaluation.py --width 1024 --height 768 --samples 5 --rows 0 1

The challenge's way is that of its script: for each sample, the package's network on the sample and on the truth again,
imresize of both, PSNR. (imresize is ours in both, faster than the script's.) Ours is `Backend.score` and
`lr_agreement`.

LPIPS runs over torchvision's AlexNet weights where they lie in its cache, else over a file of seeded random ones, which
cost the same; stlpips over its package's, whose own code needs the packages IPython and torchsummary besides. Each row
is a process of its own: CPU-seconds are the least of `--repeat` runs, peak memory is that of the whole process,
libraries and loading of weights included. The last columns: largest difference from the challenge's way.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from charts import bars
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vspsr import Degradation, read_image
from vspsr.degradation.resize import imresize
from vspsr.metrics import lr_agreement, perceptual_backend
from vspsr.metrics.perceptual import Backend

ROWS = (
    "lpips-alex, challenge's way",
    "lpips-alex, ours",
    "stlpips-alex, challenge's way",
    "stlpips-alex, ours",
    "stlpips-alex and pairwise, ours",
)


def load_package(lpips: bool) -> Any:
    """The package's module, with spatial maps."""
    if lpips:
        from lpips import LPIPS

        return LPIPS(net="alex", spatial=True, verbose=False)
    from stlpips_pytorch.stlpips import LPIPS

    return LPIPS(net="alex", variant="shift_tolerant", spatial=True, verbose=False)


def provide_weights(folder: Path) -> dict[str, str]:
    """Environment in which torchvision finds AlexNet weights in its cache: the real ones or seeded random ones."""
    name = "checkpoints/alexnet-owt-7be5be79.pth"
    if (Path(torch.hub.get_dir()) / name).exists():
        return {}
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = folder / "hub" / name
    path.parent.mkdir(parents=True)
    torch.save(alexnet(weights=None).state_dict(), path)
    return {"TORCH_HOME": str(folder)}


def challenges_way(module: Any, samples: Tensor, truth: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """Maps and LR-PSNR, sample by sample."""
    maps, decibels = [], []
    for sample in samples:
        images = [2 * (x[None].float() / 255) - 1 for x in (sample, truth)]
        maps.append(module(*images)[0, 0])
        lr = [imresize(x, scale=1 / scale).double() for x in (sample, truth)]
        decibels.append(10 * torch.log10(255**2 / (lr[0] - lr[1]).square().mean()))
    return torch.stack(maps), torch.stack(decibels)


def our_way(backend: Backend, samples: Tensor, truth: Tensor, scale: int, pairwise: bool) -> tuple[Tensor, Tensor]:
    """The same from images as they come from their files."""
    score = backend.score(samples, truth, pairwise, peak=255)
    degradation = Degradation(scale)
    return score.maps, lr_agreement(samples, degradation.down_integers(truth), degradation)[0]


def images(n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The example photo, mirrored to a size, and samples of it with noise, as 8-bit values."""
    whole = read_image(Path(__file__).parents[1] / "examples" / "cat.png").pixels
    row = torch.cat([whole, whole.flip(-1)] * (1 + width // (2 * whole.shape[-1])), -1)
    both = torch.cat([row, row.flip(-2)] * (1 + height // (2 * whole.shape[-2])), -2)
    truth = both[..., :height, :width].contiguous().to(torch.uint8)
    generator = torch.Generator().manual_seed(0)
    samples = torch.empty(n, *truth.shape, dtype=torch.uint8)
    for k in range(n):
        noise = 8 * torch.randn(truth.shape, generator=generator)
        samples[k] = (truth + noise).round().clamp(0, 255)
    return samples, truth


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    """One row: prints CPU-seconds and peak memory, leaves what it computed in a file."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    samples, truth = images(args.samples, args.height, args.width)
    net = "lpips-alex" if args.one < 2 else "stlpips-alex"
    ours = perceptual_backend(net) if args.one in (1, 3, 4) else None
    package = None if ours else load_package(args.one < 2)
    seconds = []
    for _ in range(args.repeat):
        began = time.process_time()
        if ours is None:
            result = challenges_way(package, samples, truth, args.scale)
        else:
            result = our_way(ours, samples, truth, args.scale, args.one == 4)
        seconds.append(time.process_time() - began)
    print(min(seconds), peak_memory())
    torch.save(result, args.save)


def peak_memory() -> float:
    """Peak resident memory of this process in GiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory, too, from before this program was loaded
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 ** (3 if sys.platform == "darwin" else 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=range(len(ROWS)), help="only these rows, from 0")
    parser.add_argument("--plot", type=Path, help="write a chart there")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        run(args)
        return
    table = Table(
        title=f"Maps and LR-PSNR of {args.samples} samples of {args.width}×{args.height}, x{args.scale}, one core"
    )
    for name in ("", "CPU-seconds", "× less", "peak GiB", "maps differ by", "LR-PSNR by"):
        table.add_column(name, justify="right" if name else "left")
    reference: dict[int, tuple[float, Any]] = {}
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **provide_weights(Path(folder))}
        for row in args.rows:
            file = Path(folder) / f"{row}.pt"
            values = {"width": args.width, "height": args.height, "samples": args.samples, "scale": args.scale}
            values |= {"repeat": args.repeat, "one": row, "save": file}
            options = [f"--{k}={v}" for k, v in values.items()]
            done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, env=environment)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["?"])[-1]
                table.add_row(ROWS[row], f"not run: {reason[:60]}")
                continue
            seconds, peak = map(float, done.stdout.split()[-2:])
            found[ROWS[row]] = seconds
            result = torch.load(file, weights_only=True)
            first, known = reference.setdefault(row // 2 if row < 4 else 1, (seconds, result))
            differ = [float((a - b).abs().max()) for a, b in zip(result, known, strict=True)]
            cells = ["", ""] if known is result else [f"{v:.1e}" for v in differ]
            table.add_row(ROWS[row], f"{seconds:.2f}", f"{first / seconds:.1f}", f"{peak:.2f}", *cells)
    Console().print(table)
    if args.plot:
        bars(args.plot, str(table.title), found, "CPU-seconds")


if __name__ == "__main__":
    main()
