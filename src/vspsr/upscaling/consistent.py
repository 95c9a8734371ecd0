"""Pictures that downscale to one LR picture: from images to integers of its kind, with alpha, exact at every depth.

Alpha is upscaled by itself, once for all pictures. Every picture downscales to the LR picture bit for bit, or its
`Exactness` says by how much it does not. For a JPEG, it downscales to pixels that give the same coefficients when they
are saved with the tables of the file.
"""

from dataclasses import dataclass, field, replace

from torch import Tensor

from vspsr.checks import check_bits_and_rounding, check_choice, check_number, check_types
from vspsr.consistency.jpeg_member import JpegMembers
from vspsr.consistency.projection import project_unchecked
from vspsr.consistency.quantize import Quantized, quantized
from vspsr.degradation.jpeg_set import JpegSet
from vspsr.degradation.operator import Degradation
from vspsr.degradation.resize import imresize
from vspsr.images.picture import Picture, bleed, to_bits
from vspsr.images.sources import Source

DEPTHS = ("auto", 8, 16)  # what `bits` of outputs may be
_RANGE_STEPS = 8  # alternating projections, at most; `quantize` corrects what is left
_RANGE_TOLERANCE = 0.5 / 255  # half a level: values that are less out of range round into it


@dataclass(frozen=True)
class Exactness:
    """How well a picture downscales to the LR picture.

    Attributes:
        lr_values_wrong: LR values (pixels × channels, alpha included) that are not reproduced.
        lr_max_deviation: the largest difference, in levels.
        moved_rms, moved_max: how far the colours of the picture are from the image it was made from, see `Quantized`.
        coefficients_wrong: for a JPEG, coefficients that are not reproduced; None otherwise. LR values of a JPEG are
            not compared: `lr_values_wrong` is 0.
        noise_ratio: for a noisy LR picture, root mean square difference between its pixels and the downscaled picture,
            over the standard deviation of the noise: about 1 for samples. None otherwise. Its colours are not counted
            in `lr_values_wrong`.
    """

    lr_values_wrong: int
    lr_max_deviation: int
    moved_rms: float
    moved_max: float
    coefficients_wrong: int | None = None
    noise_ratio: float | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing is wrong; False for a noisy LR picture, whose colours are met up to the noise alone."""
        return self.lr_values_wrong == 0 and not self.coefficients_wrong and self.noise_ratio is None

    def record(self) -> dict[str, int | float]:
        """What applies, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class ConsistentPictures:
    """Makes pictures that downscale to an LR picture.

    Args:
        source: the LR picture.
        degradation: D.
        bits: of the HR pictures, "auto" for those of the LR picture. At 8 bits, a 16-bit LR picture is met up to
            its rounding to 8.
        rounding: as in `quantize`.
        hr_alpha: (1, H, W) in [0, 1], what the alpha of the HR pictures should be near to; None for that of the LR
            picture, enlarged.
        budget: as in `quantize`.

    Raises:
        ValueError: an option out of its range.

    Attributes:
        out_bits: 8 or 16.
        jpeg_members: the LR pictures that give the JPEG; None where the pixels are exact.
    """

    source: Source
    degradation: Degradation
    bits: int | str = "auto"
    rounding: str = "per-pass"
    hr_alpha: Tensor | None = None
    budget: float | None = None
    out_bits: int = field(init=False)
    jpeg_members: JpegMembers | None = field(init=False)

    def __post_init__(self) -> None:
        check_types(
            source=(self.source, Source),
            degradation=(self.degradation, Degradation),
            hr_alpha=(self.hr_alpha, Tensor | None),
        )
        check_choice(self.bits, "bits", DEPTHS)
        check_bits_and_rounding(8, self.rounding)
        if self.budget is not None:
            check_number(self.budget, "budget")
        self._worked_on = self.source.in_grey
        picture, jpeg = self._worked_on.picture, self._worked_on.jpeg
        self.out_bits = picture.bits if self.bits == "auto" else int(self.bits)
        self.jpeg_members = None if jpeg is None else JpegMembers(JpegSet(jpeg))
        # Colours of invisible pixels are arbitrary and would shine through at the edges.
        pixels = picture.pixels if picture.alpha is None else bleed(picture.pixels, picture.alpha)
        self._target = to_bits(pixels, picture.bits, self.out_bits)
        self._alpha = (None, 0, 0) if picture.alpha is None else self._upscaled_alpha(picture.alpha)

    @property
    def y(self) -> Tensor:
        """The LR image, (1, C, h, w) float32 in [0, 1], at the depth of the HR pictures; C = 1 for grey in colour."""
        return (self._target.float() / (2**self.out_bits - 1))[None]

    def to_picture(self, x: Tensor) -> tuple[Picture, Exactness]:
        """The picture nearest to an image (1, C, H, W) that downscales to the LR picture, as `quantize` finds it.

        For a JPEG, it downscales to an LR picture that gives the file. C is that of `y`. The picture has the channels
        of the LR picture.
        """
        if self.jpeg_members is not None:
            return self._picture_of_jpeg(x[0], self.jpeg_members)
        pixels, exactness = self._colours(x[0])
        _, wrong, deviation = self._alpha
        wrong, deviation = exactness.lr_values_wrong + wrong, max(exactness.lr_max_deviation, deviation)
        return self._picture(pixels), replace(exactness, lr_values_wrong=wrong, lr_max_deviation=deviation)

    def _colours(self, x: Tensor) -> tuple[Tensor, Exactness]:
        if (noise := self._worked_on.noise) is None:
            result = self._quantized(x, self._target)
            copies = len(self.source.picture.pixels) // len(self._target)  # 3 for grey in colour
            wrong, deviation = copies * int(result.lr_values_wrong), int(result.lr_max_deviation)
            return result.image, Exactness(wrong, deviation, float(result.moved_rms), float(result.moved_max))
        peak = 2**self.out_bits - 1
        wanted = x.double().cpu() * peak
        pixels = wanted.clamp(0, peak).round()
        variance = peak**2 * noise.variance(self._target.double() / peak)
        noisy = variance > 0
        residual = (self.degradation.down(pixels) - self._target)[noisy] / variance[noisy].sqrt()
        moved = (pixels - wanted).abs()
        ratio = float((residual.square().sum() / max(1, residual.numel())).sqrt())
        rms = float(moved.square().mean().sqrt())
        return pixels, Exactness(0, 0, rms, float(moved.max()), noise_ratio=ratio)

    def rounded(self, x: Tensor) -> Picture:
        """An image (1, C, H, W) rounded to the range, with the alpha of the others, whatever it downscales to."""
        peak = 2**self.out_bits - 1
        pixels = (x[0].double().cpu() * peak).round().clamp(0, peak)
        return self._picture(pixels)

    def _picture(self, pixels: Tensor) -> Picture:
        pixels = pixels.int().expand(len(self.source.picture.pixels), -1, -1).contiguous()
        return replace(self.source.picture, pixels=pixels, alpha=self._alpha[0], bits=self.out_bits)

    def _upscaled_alpha(self, alpha: Tensor) -> tuple[Tensor | None, int, int]:
        """(1, H, W), LR values wrong, and the largest deviation in levels."""
        target = to_bits(alpha, self.source.picture.bits, self.out_bits)
        peak = 2**self.out_bits - 1
        if self.hr_alpha is None:
            x = imresize(target.double() / peak, scale=self.degradation.scale).clamp(0, 1)
        else:
            x = self.hr_alpha.double()
        result = self._quantized(x, target)
        if result.exact:
            return result.image.int(), 0, 0
        # Hard edges, as drawn by hand, are no image's bicubic degradation: coming close to them would only ring.
        image = (x * peak).round()
        deviation = (self.degradation.down_integers(image, self.out_bits, self.rounding) - target).abs()
        return image.int(), int(deviation.count_nonzero()), int(deviation.max())

    def _quantized(self, x: Tensor, target: Tensor) -> Quantized:
        # Without the warning: the exactness is reported with every picture.
        return quantized(x.cpu(), target, self.degradation, self.out_bits, self.rounding, self.budget)

    def _picture_of_jpeg(self, x: Tensor, members: JpegMembers) -> tuple[Picture, Exactness]:
        degradation, bits = self.degradation, self.out_bits
        for _ in range(_RANGE_STEPS):  # of the LR images that give the file, one that an HR image in range gives
            clipped = x.clamp(0, 1)
            y = members.set.project(degradation.down(clipped))
            x = project_unchecked(clipped, y, degradation)
            if float((x - clipped).abs().max()) < _RANGE_TOLERANCE:
                break
        target = members.near(degradation.down(x.clamp(0, 1))).image.int()
        result = self._quantized(x, to_bits(target, 8, bits))
        lr = to_bits(degradation.down_integers(result.image, bits, self.rounding), bits, 8)
        moved = float(result.moved_rms), float(result.moved_max)
        return self._picture(result.image), Exactness(0, 0, *moved, coefficients_wrong=int(members.set.wrong(lr)))
