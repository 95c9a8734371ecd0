"""The noise that is assumed for a picture: its strength, given or estimated."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vspsr.checks import check_number
from vspsr.degradation.noise import NoiseModel, estimate_noise
from vspsr.images.sources import Source

Denoise = float | str | Sequence[float] | None
"""Standard deviation of the noise over the full range, 0 … 1; that and the gain of photon noise, 0 … 1; "auto", None"""


def check_denoise(denoise: Denoise) -> None:
    """ValueError unless a strength of noise is one of `Denoise`."""
    if denoise is None or denoise == "auto":
        return
    numbers = denoise if isinstance(denoise, Sequence) else (denoise, 0.0)
    if isinstance(denoise, str) or len(numbers) != 2 or any(check_number(n, "denoise") > 1 for n in numbers):
        raise ValueError(
            '`denoise` must be "auto", 0 … 1 (standard deviation over the full range) or two such numbers (that and '
            f"the gain of photon noise), got {denoise!r}"
        )


def is_denoising(denoise: Denoise) -> bool:
    """Whether pixels are taken as noisy."""
    return denoise == "auto" or any(_pair(denoise))


def with_noise(source: Source, denoise: Denoise) -> Source:
    """A source with its noise, the same in each channel unless it is estimated; a JPEG keeps its coefficients only
    if no noise is found. ``denoise`` is not checked."""
    if not is_denoising(denoise):
        return source
    if denoise == "auto":
        noise = estimate_noise(source.picture.to_float()[0])
    else:
        pair = torch.tensor(_pair(denoise), dtype=torch.float64)
        noise = NoiseModel(*pair[:, None].expand(2, len(source.picture.pixels)))
    if not bool(noise.noisy.any()):
        return replace(source, note=f"no noise found, {source.note or 'its pixels are taken as exact'}")
    return replace(source, jpeg=None, note=_note(noise), noise=noise)


def _note(noise: NoiseModel) -> str:
    """What is assumed about the noise, in a few words."""
    black = f"its pixels have noise of {_levels(noise.stddev(0))} levels of 255"
    return f"{black} in black and {_levels(noise.stddev(1))} in white" if noise.gain.any() else black


def _pair(denoise: Denoise) -> tuple[float, float]:
    if denoise is None or isinstance(denoise, str):
        return 0.0, 0.0
    if isinstance(denoise, Sequence):
        return float(denoise[0]), float(denoise[1])
    return float(denoise), 0.0


def _levels(sigma: Tensor) -> str:
    return ", ".join(dict.fromkeys(f"{255 * s:.1f}" for s in sigma.tolist()))
