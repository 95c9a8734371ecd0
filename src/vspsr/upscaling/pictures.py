"""From pictures to pictures: super-resolve whatever an image file can hold, by the model's space.

Grey pictures get the grey space, so that they stay grey. Alpha is upscaled by itself, once for all samples. Every
picture that comes out downscales to the one that went in, bit for bit, or the report says by how much it does not.
Of a JPEG, it downscales to a picture that is saved as this file, coefficient for coefficient.
"""

import warnings
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from vspsr.consistency.jpeg_member import JpegMembers
from vspsr.consistency.projection import project_unchecked
from vspsr.consistency.quantize import Quantized, quantize
from vspsr.degradation.gaussian_noise import lr_posterior
from vspsr.degradation.jpeg_coefficients import JpegCoefficients
from vspsr.degradation.jpeg_set import JpegSet
from vspsr.degradation.resize import imresize
from vspsr.errors import ConsistencyWarning
from vspsr.images.io import check_memory
from vspsr.images.picture import Picture, bleed, to_bits
from vspsr.images.sources import source_of
from vspsr.model import VSpSR
from vspsr.space import JpegSpace, NoisySpace, SRSpace, image_key
from vspsr.upscaling.exactness import Exactness
from vspsr.upscaling.noise import noise_of

MAX_SAMPLES = 10_000
_RANGE_STEPS, _RANGE_TOLERANCE = 8, 0.5 / 255  # of alternating projections; values out of range by less are rounded


@dataclass(frozen=True)
class Upscaled:
    """What `upscale` returns.

    Attributes:
        samples: HR pictures, all different, all consistent with the LR picture.
        mean: the mean of the space, consistent too; of a JPEG its `JpegSpace.centre`.
        stddev: (C, H, W) float32, standard deviation of each value in units of the full range (times 255 for 8-bit
            levels); of the space before rounding and clipping to range.
        exactness: of each sample, then of the mean.
        space: the space itself, for more.
    """

    samples: list[Picture]
    mean: Picture
    stddev: Tensor
    exactness: list[Exactness]
    space: SRSpace

    @property
    def exact(self) -> bool:
        """Whether every picture downscales to the LR picture bit for bit, or to one that gives the JPEG."""
        return all(e.exact for e in self.exactness)


@dataclass
class PictureSpace:
    """The super-resolution space of one picture: the network has run, pictures are made on demand.

    Args:
        model: the model.
        picture: the LR picture.
        temperature: as in `SRSpace`; None for the model's.
        bits: of the HR pictures, "auto" for those of the LR picture. At 8 bits, a 16-bit LR picture is met up to
            its rounding to 8.
        rounding: as in `quantize`.
        jpeg: what the picture was decoded from; None where its pixels are exact.
        noise: standard deviation of the noise in each channel, (C,), in units of the full range; not with ``jpeg``.

    Raises:
        ValueError: an option out of its range.
        ImageFileError: the HR picture does not fit in memory.
    """

    model: VSpSR
    picture: Picture
    temperature: float | None = None
    bits: int | str = "auto"
    rounding: str = "per-pass"
    jpeg: JpegCoefficients | None = None
    noise: Tensor | None = None
    space: SRSpace = field(init=False)

    def __post_init__(self) -> None:
        picture, (height, width) = self.picture, self.picture.size
        what = f"{width}×{height} pixels at x{self.model.scale}"
        check_memory(what, height * width * bytes_per_pixel(self.model))
        self._set_depth()
        device = next(self.model.parameters()).device
        y = (self._target.float() / (2**self.out_bits - 1))[None].to(device)
        with torch.no_grad():
            if self.noise is not None:
                estimate, variance = lr_posterior(y[0], self.noise)
                y = estimate[None].clamp(0, 1)
            quantisation = None if self.jpeg is None else self.jpeg.quantisation_map().to(y)
            space = self.model(y.expand(1, 3, -1, -1), quantisation)
            space = space.grey() if picture.is_grey else space
            self._members = None
            if self.jpeg is not None:
                self._members = JpegMembers(JpegSet(self.jpeg))
                space = JpegSpace.from_space(space, self._members.set, self.model.trained_on_jpegs)
            if self.noise is not None:
                space = NoisySpace.from_space(space, variance[None])
            space = space.with_keys([image_key(picture.pixels)])
            self.space = space if self.temperature is None else space.with_temperature(self.temperature)

    def _set_depth(self) -> None:
        check_depth(self.bits)
        picture = self.picture
        self.out_bits = picture.bits if self.bits == "auto" else int(self.bits)
        # What lies under invisible pixels is arbitrary and would shine through at the edges.
        pixels = picture.pixels if picture.alpha is None else bleed(picture.pixels, picture.alpha)
        self._target = to_bits(pixels, picture.bits, self.out_bits)
        self._alpha = None if picture.alpha is None else self._upscaled_alpha(picture.alpha)

    def with_bits(self, bits: int | str) -> "PictureSpace":
        """The same space with pictures of another depth. The network is not called."""
        other = copy(self)
        other.bits = bits
        other._set_depth()
        return other

    def _upscaled_alpha(self, alpha: Tensor) -> Quantized:
        target = to_bits(alpha, self.picture.bits, self.out_bits)
        peak = 2**self.out_bits - 1
        x = imresize(target.double() / peak, scale=self.model.scale).clamp(0, 1)
        result = self._quantized(x, target)
        if result.exact:
            return result
        # Hard edges, as drawn by hand, are no image's bicubic degradation: coming close to them would only ring.
        image = (x * peak).round()
        deviation = (self.model.degradation.down_integers(image, self.out_bits, self.rounding) - target).abs()
        moved = (image - x * peak).abs()
        rms = moved.square().mean().sqrt()
        return Quantized(image.to(result.image.dtype), (deviation > 0).sum(), deviation.max(), rms, moved.max())

    def _quantized(self, x: Tensor, target: Tensor) -> Quantized:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConsistencyWarning)  # the exactness is reported with every picture
            return quantize(x.cpu(), target, self.model.degradation, self.out_bits, self.rounding)

    def to_picture(self, x: Tensor) -> tuple[Picture, Exactness]:
        """The picture nearest to an image (1, C, H, W) that downscales to the LR picture, as `quantize` finds it.

        Of a JPEG, to an LR picture that gives the file.
        """
        if self._members is not None:
            return self._picture_of_jpeg(x[0], self._members)
        pixels, exactness = self._colours(x[0])
        alpha = None
        if self._alpha is not None:
            alpha = self._alpha.image.int()
            wrong = exactness.lr_values_wrong + int(self._alpha.lr_values_wrong)
            deviation = max(exactness.lr_max_deviation, int(self._alpha.lr_max_deviation))
            exactness = replace(exactness, lr_values_wrong=wrong, lr_max_deviation=deviation)
        return replace(self.picture, pixels=pixels, alpha=alpha, bits=self.out_bits), exactness

    def _colours(self, x: Tensor) -> tuple[Tensor, Exactness]:
        if self.noise is None:
            result = self._quantized(x, self._target)
            wrong, deviation = int(result.lr_values_wrong), int(result.lr_max_deviation)
            return result.image.int(), Exactness(wrong, deviation, float(result.moved_rms), float(result.moved_max))
        peak = 2**self.out_bits - 1
        wanted = x.double().cpu() * peak
        pixels = wanted.clamp(0, peak).round()
        noisy = self.noise > 0
        residual = (self.model.degradation.down(pixels) - self._target)[noisy] / (peak * self.noise[noisy, None, None])
        moved = (pixels - wanted).abs()
        ratio = float(residual.square().mean().sqrt())
        rms = float(moved.square().mean().sqrt())
        return pixels.int(), Exactness(0, 0, rms, float(moved.max()), noise_ratio=ratio)

    def _picture_of_jpeg(self, x: Tensor, members: JpegMembers) -> tuple[Picture, Exactness]:
        degradation, bits = self.model.degradation, self.out_bits
        for _ in range(_RANGE_STEPS):  # of the LR images that give the file, one that an HR image in range gives
            clipped = x.clamp(0, 1)
            y = members.set.project(degradation.down(clipped))
            x = project_unchecked(clipped, y, degradation)
            if float((x - clipped).abs().max()) < _RANGE_TOLERANCE:
                break
        target = members.near(degradation.down(x.clamp(0, 1))).image.int()
        result = self._quantized(x, to_bits(target, 8, bits))
        lr = to_bits(degradation.down_integers(result.image, bits, self.rounding), bits, 8)
        picture = replace(self.picture, pixels=result.image.int(), bits=bits)
        moved = float(result.moved_rms), float(result.moved_max)
        return picture, Exactness(0, 0, *moved, coefficients_wrong=int(members.set.wrong(lr)))

    def samples(self, n: int, seed: int = 0) -> Iterator[tuple[Picture, Exactness]]:
        """Samples 0 … n − 1 of a seed, one by one."""
        for x in self.space.iter_samples(n, seed):
            yield self.to_picture(x)

    def sample(self, index: int, seed: int = 0) -> tuple[Picture, Exactness]:
        """Sample ``index`` of a seed."""
        return self.to_picture(next(self.space.iter_samples(1, seed, start=index)))

    def mean(self) -> tuple[Picture, Exactness]:
        """The mean of the space (before rounding); of a JPEG, the sample at temperature 0."""
        with torch.no_grad():
            return self.to_picture(self.space.centre if isinstance(self.space, JpegSpace) else self.space.mean)

    def stddev(self) -> Tensor:
        """(C, H, W) float32 on the CPU, in units of the full range."""
        with torch.no_grad():
            return self.space.stddev[0].float().cpu()


def upscale(
    image: str | Path | bytes | Picture | NDArray[Any] | Image,
    model: VSpSR | str = "vspsr-x4",
    samples: int = 10,
    seed: int = 0,
    temperature: float | None = None,
    bits: int | str = "auto",
    rounding: str = "per-pass",
    as_pixels: bool = False,
    denoise: float | str | None = None,
) -> Upscaled:
    """Super-resolve an image: samples, mean and standard deviation of its space.

    Args:
        image: an image file, or its content as bytes; or pixels, which are taken as exact: a picture of `read_image`, a
            numpy array (H, W) or (H, W, bands) of uint8 or uint16, bands = 1 (grey), 2 (with alpha), 3 (RGB) or 4
            (RGBA), or a PIL image, which is not turned.
        model: a model, or what `VSpSR.from_pretrained` takes.
        samples: how many, 0 … 10,000.
        seed: the same seed gives the same pictures.
        temperature: factor on the spread of the samples; None for the model's own.
        bits, rounding: as in `PictureSpace` and `quantize`.
        as_pixels: take the decoded pixels of a JPEG as exact. They are not: of a JPEG, each sample otherwise has an LR
            picture of its own, which is saved as this file, coefficient for coefficient.
        denoise: take the pixels as noisy: standard deviation of the noise in units of the full range, 0 … 1, or "auto"
            to estimate it. Samples then downscale to the picture up to its noise. Of a JPEG, the decoded pixels count.

    Raises:
        ImageFileError: the file cannot be read, or what comes out does not fit in memory.
        ModelError: the model cannot be loaded.
        ValueError: an option out of its range, an array or a PIL image of another type or shape.
    """
    check_samples(samples)
    denoising = denoise not in (None, 0)
    source = source_of(image, as_pixels=as_pixels or denoising)
    loaded = model if isinstance(model, VSpSR) else VSpSR.from_pretrained(model)
    noise = noise_of(source.picture, denoise)
    space = PictureSpace(loaded, source.picture, temperature, bits, rounding, source.jpeg, noise)
    drawn = list(space.samples(samples, seed))
    mean, mean_exactness = space.mean()
    return Upscaled(
        samples=[p for p, _ in drawn],
        mean=mean,
        stddev=space.stddev(),
        exactness=[*(e for _, e in drawn), mean_exactness],
        space=space.space,
    )


def check_samples(samples: int) -> None:
    """ValueError unless a number of samples is 0 … 10,000."""
    if not 0 <= samples <= MAX_SAMPLES:
        raise ValueError(f"`samples` must be 0 … {MAX_SAMPLES}, got {samples}")


def check_depth(bits: int | str) -> None:
    """ValueError unless a depth of outputs is "auto", 8 or 16."""
    if bits not in ("auto", 8, 16):
        raise ValueError(f'`bits` must be "auto", 8 or 16, got {bits!r}')


def bytes_per_pixel(model: VSpSR) -> int:
    """Memory that super-resolution takes for each LR pixel, roughly."""
    width = max(p.shape[0] for p in model.network.parameters() if p.ndim == 4)
    # Features and parameters of the space; images in float32 and float64 beside the integers.
    return 4 * 6 * width + 3 * 60 * model.scale**2
