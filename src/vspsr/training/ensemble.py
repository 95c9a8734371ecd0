"""The mean image as the averaged weights give it for the LR image turned: a target with little noise in it.

A network that has to learn it is led to the average over the eight turns and flips of its own answers (geometric
self-ensemble, Lim et al. 2017, EDSR), which is better by about 0.1 dB, at the price of one evaluation a step and none
when it is used. With the averaged weights as the teacher: Tarvainen & Valpola 2017.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vspsr.data.crops import random_stream
from vspsr.degradation import Degradation
from vspsr.training.sampling import centre, projected

__all__ = ["turned_mean"]

_TURN = 4  # stream of random numbers, apart from those of the data, the noise and the grids


@torch.no_grad()
def turned_mean(
    network: nn.Module,
    y: Tensor,
    degradation: Degradation,
    stream: tuple[int, int],
    projection: bool,
    autocast: AbstractContextManager[None],
) -> Tensor:
    """The image at temperature 0 of ``y`` turned or flipped, turned back: (B, 3, H, W).

    Args:
        network: what is asked: y → `SpaceParameters`.
        y: LR images (B, 3, h, w) in [0, 1].
        degradation: D.
        stream: (seed, step): of the seven that change an image, one is chosen for the whole batch.
        projection: whether the result is projected onto consistency with ``y``.
        autocast: context in which the network is evaluated.
    """
    seed, step = stream
    choice = int(random_stream(seed, _TURN, step).integers(1, 8))
    turned = y.rot90(choice % 4, (2, 3))
    if choice >= 4:
        turned = turned.flip(3)
    with autocast:
        parameters = network(turned.contiguous(memory_format=torch.channels_last))
    mean = centre(parameters.map_tensors(Tensor.float), degradation.scale)
    if choice >= 4:
        mean = mean.flip(3)
    mean = mean.rot90(-(choice % 4), (2, 3))
    return projected([mean], y, degradation)[0] if projection else mean
