"""The options of `vspsr evaluate`, checked, and small enough to be sent to other processes; the protocols.

"ntire21" is that of the NTIRE 2021 challenge on learning the super-resolution space (Lugmayr et al., CVPR workshops
2021): perceptual maps and LR-PSNR on the truth cropped to multiples of 8 at the bottom and the right, at x4 and x8
alike; LR images by MATLAB's `imresize` on integers, rounded after each axis, of SR and of the truth; images in [0, 1]
seen by the network as [−1, 1]; 10 samples. "whole" differs only in that nothing is cropped.

PSNR, SSIM, standard deviations and calibration are measured on the whole image; PSNR and SSIM optionally without a
border.
"""

from dataclasses import dataclass
from pathlib import Path

from vspsr.checks import check_seed, check_temperature
from vspsr.degradation.operator import Degradation
from vspsr.metrics.backends import BACKENDS

PROTOCOLS = {
    "ntire21": (8, "NTIRE 2021: perceptual maps and LR-PSNR on the crop to multiples of 8"),
    "whole": (1, "as NTIRE 2021, but on the whole image"),
}
"""Name → (sides of the part for perceptual maps and LR-PSNR are multiples of it, title)."""

ROUNDING = "per-pass"
"""How LR integers arise, see `Degradation.down_integers`."""

SAMPLES = 10
"""Default number of samples."""


@dataclass(frozen=True)
class Request:
    """What to evaluate, and how. Exactly one of ``model``, ``results`` and ``baseline`` is given.

    Attributes:
        model: as `VSpSR.from_pretrained` takes it.
        results: a folder of SR images.
        baseline: as `load_baseline` takes it.
        checkpoint: the baseline's weights.
        consistent: whether the exact projection is applied to the baseline or the results.
        hr, lr: folders; None for lr: LR is made from HR.
        scale: s.
        samples: number of samples of each image; None: the protocol's, or all in ``results``. A baseline always
            gives one image.
        seed, temperature: of the model's samples.
        backend: of `vspsr.metrics.BACKENDS`.
        protocol: of `PROTOCOLS`.
        border: pixels left out on each side for PSNR and SSIM.
        channel: "rgb" or "y", of SSIM.
        details: whether SSIM, calibration and the distance between samples are computed.
        pictures: how many images get pictures in the report.
    """

    hr: Path
    scale: int
    model: str | None = None
    results: Path | None = None
    baseline: str | None = None
    checkpoint: Path | None = None
    consistent: bool = False
    lr: Path | None = None
    samples: int | None = None
    seed: int = 0
    temperature: float | None = None
    backend: str = "stlpips-alex"
    protocol: str = "ntire21"
    border: int = 0
    channel: str = "y"
    details: bool = True
    pictures: int = 20

    def __post_init__(self) -> None:
        given = [k for k in ("model", "results", "baseline") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of --model, --results and --baseline, got {' and '.join(given) or 'none'}"
            )
        for name, offered in (("backend", BACKENDS), ("protocol", tuple(PROTOCOLS)), ("channel", ("rgb", "y"))):
            if getattr(self, name) not in offered:
                raise ValueError(f"`--{name}` must be one of {', '.join(offered)}, got {getattr(self, name)!r}")
        for name, least in (("samples", 1), ("border", 0), ("pictures", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`--{name}` must be at least {least}, got {value}")
        if self.checkpoint is not None and self.baseline is None:
            raise ValueError("`--checkpoint` goes with --baseline")
        if self.consistent and self.model is not None:
            raise ValueError(
                "`--consistent` goes with --baseline or --results: samples of a model are consistent anyway"
            )
        check_seed(self.seed)
        if self.temperature is not None:
            check_temperature(self.temperature)
            if self.model is None:
                raise ValueError("`--temperature` goes with --model")
        Degradation(self.scale)
