"""Sources of SR images: a model, a baseline, or a folder of files.

For each image of an evaluation, a source gives integer images, as files hold them: samples one by one, and the mean if
it is known without averaging samples.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vspsr.consistency.projection import project
from vspsr.consistency.quantize import quantized
from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import round_to_range
from vspsr.evaluation.dataset import Pair, read_integers
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.protocol import ROUNDING, SAMPLES
from vspsr.evaluation.request import Request
from vspsr.images.picture import Picture
from vspsr.images.sources import Source
from vspsr.model import VSpSR
from vspsr.state_dicts import digest_of
from vspsr.upscaling.pictures import PictureSpace


@dataclass(frozen=True)
class Drawn:
    """The SR images of one LR image, each (3, H, W) int32.

    Attributes:
        samples: to be iterated once.
        mean: the mean image; None: the mean of the samples is taken.
        gaussian: mean and (calibrated) standard deviation of the space in closed form, (3, H, W) float in units of the
            full range, before rounding; None without a closed form.
    """

    samples: Iterator[Tensor]
    mean: Tensor | None = None
    gaussian: tuple[Tensor, Tensor] | None = None


def source_for(request: Request, n_found: int, device: str) -> "ModelSource | ResultsSource | BaselineSource":
    """The source that is asked for; ``n_found``: number of samples of each image found in ``request.results``.

    `settings` identifies a source: shown in the report, and compared when an evaluation is resumed. `draw` gives the
    ``n_samples`` SR images of one LR image; ``moments``: whether to compute `Drawn.gaussian`, which takes time.
    """
    if request.model is not None:
        return ModelSource(request.model, request, device)
    if request.results is not None:
        return ResultsSource(request.results, n_found, request.consistent)
    assert request.baseline is not None
    return BaselineSource(request.baseline, request, device)


class ModelSource:
    """A VSpSR model: samples of its space, quantised to integers that downscale to the LR image exactly."""

    def __init__(self, name: str, request: Request, device: str) -> None:
        self.model = VSpSR.from_pretrained(name).to(device)
        if self.model.scale != request.scale:
            raise EvaluationError(
                f"`--scale` {request.scale} does not fit: the model {name} upscales by {self.model.scale}"
            )
        self.name, self.seed = name, request.seed
        self.n_samples = SAMPLES if request.samples is None else request.samples
        self.temperature = self.model.temperature if request.temperature is None else request.temperature

    def settings(self) -> dict[str, Any]:
        """See `source_for`."""
        config = json.loads(json.dumps(self.model.config))
        return {
            "name": Path(self.name).name,
            "kind": "model",
            "model": "/".join(Path(self.name).parts[-2:]),
            "version": f"weights sha256 {digest_of(self.model.state_dict())}",
            "architecture": {"network": config["network"], "kernel": config["kernel"], **config["options"]},
            "seed": self.seed,
            "temperature": self.temperature,
            "calibration": self.model.calibration,
        }

    def draw(self, pair: Pair, lr: Picture, moments: bool = True) -> Drawn:
        """See `source_for`; grey LR images get the grey space if the model has one."""
        colours = Source(replace(lr, pixels=_rgb(lr.pixels).contiguous()), as_colour=not lr.is_grey)
        space = PictureSpace(self.model, colours, self.temperature, rounding=ROUNDING)
        samples = (picture.pixels for picture, _ in space.samples(self.n_samples, self.seed))
        if not space.space.is_gaussian:
            return Drawn(samples)
        closed = (_rgb(space.space.mean[0].float().cpu()), space.stddev()) if moments else None
        return Drawn(samples, space.mean()[0].pixels, closed)


class ResultsSource:
    """SR images in files of a folder, which names them; ``consistent``: the exact projection is applied to them."""

    def __init__(self, folder: Path, n_samples: int, consistent: bool) -> None:
        self.folder, self.n_samples, self.consistent = folder, n_samples, consistent

    def settings(self) -> dict[str, Any]:
        """See `source_for`."""
        name = self.folder.resolve().name
        return {"name": f"{name}+consistent" if self.consistent else name, "kind": "results", "version": ""}

    def draw(self, pair: Pair, lr: Picture, moments: bool = True) -> Drawn:
        """See `source_for`."""

        def image(path: Path) -> Tensor:
            pixels = read_integers(path, pair)
            return _quantized(pixels.double() / lr.white, lr, pair.scale) if self.consistent else pixels

        return Drawn((image(p) for p in pair.samples), None if pair.mean is None else image(pair.mean))


class BaselineSource:
    """A baseline of the field, or a checkpoint that spandrel reads: one image for each LR image."""

    n_samples = 1

    def __init__(self, name: str, request: Request, device: str) -> None:
        from vspsr.baselines.baseline import load_baseline

        self.baseline = load_baseline(name, request.scale, request.checkpoint, request.consistent).to(device)
        self.consistent, self.device = request.consistent, device

    def settings(self) -> dict[str, Any]:
        """See `source_for`."""
        baseline = self.baseline
        return {
            "name": baseline.name,
            "kind": "baseline",
            "version": baseline.version,
            "source": baseline.source,
            "licence": baseline.licence,
        }

    def draw(self, pair: Pair, lr: Picture, moments: bool = True) -> Drawn:
        """See `source_for`."""
        x = self.baseline(lr.to_float().expand(1, 3, -1, -1).to(self.device))[0].cpu()
        if self.consistent:
            return Drawn(iter([_quantized(x, lr, pair.scale)]))
        return Drawn(iter([round_to_range(x * lr.white, lr.white).int()]))


def _rgb(x: Tensor) -> Tensor:
    return x.expand(3, -1, -1)


def _quantized(x: Tensor, lr: Picture, scale: int) -> Tensor:
    """x (3, H, W) projected, then quantised to integers that downscale to the LR image."""
    target, degradation = _rgb(lr.pixels), Degradation(scale)
    projected = project(x, target.to(x.dtype) / lr.white, degradation)
    return quantized(projected, target, degradation, lr.bits, ROUNDING, None).image.int()  # wrong LR: counted later
