"""Models on clean LR images and on the same saved as JPEG: distances over bicubic's, the mean's PSNR, diversity.

    python benchmarks/jpeg_input.py --model vspsr-x4 MODEL --hr PHOTOS --quality 50 75 90

Bicubic interpolates the decoded pixels. The models' images are those of the space of the JPEG, as `vspsr upscale` makes
them, before they are rounded to integers; their mean is the sample at temperature 0.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vspsr import VSpSR, read_image
from vspsr.degradation.resize import imresize
from vspsr.images.folders import image_files
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.picture import Picture
from vspsr.images.sources import Source
from vspsr.metrics import crop_to_multiple, diversity_score, perceptual_backend, psnr
from vspsr.metrics.perceptual import Backend
from vspsr.space import JpegSpace
from vspsr.upscaling.pictures import PictureSpace

CLEAN = 0


@torch.no_grad()
def images(model: VSpSR, lr: Tensor, quality: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """What an LR picture (3, h, w) uint8 looks like as a JPEG, 4:2:0; mean (3, H, W) and samples (n, 3, H, W)."""
    if quality == CLEAN:
        space = model(lr[None].float() / 255)
        return lr, space.mean[0].clamp(0, 1), space.sample(n)[:, 0].clamp(0, 1)
    buffer = io.BytesIO()
    Image.fromarray(lr.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    seen = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)
    of_file = PictureSpace(model, Source(Picture(seen.int()), read_coefficients(buffer.getvalue()))).space
    assert isinstance(of_file, JpegSpace)
    return seen, of_file.centre[0].clamp(0, 1), of_file.sample(n)[:, 0].clamp(0, 1)


def scores(model: VSpSR, hr: Tensor, quality: int, n: int, backend: Backend) -> Sequence[float]:
    """Distances of bicubic, mean and samples, diversity, PSNR of bicubic and mean."""
    lr, mean, samples = images(model, model.degradation.down_uint8(hr), quality, n)
    truth = hr.float() / 255
    bicubic = imresize(lr.double() / 255, scale=model.scale).clamp(0, 1).float()
    others = backend.score(torch.stack([bicubic, mean]), truth).distances.tolist()
    maps = backend.score(samples, truth).maps
    fidelity = (float(psnr(image, truth, 1)) for image in (bicubic, mean))
    return [*others, float(maps.mean()), diversity_score(maps).score, *fidelity]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--quality", type=int, nargs="*", default=[50, 75, 90])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="only every n-th photograph")
    args = parser.parse_args()
    backend = perceptual_backend("stlpips-alex")
    files = list(image_files([args.hr]))[:: args.every]
    table = Table(title=f"{len(files)} photographs of {args.hr.name}, {args.samples} samples")
    for column in ("model", "JPEG quality", "mean ÷ bicubic", "samples ÷ bicubic", "diversity", "mean − bicubic, dB"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name in args.model:
        model = VSpSR.from_pretrained(name)
        for quality in (CLEAN, *args.quality):
            rows = []
            for path in track(files, f"{name}, {quality or 'clean'}"):
                hr = crop_to_multiple(read_image(path).pixels.expand(3, -1, -1).to(torch.uint8), model.scale)
                rows.append(scores(model, hr, quality, args.samples, backend))
            bicubic, mean, samples, diversity, of_bicubic, of_mean = np.mean(rows, 0)
            label, gain = str(quality or "clean"), of_mean - of_bicubic
            ratios = (f"{distance / bicubic:.3f}" for distance in (mean, samples))
            table.add_row(name, label, *ratios, f"{diversity:.1f}", f"{gain:+.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
