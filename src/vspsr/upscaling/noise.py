"""How strong the noise of a picture is taken to be."""

import torch
from torch import Tensor

from vspsr.checks import check_number
from vspsr.degradation.gaussian_noise import estimate_noise
from vspsr.images.picture import Picture


def check_denoise(denoise: float | str | None) -> None:
    """ValueError unless a strength of noise is None, "auto" or 0 … 1."""
    if denoise is None or denoise == "auto":
        return
    if isinstance(denoise, str) or check_number(denoise, "denoise") > 1:
        raise ValueError(f'`denoise` must be "auto" or 0 … 1 (standard deviation over the full range), got {denoise!r}')


def noise_of(picture: Picture, denoise: float | str | None) -> Tensor | None:
    """Standard deviation of the noise in each channel, (C,) float64; None if there is none.

    Args:
        picture: the LR picture.
        denoise: it, in units of the full range; "auto" for `estimate_noise`.
    """
    check_denoise(denoise)
    if denoise is None:
        return None
    channels = len(picture.pixels)
    if denoise == "auto":
        sigma = estimate_noise(picture.to_float()[0])
    else:
        sigma = torch.full((channels,), float(denoise), dtype=torch.float64)
    return sigma if bool((sigma > 0).any()) else None


def noise_note(sigma: Tensor | None) -> str:
    """What is assumed of the noise, in a few words; ``sigma`` as `noise_of` gives it."""
    if sigma is None:
        return "no noise found, its pixels are taken as exact"
    levels = ", ".join(f"{255 * s:.1f}" for s in dict.fromkeys(sigma.tolist()))
    return f"its pixels have noise of {levels} levels of 255"
