"""Calibration on a folder of a user's own kind of pictures: the factor of intervals, and what true pictures look like.

LR pictures are made from the HR pictures by the model's degradation. Where true pictures lie in the space is measured
too, so that `vspsr assess` can compare others with them.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import torch

from vspsr.evaluation.dataset import Pair, find_pairs, read_integers
from vspsr.images.picture import Picture
from vspsr.images.sources import Source
from vspsr.metrics.intervals import IntervalTally, check_count
from vspsr.model import VSpSR
from vspsr.space import SRSpace
from vspsr.upscaling.assessment import unlikeliness
from vspsr.upscaling.comparison import degrade
from vspsr.upscaling.intervals import IntervalCalibration, model_digest
from vspsr.upscaling.pictures import PictureSpace


@torch.no_grad()
def calibrate_folder(
    folder: Path,
    model: VSpSR,
    name: str,
    alpha: float = 0.1,
    delta: float = 0.1,
    rounding: str = "per-pass",
    step: Callable[[str, float], None] = lambda *_: None,
) -> IntervalCalibration:
    """The factor for intervals mean ± factor·σ, from the HR pictures of a folder.

    With probability at least 1 − delta over the choice of these pictures, the expected share of values outside of their
    intervals is at most alpha on further pictures of the same kind: see `vspsr.metrics.intervals`.

    Args:
        name: what to call the model in the file.
        alpha, delta: between 0 and 1.
        rounding: how LR integers arise, as in `quantize`.
        step: called with (name of a file, files done) for a progress bar.

    Raises:
        EvaluationError: pictures that cannot be used.
        ImageFileError: a file cannot be read.
        NotGaussianError: the model's space is not a Gaussian.
        ValueError: too few pictures, known before anything is computed; alpha or delta out of range; no factor
            suffices.
    """
    pairs = find_pairs(folder, model.scale)
    check_count(len(pairs), alpha, delta)
    tally, true = IntervalTally(), []
    for pair in pairs:
        step(pair.hr.name, 0)
        space, truth = truth_and_space(model, pair, rounding)
        tally.update(truth.to_float()[0], space.mean[0].cpu(), space.stddev[0].cpu())
        true.append(unlikeliness(space, truth.to_float().to(space.y)))
        step(pair.hr.name, 1)
    factor, gaussian = tally.factor(alpha, delta), round(NormalDist().inv_cdf(1 - alpha / 2), 3)
    return IntervalCalibration(
        model=name,
        model_sha256=model_digest(model),
        scale=model.scale,
        rounding=rounding,
        alpha=alpha,
        delta=delta,
        true_pictures=tally.n,
        factor=factor,
        coverage=tally.coverage(factor),
        joint_coverage=tally.joint_coverage(factor, alpha),
        by_size=tuple({k: round(v, 4) for k, v in size.items()} for size in tally.by_size(factor)),
        gaussian_factor=gaussian,
        gaussian_coverage=tally.coverage(gaussian),
        unlikeliness=tuple(round(u.whole, 4) for u in true),
        foreign=tuple(round(u.foreign, 4) for u in true),
    )


def truth_and_space(model: VSpSR, pair: Pair, rounding: str = "per-pass") -> tuple[SRSpace, Picture]:
    """The space of the LR picture of an HR picture, and the HR picture."""
    pixels = read_integers(pair.hr, pair)
    truth = Picture(pixels[:1] if pair.grey else pixels, pair.bits)
    lr = Source(degrade(truth, model.degradation, rounding), as_colour=True)
    return PictureSpace(model, lr, rounding=rounding).space, truth
