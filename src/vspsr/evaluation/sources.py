"""Sources of SR images: a model, a baseline, or a folder of files.

For each image of an evaluation, a source gives integer images, as files hold them: samples one by one, and the mean if
it is known without averaging samples.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vspsr.consistency.projection import project
from vspsr.consistency.quantize import quantize
from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import imresize, round_to_range
from vspsr.errors import ConsistencyWarning
from vspsr.evaluation.dataset import Pair, read_integers
from vspsr.evaluation.names import EvaluationError
from vspsr.images.picture import Picture
from vspsr.model import VSpSR
from vspsr.space.base import NotGaussianError
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


class Source(Protocol):
    """Where SR images come from."""

    n_samples: int
    """Number of samples of each image."""

    def settings(self) -> dict[str, Any]:
        """What identifies this source: shown in the report, and compared when an evaluation is resumed."""
        ...

    def draw(self, pair: Pair, lr: Picture, moments: bool = True) -> Drawn:
        """The SR images of one LR image; ``moments``: whether to compute `Drawn.gaussian`, which takes time."""
        ...


class ModelSource:
    """A VSpSR model: samples of its space, quantised to integers that downscale to the LR image exactly."""

    def __init__(
        self,
        name: str,
        scale: int,
        n_samples: int,
        seed: int,
        temperature: float | None,
        rounding: str,
        device: str = "cpu",
    ) -> None:
        self.model = VSpSR.from_pretrained(name).to(device)
        if self.model.scale != scale:
            raise EvaluationError(f"`--scale` {scale} does not fit: the model {name} upscales by {self.model.scale}")
        self.name, self.n_samples, self.seed, self.rounding = name, n_samples, seed, rounding
        self.temperature = self.model.temperature if temperature is None else temperature

    def settings(self) -> dict[str, Any]:
        """See `Source`."""
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
        """See `Source`; grey LR images get the grey space if the model has one."""
        try:
            space = PictureSpace(self.model, lr, self.temperature, rounding=self.rounding)
        except NotGaussianError:
            colour = Picture(lr.pixels.expand(3, -1, -1).contiguous(), lr.bits)
            space = PictureSpace(self.model, colour, self.temperature, rounding=self.rounding)
        samples = (_rgb(picture.pixels) for picture, _ in space.samples(self.n_samples, self.seed))
        if not space.space.is_gaussian:
            return Drawn(samples)
        closed = (_rgb(space.space.mean[0].float().cpu()), _rgb(space.stddev())) if moments else None
        return Drawn(samples, _rgb(space.mean()[0].pixels), closed)


class ResultsSource:
    """SR images in files.

    Args:
        folder: its name is the name of the results.
        n_samples: of each image.
        consistent: rounding convention of the exact projection that is applied to them; None for no projection.
    """

    def __init__(self, folder: Path, n_samples: int, consistent: str | None = None) -> None:
        self.folder, self.n_samples, self.consistent = folder, n_samples, consistent

    def settings(self) -> dict[str, Any]:
        """See `Source`."""
        name = self.folder.resolve().name
        return {"name": f"{name}+consistent" if self.consistent else name, "kind": "results", "version": ""}

    def draw(self, pair: Pair, lr: Picture, moments: bool = True) -> Drawn:
        """See `Source`."""

        def image(path: Path) -> Tensor:
            pixels = read_integers(path, pair)
            if self.consistent is None:
                return pixels
            return _quantized(pixels.double() / lr.white, lr, Degradation(pair.scale), self.consistent)

        return Drawn((image(p) for p in pair.samples), None if pair.mean is None else image(pair.mean))


class BaselineSource:
    """A baseline of the field, or a checkpoint that spandrel reads: one image for each LR image.

    Args:
        name: of the baseline, or a checkpoint's path.
        scale: s.
        checkpoint: the baseline's weights.
        consistent: whether the exact projection is applied.
        rounding: as in `quantize`.
        device: where the network runs.
    """

    n_samples = 1

    def __init__(
        self, name: str, scale: int, checkpoint: Path | None, consistent: bool, rounding: str, device: str = "cpu"
    ) -> None:
        from vspsr.baselines.baseline import load_baseline

        self.baseline = load_baseline(name, scale, checkpoint, consistent).to(device)
        self.consistent, self.rounding, self.device = consistent, rounding, device

    def settings(self) -> dict[str, Any]:
        """See `Source`."""
        baseline = self.baseline
        return {
            "name": baseline.name,
            "kind": "baseline",
            "version": baseline.version,
            "source": baseline.source,
            "licence": baseline.licence,
        }

    def draw(self, pair: Pair, lr: Picture, moments: bool = True) -> Drawn:
        """See `Source`."""
        x = self.baseline(lr.to_float().expand(1, 3, -1, -1).to(self.device))[0].cpu()
        if self.consistent:
            return Drawn(iter([_quantized(x, lr, Degradation(pair.scale), self.rounding)]))
        return Drawn(iter([_rounded(x, lr.white)]))


def bicubic(lr: Picture, scale: int) -> Tensor:
    """The LR image enlarged as MATLAB's `imresize` does on floating point, then rounded: (3, H, W) int32."""
    return _rounded(imresize(lr.pixels.double() / lr.white, scale=scale), lr.white)


def _rounded(x: Tensor, white: int) -> Tensor:
    return _rgb(round_to_range(x * white, white).int())


def _rgb(x: Tensor) -> Tensor:
    return x.expand(3, -1, -1)


def _quantized(x: Tensor, lr: Picture, degradation: Degradation, rounding: str) -> Tensor:
    """x (3, H, W) projected, then quantised to integers that downscale to the LR image."""
    target = _rgb(lr.pixels)
    projected = project(x, target.to(x.dtype) / lr.white, degradation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsistencyWarning)  # wrong LR pixels are counted and reported
        return quantize(projected, target, degradation, lr.bits, rounding).image.int()


def draw_all(drawn: Drawn, n: int, bits: int) -> Tensor:
    """All samples in one tensor: (n, 3, H, W), uint8 for 8 bits, else int32.

    Raises:
        EvaluationError: there are not n of them.
    """
    samples: Tensor | None = None
    count = 0
    for count, image in enumerate(drawn.samples, 1):
        if samples is None:
            samples = torch.empty(n, *image.shape, dtype=torch.uint8 if bits == 8 else torch.int32)
        if count <= n:
            samples[count - 1] = image
    if samples is None or count != n:
        raise EvaluationError(f"{count} samples where {n} were expected")
    return samples
