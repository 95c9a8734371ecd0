"""The options of `vspsr evaluate`, checked, and small enough to be sent to other processes."""

from dataclasses import dataclass
from pathlib import Path

from vspsr.checks import check_choice, check_seed, check_temperature
from vspsr.degradation.operator import Degradation
from vspsr.evaluation.protocol import PROTOCOLS
from vspsr.metrics.backends import BACKENDS


@dataclass(frozen=True)
class Request:
    """What to evaluate, and how. Exactly one of ``model``, ``results`` and ``baseline`` is given.

    Attributes:
        model, baseline: as `VSpSR.from_pretrained` and `load_baseline` take them.
        checkpoint: the baseline's weights.
        consistent: whether the exact projection is applied to the baseline or the results.
        hr, lr, results: folders of HR, LR and SR images; None for lr: LR is made from HR.
        scale: s.
        samples: number of samples of each image; None: the protocol's, or all in ``results``. A baseline always
            gives one image.
        seed, temperature: of the model's samples.
        backend, protocol: of `vspsr.metrics.BACKENDS` and `PROTOCOLS`.
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
        for name, offered in (("backend", BACKENDS), ("protocol", PROTOCOLS), ("channel", ("rgb", "y"))):
            check_choice(getattr(self, name), f"--{name}", offered)
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
