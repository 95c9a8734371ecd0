"""The metrics as torchmetrics classes: ``update`` with images, ``compute`` over all seen, mergeable across processes.

Every state is a sum, a minimum or a maximum, so memory does not grow and processes are merged exactly. Infinite values
are counted, never averaged away: ``compute`` gives a dictionary of

    mean      over the finite values; infinite where all are; NaN where there is none
    worst     over all values
    finite, infinite, undefined     how many values are so (undefined: NaN)
"""

import math
from typing import Any

import torch
from torch import Tensor

from vspsr.degradation.operator import Degradation
from vspsr.errors import ModelError
from vspsr.metrics.calibration import calibrate
from vspsr.metrics.consistency import lr_mismatches, lr_psnr
from vspsr.metrics.diversity import diversity_score, pixel_stddev
from vspsr.metrics.fidelity import psnr, ssim
from vspsr.metrics.perceptual import Backend
from vspsr.metrics.tallies import LEVELS, Calibration

try:
    from torchmetrics import Metric  # type: ignore[import-not-found]
except ImportError as error:  # pragma: no cover
    raise ModelError("the metric classes need the package torchmetrics: install vspsr[eval]") from error

__all__ = [
    "LRPSNR",
    "PSNR",
    "SSIM",
    "CalibrationTally",
    "Diversity",
    "LRMismatches",
    "PairwiseDistance",
    "PerceptualDistance",
    "PixelStddev",
]


class _Values(Metric):  # type: ignore[misc]
    """Values, one per image or sample, in bounded memory."""

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        worst = math.inf if self.higher_is_better else -math.inf
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("worst", torch.tensor(worst, dtype=torch.float64), dist_reduce_fx="min" if worst > 0 else "max")
        for name in ("finite", "infinite", "undefined"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.total: Tensor
        self.worst: Tensor
        self.finite: Tensor
        self.infinite: Tensor
        self.undefined: Tensor

    def _add(self, values: Tensor | float) -> None:
        values = torch.as_tensor(values, dtype=torch.float64, device=self.total.device).flatten()
        finite, nan = values.isfinite(), values.isnan()
        self.total = self.total + values[finite].sum()
        self.finite = self.finite + finite.sum()
        self.undefined = self.undefined + nan.sum()
        self.infinite = self.infinite + (~finite & ~nan).sum()
        if not bool(nan.all()):
            worst = values[~nan]
            pair = torch.minimum if self.higher_is_better else torch.maximum
            self.worst = pair(self.worst, worst.min() if self.higher_is_better else worst.max())

    def compute(self) -> dict[str, Tensor]:
        """See the module: mean, worst, finite, infinite, undefined."""
        if self.finite:
            mean = self.total / self.finite
        else:
            mean = torch.full_like(self.total, math.inf if self.infinite else math.nan)
        seen = bool(self.finite + self.infinite)
        return {
            "mean": mean,
            "worst": self.worst if seen else torch.full_like(self.worst, math.nan),
            "finite": self.finite,
            "infinite": self.infinite,
            "undefined": self.undefined,
        }


class PSNR(_Values):
    """`psnr` in dB, [0, ∞], higher is better; ``channel`` and ``border`` as there."""

    higher_is_better = True

    def __init__(self, peak: float = 255, channel: str = "rgb", border: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = (peak, channel, border)

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """SR and GT images (..., C, H, W) in 0 … peak."""
        self._add(psnr(sr, hr, *self.options))


class SSIM(_Values):
    """`ssim`, [−1, 1], higher is better."""

    higher_is_better = True

    def __init__(self, peak: float = 255, channel: str = "rgb", border: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = (peak, channel, border)

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """SR and GT images (..., C, H, W) in 0 … peak."""
        self._add(ssim(sr, hr, *self.options))


class LRPSNR(_Values):
    """`lr_psnr` in dB, [0, ∞], higher is better; by default the challenge's, against the GT image downscaled."""

    higher_is_better = True

    def __init__(
        self, degradation: Degradation, bits: int = 8, rounding: str = "per-pass", against: str = "hr", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.options = (degradation, bits, rounding, against)

    def update(self, sr: Tensor, reference: Tensor) -> None:
        """SR images of integers (..., C, H, W) and what ``against`` says: GT or LR images."""
        self._add(lr_psnr(sr, reference, *self.options))


class LRMismatches(_Values):
    """`lr_mismatches`: LR pixels that differ, 0 … number of LR pixels, lower is better."""

    higher_is_better = False

    def __init__(
        self, degradation: Degradation, bits: int = 8, rounding: str = "per-pass", against: str = "lr", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.options = (degradation, bits, rounding, against)

    def update(self, sr: Tensor, reference: Tensor) -> None:
        """SR images of integers (..., C, H, W) and what ``against`` says: GT or LR images."""
        self._add(lr_mismatches(sr, reference, *self.options))


class PerceptualDistance(_Values):
    """Mean of the distance map of each sample, [0, ∞), lower is better: the challenge's LPIPS with "lpips-alex"."""

    higher_is_better = False

    def __init__(self, backend: Backend, peak: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backend, self.peak = backend, peak

    def update(self, samples: Tensor, truth: Tensor) -> None:
        """Samples (n, 3, H, W) and truth (3, H, W) in 0 … peak."""
        self._add(self.backend.maps(samples, truth, self.peak).mean((1, 2), dtype=torch.float64))


class PairwiseDistance(_Values):
    """`pairwise_distance` of each image's samples, [0, ∞); neither direction is better by itself."""

    def __init__(self, backend: Backend, peak: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backend, self.peak = backend, peak

    def update(self, samples: Tensor) -> None:
        """Samples (n, 3, H, W) in 0 … peak of one image."""
        self._add(self.backend.pairwise(samples, self.peak))


class PixelStddev(_Values):
    """`pixel_stddev` of each image's samples in levels 0–255, [0, 181); neither direction is better by itself."""

    def __init__(self, peak: float = 255, correction: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = (peak, correction)

    def update(self, samples: Tensor) -> None:
        """Samples (n, C, H, W) in 0 … peak of one image."""
        self._add(pixel_stddev(samples, *self.options))


class Diversity(_Values):
    """`diversity_score` of each image, [0, 100], higher is better; images with a perfect sample are "undefined".

    Args:
        n_samples: of every image.

    ``compute`` adds to the dictionary the mean ``global_best`` and ``local_best`` over all images, and ``curve``: the
    mean of S_k over the images where it is defined, (n_samples,). "mean" is the challenge's score.
    """

    higher_is_better = True

    def __init__(self, n_samples: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_samples = n_samples
        for name in ("curve_total", "curve_count"):
            self.add_state(name, torch.zeros(n_samples, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("best_total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.curve_total: Tensor
        self.curve_count: Tensor
        self.best_total: Tensor

    def update(self, maps: Tensor) -> None:
        """Distance maps (n_samples, H, W) of one image."""
        if len(maps) != self.n_samples:
            raise ValueError(f"`maps` must be of {self.n_samples} samples, got {len(maps)}")
        result = diversity_score(maps)
        curve = torch.tensor(result.curve, dtype=torch.float64, device=self.total.device)
        best = torch.tensor([result.global_best, result.local_best], dtype=torch.float64, device=self.total.device)
        self.curve_total = self.curve_total + curve.nan_to_num(0.0)
        self.curve_count = self.curve_count + (~curve.isnan())
        self.best_total = self.best_total + best
        self._add(result.score)

    def compute(self) -> dict[str, Tensor]:
        """See the class."""
        best = self.best_total / (self.finite + self.undefined)
        own = {"global_best": best[0], "local_best": best[1], "curve": self.curve_total / self.curve_count}
        return {**super().compute(), **own}


class CalibrationTally(Metric):  # type: ignore[misc]
    """`calibrate` of all images.

    ``compute`` gives a dictionary: ``energy_score`` and ``patch_energy_score``; ``crps``, ``spread_skill``,
    ``coverage`` (of the intervals LEVELS) and ``pit`` of the samples; the same of the Gaussian as ``gaussian_crps`` and
    so on; and ``numbers``, from which ``Calibration.from_numbers(numbers.tolist(), n_samples)`` makes the tally itself.

    Args:
        n_samples: of every image.
        gaussian: whether ``update`` is given closed-form means and standard deviations.
        step, peak: as of `calibrate`.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = None

    def __init__(
        self, n_samples: int, gaussian: bool = False, step: float | None = None, peak: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n_samples, self.gaussian, self.options = n_samples, gaussian, (step, peak)
        empty = torch.tensor(Calibration.empty(n_samples, gaussian).numbers(), dtype=torch.float64)
        self.add_state("numbers", empty, dist_reduce_fx="sum")
        self.numbers: Tensor

    def update(self, samples: Tensor, truth: Tensor, mean: Tensor | None = None, stddev: Tensor | None = None) -> None:
        """One image; arguments as of `calibrate`."""
        if len(samples) != self.n_samples or (mean is not None) != self.gaussian:
            raise ValueError(
                f"{self.n_samples} samples {'with' if self.gaussian else 'without'} `mean` and `stddev` expected, got "
                f"{len(samples)} {'without' if mean is None else 'with'}"
            )
        tally = calibrate(samples, truth, mean, stddev, *self.options).numbers()
        self.numbers = self.numbers + torch.tensor(tally, dtype=torch.float64, device=self.numbers.device)

    def compute(self) -> dict[str, Tensor]:
        """See the class."""
        tally = Calibration.from_numbers(self.numbers.tolist(), self.n_samples)
        out: dict[str, Any] = {"energy_score": tally.energy_score, "patch_energy_score": tally.patch_energy_score}
        for prefix, marginals in (("", tally.samples), ("gaussian_", tally.gaussian)):
            if marginals is not None:
                out[prefix + "crps"] = marginals.crps
                out[prefix + "spread_skill"] = marginals.spread_skill
                out[prefix + "coverage"] = [marginals.coverage(level) for level in LEVELS]
                out[prefix + "pit"] = marginals.pit
        own = {name: torch.tensor(v, dtype=torch.float64, device=self.numbers.device) for name, v in out.items()}
        return {**own, "numbers": self.numbers}
