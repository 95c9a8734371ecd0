"""The shipped weights: on photographs that scikit-image brings along they are clearly better than bicubic."""

import pytest
import torch
from skimage import data
from torch import Tensor

from vspsr import Degradation, VSpSR
from vspsr.degradation import imresize
from vspsr.metrics import perceptual_backend, psnr

# A cup of coffee (CC0, Rachel Michetti) and an astronaut (public domain, NASA): (top, left) of a 256×256 crop.
PHOTOGRAPHS = {"coffee": (80, 180), "astronaut": (0, 100)}


def photograph(name: str) -> Tensor:
    top, left = PHOTOGRAPHS[name]
    pixels = torch.from_numpy(getattr(data, name)().copy())[top : top + 256, left : left + 256]
    return pixels.permute(2, 0, 1)[None]


@pytest.mark.parametrize("photo", PHOTOGRAPHS)
@pytest.mark.parametrize("name", ["vspsr-x4", "vspsr-x4-explore", "vspsr-x8"])
def test_better_than_bicubic(name: str, photo: str) -> None:
    x, model = photograph(photo), VSpSR.from_pretrained(name)
    scale = model.scale
    y = Degradation(scale).down_uint8(x).float() / 255
    truth = x.float() / 255
    bicubic = imresize(y, scale=scale).clamp(0, 1)
    with torch.no_grad():
        space = model(y)
        mean, samples = space.mean.clamp(0, 1), space.sample(2, seed=0).clamp(0, 1)
    assert float(psnr(mean, truth)) > float(psnr(bicubic, truth)) + 0.5
    distance = perceptual_backend("stlpips-alex", "cpu")
    images = torch.cat([bicubic, *samples])
    of_bicubic, *of_samples = distance.score(images, truth[0]).distances.tolist()
    assert max(of_samples) < 0.5 * of_bicubic
