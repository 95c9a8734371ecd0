"""Protocols: the part of the images that is measured, and the conventions.

"ntire21" is that of the NTIRE 2021 challenge on learning the super-resolution space (Lugmayr et al., CVPR workshops
2021): perceptual maps and LR-PSNR on the truth cropped to multiples of 8 at the bottom and the right, at x4 and x8
alike; LR images by MATLAB's `imresize` on integers, rounded after each axis, of SR and of the truth; images in [0, 1]
seen by the network as [−1, 1]; 10 samples. "whole" differs only in that nothing is cropped.

PSNR, SSIM, standard deviations and calibration are measured on the whole image; PSNR and SSIM optionally without a
border.
"""

PROTOCOLS = {
    "ntire21": (8, "NTIRE 2021: perceptual maps and LR-PSNR on the crop to multiples of 8"),
    "whole": (1, "as NTIRE 2021, but on the whole image"),
}
"""Name → (sides of the part for perceptual maps and LR-PSNR are multiples of it, title)."""

ROUNDING = "per-pass"
"""How LR integers arise, see `Degradation.down_integers`."""

SAMPLES = 10
"""Default number of samples."""
