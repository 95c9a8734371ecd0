"""All figures of one image, from its SR images: what `vspsr evaluate` does with each image."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vspsr.degradation.operator import Degradation
from vspsr.evaluation.dataset import Pair, read_integers
from vspsr.evaluation.names import EvaluationError
from vspsr.evaluation.protocol import PROTOCOLS, ROUNDING
from vspsr.evaluation.request import Request
from vspsr.evaluation.sources import source_for
from vspsr.images.io import read_header, read_image
from vspsr.images.picture import Picture, bicubic
from vspsr.metrics.backends import perceptual_backend
from vspsr.metrics.calibration import calibrate
from vspsr.metrics.consistency import lr_agreement
from vspsr.metrics.diversity import diversity_score, pixel_stddev
from vspsr.metrics.fidelity import psnr, ssim
from vspsr.metrics.images import crop_to_multiple
from vspsr.metrics.perceptual import PerceptualScore
from vspsr.report.pictures import write_pictures
from vspsr.report.records import ImageRecord, SampleRow


class Scorer:
    """Scores images one by one; holds the source and the perceptual network."""

    def __init__(self, request: Request, n_found: int = 0, device: str = "cpu") -> None:
        self.request, self.device = request, device
        self.multiple, self.title = PROTOCOLS[request.protocol]
        self.crop = partial(crop_to_multiple, multiple=self.multiple)
        self.backend = perceptual_backend(request.backend, device)
        self.source = source_for(request, n_found, device)
        self.degradation = Degradation(request.scale)

    @property
    def smallest(self) -> int:
        """Smallest side of an image in pixels."""
        window = 11 if self.request.details else 1  # of SSIM
        return max(-(-self.backend.min_size // self.multiple) * self.multiple, window + 2 * self.request.border)

    def settings(self) -> dict[str, Any]:
        """Everything that the figures depend on besides the images."""
        request = self.request
        return {
            **self.source.settings(),
            "hr": request.hr.resolve().name,
            "lr": None if request.lr is None else request.lr.resolve().name,
            "scale": request.scale,
            "samples": self.source.n_samples,
            "backend": self.backend.name,
            "backend_version": self.backend.version,
            "backend_range": self.backend.range,
            "protocol": request.protocol,
            "protocol_title": self.title,
            "degradation": {"kernel": "bicubic", "rounding": ROUNDING},
            "border": request.border,
            "channel": request.channel,
            "details": request.details,
            "device": torch.device(self.device).type,
        }

    def score(self, pair: Pair, folder: Path | None = None) -> ImageRecord:
        """All figures of one image; its pictures go to ``folder``, None for no pictures.

        Raises:
            ImageFileError: a file cannot be decoded.
            EvaluationError: files have changed since they were checked.
        """
        started = time.monotonic()
        files = pair.digests()
        hr, lr = self._truth(pair)
        details = self.request.details
        drawn = self.source.draw(pair, lr, moments=details or folder is not None)
        kind = torch.uint8 if pair.bits == 8 else torch.int32
        samples = torch.empty(self.source.n_samples, 3, *pair.size, dtype=kind)
        for place, image in zip(samples, drawn.samples, strict=True):
            place.copy_(image)
        centre, sigma = drawn.gaussian or (None, None)
        several = len(samples) > 1
        mean = drawn.mean
        if mean is None and several and details:
            mean = (samples.sum(0, dtype=torch.int64).double() / len(samples)).round().int()
        enlarged = bicubic(lr, pair.size).pixels.expand(3, -1, -1)
        others = torch.stack([x for x in (mean, enlarged) if x is not None])
        crop, white = self.crop, lr.white
        truth = crop(hr)
        perceptual = self.backend.score(crop(samples), truth, pairwise=several and details, peak=white)
        beside = self.backend.score(crop(others), truth, peak=white)
        rows = self._rows(pair, hr, lr, samples, perceptual)
        beside_rows = [replace(row, index=None) for row in self._rows(pair, hr, lr, others, beside)]
        diversity = diversity_score(perceptual.maps)
        record = ImageRecord(
            stem=pair.stem,
            height=pair.size[0],
            width=pair.size[1],
            bits=pair.bits,
            n_samples=len(samples),
            lr_pixels=pair.lr_size[0] * pair.lr_size[1],
            samples=rows,
            mean=None if mean is None else beside_rows[0],
            bicubic=beside_rows[-1],
            global_best=diversity.global_best if several else None,
            local_best=diversity.local_best if several else None,
            score=diversity.score if several else None,
            curve=list(diversity.curve) if several else None,
            pixel_stddev=pixel_stddev(samples, white) if several else None,
            pairwise=perceptual.pairwise,
            calibration=calibrate(samples, hr, centre, sigma, peak=white) if several and details else None,
            files=files,
        )
        if folder is not None:
            profile = read_header(pair.hr, verify=False).profile
            pictures = write_pictures(folder, hr, lr, samples, mean, others[-1], perceptual.maps, sigma, profile)
            record = replace(record, pictures=pictures)
        return replace(record, seconds=round(time.monotonic() - started, 3))

    def _truth(self, pair: Pair) -> tuple[Tensor, Picture]:
        """The HR image (3, H, W) and the LR image of it, grey where both are."""
        hr = read_integers(pair.hr, pair)
        if pair.lr is None:
            colours = hr[:1] if pair.grey else hr
            return hr, Picture(self.degradation.down_integers(colours, pair.bits, ROUNDING), pair.bits)
        lr = read_image(pair.lr)
        if lr.bits != pair.bits or lr.size != pair.lr_size:
            raise EvaluationError(f"{pair.lr}: has changed since it was checked: start again")
        return hr, Picture(lr.pixels, lr.bits)

    def _rows(self, pair: Pair, hr: Tensor, lr: Picture, images: Tensor, score: PerceptualScore) -> list[SampleRow]:
        """The figures of each image (n, 3, H, W)."""
        white, border, channel = lr.white, self.request.border, self.request.channel
        lr_psnr, from_lr, wrong = self._consistency(pair, hr, lr, images)
        similarity = ssim(images, hr, white, channel, border).tolist() if self.request.details else [None] * len(images)
        columns = zip(
            (float(m.mean(dtype=torch.float64)) for m in score.maps),
            score.distances.tolist(),
            psnr(images, hr, white, "rgb", border).tolist(),
            psnr(images, hr, white, "y", border).tolist(),
            similarity,
            lr_psnr.tolist(),
            [None] * len(images) if pair.lr is None else from_lr.tolist(),
            wrong.tolist(),
            strict=True,
        )
        return [SampleRow(i, *row) for i, row in enumerate(columns)]

    def _consistency(self, pair: Pair, hr: Tensor, lr: Picture, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The challenge's LR-PSNR, LR-PSNR against the LR image and the number of wrong LR pixels, of each image."""

        def against(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            return lr_agreement(x, target, self.degradation, lr.bits, ROUNDING)

        from_lr, wrong = against(images, lr.pixels.expand(3, -1, -1))
        truth = self.crop(hr)
        if pair.lr is None and truth.shape == hr.shape:
            return from_lr, from_lr, wrong  # LR is the downscaled truth, and nothing is cropped
        cropped, _ = against(self.crop(images), self.degradation.down_integers(truth, lr.bits, ROUNDING))
        return cropped, from_lr, wrong
