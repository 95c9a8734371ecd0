"""From pictures to pictures: super-resolution of everything that an image file can hold.

Grey pictures get the grey space, so that they stay grey, also those that are stored in colour. What comes out
downscales to the picture that went in: see `vspsr.upscaling.consistent`.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vspsr.checks import check_integer, check_number, check_types
from vspsr.degradation.noise import lr_posterior
from vspsr.errors import size_text
from vspsr.images.io import check_memory
from vspsr.images.picture import Picture
from vspsr.images.sources import AnyImage, Source, source_of
from vspsr.model import VSpSR
from vspsr.space import JpegSpace, NoisySpace, NotGaussianError, SRSpace, image_key
from vspsr.upscaling.consistent import ConsistentPictures, Exactness
from vspsr.upscaling.models import Models
from vspsr.upscaling.noise import Denoise, check_denoise, with_noise

MAX_SAMPLES = 10_000
BYTES_BY_PLACE = 4_000
"""Memory that a space made by place and one exact picture of it take for each LR pixel, as measured at scale 4."""


@dataclass(frozen=True)
class Upscaled:
    """What `upscale` returns.

    Attributes:
        samples: HR pictures, all different, all consistent with the LR picture.
        mean: the mean of the space, consistent too; of a JPEG its `JpegSpace.centre`.
        stddev: (C, H, W) float32, standard deviation of each value of the pictures in units of the full range (times
            255 for 8-bit levels); of the space before rounding and clipping to range.
        exactness: of each sample, then of the mean.
        space: the space itself, for more; with one channel for grey stored in colour.
    """

    samples: list[Picture]
    mean: Picture
    stddev: Tensor
    exactness: list[Exactness]
    space: SRSpace

    @property
    def exact(self) -> bool:
        """Whether every picture downscales to the LR picture bit for bit, or to one that gives the JPEG. With `denoise`
        none does: see `Exactness.noise_ratio`."""
        return all(e.exact for e in self.exactness)


class PictureSpace:
    """The super-resolution space of one picture: the network has run, pictures are made on demand.

    Args:
        temperature: as in `SRSpace`; None for the model's.
        bits, rounding, budget: of each HR picture, as in `ConsistentPictures`.
        by_place: for large pictures: run the network on the parts that are asked for, if the model is local (see
            `VSpSR.by_place`) and for JPEGs trained on them.

    Raises:
        ValueError: an option out of its range.
        ImageFileError: the HR picture does not fit in memory.

    Attributes:
        space: the space, of the LR picture at the depth of the HR pictures: with one channel for grey stored in colour,
            unless the model has no grey space.
        pictures: what makes HR pictures of its members.
    """

    def __init__(
        self,
        model: VSpSR,
        lr: Picture | Source,
        temperature: float | None = None,
        bits: int | str = "auto",
        rounding: str = "per-pass",
        budget: float | None = None,
        by_place: bool = False,
    ) -> None:
        check_types(model=(model, VSpSR), by_place=(by_place, bool), lr=(lr, Picture | Source))
        source = source_of(lr)
        picture, jpeg, noise = source.picture, source.jpeg, source.noise
        by_place = by_place and model.is_local and noise is None and (jpeg is None or model.trained_on_jpegs)
        needed = picture.size[0] * picture.size[1] * (BYTES_BY_PLACE if by_place else bytes_per_pixel(model))
        check_memory(f"{size_text(picture.size)} pixels at x{model.scale}", needed)
        self.pictures = ConsistentPictures(source, model.degradation, bits, rounding, budget=budget)
        try:
            space = _space(model, self.pictures, by_place)
        except NotGaussianError:
            if not source.is_grey_in_colour:
                raise
            self.pictures = replace(self.pictures, source=replace(source, as_colour=True))
            space = _space(model, self.pictures, by_place)
        self.space: SRSpace = space if temperature is None else space.with_temperature(temperature)

    @property
    def out_bits(self) -> int:
        """Of the HR pictures, 8 or 16."""
        return self.pictures.out_bits

    def with_bits(self, bits: int | str) -> "PictureSpace":
        """The same space with pictures of another depth. The network is not called."""
        other = copy(self)
        other.pictures = replace(self.pictures, bits=bits)
        return other

    def to_picture(self, x: Tensor) -> tuple[Picture, Exactness]:
        """See `ConsistentPictures.to_picture`."""
        return self.pictures.to_picture(x)

    def interval(self, factor: float) -> tuple[Picture, Picture]:
        """Mean − factor·σ and mean + factor·σ, rounded: bounds of each value by itself, no members of the space.

        NotGaussianError for a JPEG: its space has no closed form. ValueError for a negative factor.
        """
        factor = check_number(factor, "factor")
        with torch.no_grad():
            mean, half = self.space.mean, factor * self.space.stddev
        return self.pictures.rounded(mean - half), self.pictures.rounded(mean + half)

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
        """Of each value of the pictures, (C, H, W) float32 on the CPU, in units of the full range."""
        with torch.no_grad():
            stddev = self.space.stddev[0].float().cpu()
        return stddev.expand(len(self.pictures.source.picture.pixels), -1, -1).contiguous()


def _space(model: VSpSR, pictures: ConsistentPictures, by_place: bool) -> SRSpace:
    """The space whose members `ConsistentPictures` takes. NotGaussianError for grey if the model has no grey space."""
    source = pictures.source.in_grey
    y = pictures.y.to(next(model.parameters()).device)
    with torch.no_grad():
        if source.noise is not None:
            estimate, variance = lr_posterior(y[0], source.noise)
            y = estimate[None].clamp(0, 1)
        quantisation = None if source.jpeg is None else source.jpeg.quantisation_map().to(y)
        y = y.expand(1, 3, -1, -1)
        space = model.by_place(y, quantisation) if by_place else model(y, quantisation)
        space = space.grey() if source.picture.is_grey else space
        if pictures.jpeg_members is not None:
            space = JpegSpace.from_space(space, pictures.jpeg_members.set, model.trained_on_jpegs)
        if source.noise is not None:
            space = NoisySpace.from_space(space, variance[None])
        return space.with_keys([image_key(source.picture.pixels)])


def upscale(
    image: AnyImage,
    model: VSpSR | str | None = None,
    samples: int = 10,
    seed: int = 0,
    temperature: float | None = None,
    bits: int | str = "auto",
    rounding: str = "per-pass",
    as_pixels: bool = False,
    denoise: Denoise = None,
) -> Upscaled:
    """Super-resolve an image: samples, mean and standard deviation of its space.

    Args:
        image: an image file, or its content as bytes; or pixels, which are taken as exact: a picture of `read_image`, a
            numpy array (H, W) or (H, W, bands) of uint8 or uint16, bands = 1 (grey), 2 (with alpha), 3 (RGB) or 4
            (RGBA), or a PIL image, which is not turned.
        model: a model, or what `VSpSR.from_pretrained` takes; None for the shipped one at scale 4 that fits:
            `vspsr-x4-explore`, which saw more JPEGs, for what counts by its JPEG coefficients, else `vspsr-x4`.
        samples: how many, 0 … 10,000.
        seed: the same seed gives the same pictures.
        temperature: factor on the spread of the samples; None for the model's own.
        bits, rounding: as in `ConsistentPictures`.
        as_pixels: take the decoded pixels of a JPEG as exact, which they are not. Otherwise each sample of a JPEG has
            an LR picture of its own, which gives the file's coefficients when it is saved.
        denoise: take the pixels as noisy: standard deviation σ of the noise in units of the full range, 0 … 1; or
            (σ, g) with the gain g of photon noise, a value u having the variance σ² + g u; or "auto" to estimate them.
            Samples then downscale to the picture up to its noise. If a JPEG has noise, its decoded pixels count.

    Raises:
        ImageFileError: the file cannot be read, or what comes out does not fit in memory.
        ModelError: the model cannot be loaded.
        ValueError: an option out of its range, an array or a PIL image of another type or shape.
    """
    check_types(model=(model, VSpSR | str | Path | None), as_pixels=(as_pixels, bool))
    check_samples(samples)
    check_denoise(denoise)
    source = with_noise(source_of(image, as_pixels=as_pixels), denoise)
    loaded = model if isinstance(model, VSpSR) else Models(model).fitting(source.jpeg is not None)[0]
    space = PictureSpace(loaded, source, temperature, bits, rounding)
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
    check_integer(samples, "samples", 0, MAX_SAMPLES)


def bytes_per_pixel(model: VSpSR) -> int:
    """Memory that super-resolution takes for each LR pixel, roughly."""
    width = max(p.shape[0] for p in model.network.parameters() if p.ndim == 4)
    # Six float32 maps of features and parameters; 60 bytes for each HR value, in float32, float64 and integers.
    # tests/upscaling/test_memory.py compares the peak with it.
    return 4 * 6 * width + 3 * 60 * model.scale**2
