"""Full validation images, deterministic: no crops, fixed noise, the averaged weights."""

import torch
from torch import Tensor

from vspsr.data.files import ImagePair
from vspsr.data.photographs import read_rgb
from vspsr.degradation.resize import imresize
from vspsr.metrics import psnr
from vspsr.model import VSpSR
from vspsr.space.noise import image_key
from vspsr.training.losses.energy import energy_score, patch_distance


@torch.no_grad()
def validate_image(pair: ImagePair, model: VSpSR, device: torch.device) -> tuple[dict[str, float], list[Tensor]]:
    """Figures of one image, and its pictures (3, H, W): bicubic, mean, two samples, HR.

    The figures are PSNR (RGB, whole image, clipped), spread, the energy score in pixels of two samples. HR is cut to a
    multiple of the scale. Samples are of seed 0 at temperature 1, keyed by LR pixels. What is not a number is black.
    """
    hr = read_rgb(pair.hr)
    rows, columns = (n // model.scale for n in hr.shape[1:])
    hr = hr[:, : rows * model.scale, : columns * model.scale]
    lr = model.degradation.down_uint8(hr) if pair.lr is None else read_rgb(pair.lr)[:, :rows, :columns]
    x, y = (t[None].to(device).float() / 255 for t in (hr, lr))
    space = model(y).with_keys([image_key(lr)])
    first, second = space.sample(2, seed=0, temperature=1.0).nan_to_num(0)
    mean = (space.mean if space.is_gaussian else space.sample(1, seed=0, temperature=0.0)[0]).nan_to_num(0)
    bicubic = imresize(y, scale=model.scale)
    scores = psnr(torch.cat([bicubic, mean, first, second]).clamp(0, 1), x, 1).tolist()
    figures = {
        "psnr_bicubic": scores[0],
        "psnr_mean": scores[1],
        "psnr_sample": 0.5 * (scores[2] + scores[3]),
        "spread": float((first - second).square().mean().div(2).sqrt()) * 255,
        "energy_pixels": float(energy_score(x, first, second, patch_distance)),
    }
    return figures, [t[0].clamp(0, 1).cpu() for t in (bicubic, mean, first, second, x)]
