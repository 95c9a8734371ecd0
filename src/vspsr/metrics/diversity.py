"""Diversity. Papers use this word for three different quantities; here each has its own name.

Diversity score (NTIRE 2021 challenge on learning the SR space, Lugmayr et al. 2021). With dᵢ(p) the perceptual distance
of sample i from the truth at pixel p,

    S_n = 100 · (G − L)/G,   G = min_i mean_p dᵢ(p),   L = mean_p min_i dᵢ(p):

the gain of the best sample at each pixel over the one best sample. The mean pixel standard deviation (SRFlow and
others) and the mean perceptual distance of two samples (`PerceptualScore.pairwise`) do not use the truth.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vspsr.checks import tensor_text
from vspsr.metrics.images import check_peak

_STRIP = 64


@dataclass(frozen=True)
class DiversityScore:
    """The diversity score of one image's samples.

    Attributes:
        score: S_n in [0, 100], higher is better. NaN where a sample is perfect (G = 0): not defined then.
        global_best: G, the smallest mean distance.
        local_best: L, the mean of the smallest distance at each pixel.
        global_each: mean distance of each sample, n values; their mean is the challenge's "LPIPS".
        curve: S_1 … S_n, of the first k samples; S_1 = 0.
    """

    score: float
    global_best: float
    local_best: float
    global_each: list[float]
    curve: list[float]


def diversity_score(maps: Tensor) -> DiversityScore:
    """The diversity score on the distance maps (n, H, W) of n samples (`PerceptualScore.maps`), n ≥ 1.

    Raises:
        ValueError: another shape, values that are negative or not finite.
    """
    if not isinstance(maps, Tensor) or maps.ndim != 3 or maps.numel() == 0 or not maps.is_floating_point():
        raise ValueError(f"`maps` must be distances (n, H, W), got {tensor_text(maps)}")
    least, most = (float(v) for v in maps.aminmax())
    if not (least >= 0 and most < math.inf):
        raise ValueError(f"`maps` must be finite and not negative, got values from {least:g} to {most:g}")
    each = [float(m.mean(dtype=torch.float64)) for m in maps]
    nearest, curve = maps[0], []
    global_best = local_best = each[0]
    for i, m in enumerate(maps):
        if i:
            nearest = torch.minimum(nearest, m)
            local_best = float(nearest.mean(dtype=torch.float64))
        global_best = min(global_best, each[i])
        curve.append(100 * (global_best - local_best) / global_best if global_best > 0 else math.nan)
    return DiversityScore(curve[-1], global_best, local_best, each, curve)


def pixel_stddev(samples: Tensor, peak: float = 255) -> float:
    """Standard deviation across samples, averaged over pixels and channels, in levels 0–255 whatever the bit depth.

    Range [0, 181); neither direction is better by itself. The variance is divided by n − 1, so that its expectation
    does not depend on n (numpy and some papers divide by n, which is smaller by √(1 − 1/n)).

    Args:
        samples: (n, ..., H, W) in 0 … peak, n ≥ 2.
        peak: 255 for 8 bits, 65535 for 16, 1 for [0, 1].

    Raises:
        ValueError: fewer than two samples.
    """
    check_peak(peak)
    if not isinstance(samples, Tensor) or samples.ndim < 3 or len(samples) < 2:
        raise ValueError(f"`samples` must be at least two images (n, C, H, W), got {tensor_text(samples)}")
    # A strip of rows at a time: no n images in double precision at once.
    total = sum(float(strip.double().std(0).sum()) for strip in samples.split(_STRIP, -2))
    return total / samples[0].numel() * 255 / peak
