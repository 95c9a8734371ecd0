"""Protocols: the part of the images that is measured, and the conventions.

"ntire21" is that of the NTIRE 2021 challenge on learning the super-resolution space (Lugmayr et al., CVPR workshops
2021): perceptual maps and LR-PSNR on the truth cropped to multiples of 8 at the bottom and the right, at x4 and x8
alike; LR images by MATLAB's `imresize` on integers, rounded after each axis, of SR and of the truth; images in [0, 1]
seen by the network as [−1, 1]; 10 samples. "whole" differs only in that nothing is cropped.

PSNR, SSIM, standard deviations and calibration are measured on the whole image; PSNR and SSIM optionally without a
border.
"""

from dataclasses import dataclass

from torch import Tensor

from vspsr.metrics.images import crop_to_multiple


@dataclass(frozen=True)
class Protocol:
    """A convention.

    Attributes:
        name: what `--protocol` takes.
        multiple: perceptual maps and LR-PSNR are measured on the part whose sides are multiples of it.
        rounding: how LR integers arise, see `Degradation.down_integers`.
        samples: default number of samples.
        title: description for people.
    """

    name: str
    multiple: int
    rounding: str
    samples: int
    title: str

    def crop(self, x: Tensor) -> Tensor:
        """The part of an image (..., H, W) for perceptual maps and LR-PSNR."""
        return crop_to_multiple(x, self.multiple)


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("ntire21", 8, "per-pass", 10, "NTIRE 2021: perceptual maps and LR-PSNR on the crop to multiples of 8"),
        Protocol("whole", 1, "per-pass", 10, "as NTIRE 2021, but on the whole image"),
    )
}
