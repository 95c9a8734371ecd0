"""Full validation images, deterministic: no crops, fixed noise, the averaged weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.data.cache import read_rgb
from vspsr.data.files import ImagePair
from vspsr.degradation.resize import imresize
from vspsr.model import VSpSR
from vspsr.training.losses.energy import energy_score, patch_distance

__all__ = ["ValidationImage", "read_pair", "validate_image"]


@dataclass(frozen=True)
class ValidationImage:
    """Figures of one image, and its pictures (3, H, W): bicubic, mean, two samples, HR."""

    figures: dict[str, float]
    pictures: list[Tensor]


def read_pair(pair: ImagePair, model: VSpSR) -> tuple[Tensor, Tensor]:
    """HR and LR image, (1, 3, H, W) and (1, 3, h, w) in [0, 1]; HR is cut to a multiple of the scale."""
    scale = model.scale
    hr = read_rgb(pair.hr)
    rows, columns = (n // scale for n in hr.shape[1:])
    hr = hr[:, : rows * scale, : columns * scale]
    lr = model.degradation.down_uint8(hr) if pair.lr is None else read_rgb(pair.lr)[:, :rows, :columns]
    return hr[None].float() / 255, lr[None].float() / 255


@torch.no_grad()
def validate_image(pair: ImagePair, model: VSpSR, device: torch.device) -> ValidationImage:
    """Figures of one image: PSNR (RGB, whole image, clipped), spread, the energy score in pixels of two samples.

    Samples are those of seed 0 at temperature 1.
    """
    x, y = (t.to(device) for t in read_pair(pair, model))
    space = model(y)
    first, second = space.sample(2, seed=0, temperature=1.0)
    mean = space.mean if space.is_gaussian else space.sample(1, seed=0, temperature=0.0)[0]
    bicubic = imresize(y, scale=model.scale)
    figures = {
        "psnr_bicubic": _psnr(x, bicubic),
        "psnr_mean": _psnr(x, mean),
        "psnr_sample": 0.5 * (_psnr(x, first) + _psnr(x, second)),
        "spread": float((first - second).square().mean().div(2).sqrt()) * 255,
        "energy_pixels": float(energy_score(x, first, second, patch_distance)),
    }
    return ValidationImage(figures, [t[0].clamp(0, 1).cpu() for t in (bicubic, mean, first, second, x)])


def _psnr(x: Tensor, image: Tensor) -> float:
    error = (x - image.clamp(0, 1)).square().mean()
    return float(-10 * error.clamp_min(1e-10).log10())
