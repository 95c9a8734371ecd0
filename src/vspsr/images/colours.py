"""Conversion between pictures and libvips' images, and of CMYK and pictures with a colour profile to sRGB."""

from dataclasses import replace

import numpy as np
import pyvips
import torch
from numpy.typing import NDArray

from vspsr.images.picture import Picture, to_bits

_INTENT = {"intent": "relative", "black_point_compensation": True}


def cmyk_to_srgb(image: pyvips.Image, alpha: bool, bits: int) -> pyvips.Image:
    """Convert with the embedded profile, or with libvips' own if none fits; attaches the profile of sRGB."""
    colours = image.extract_band(0, n=4).icc_transform(
        "srgb", embedded=True, input_profile="cmyk", depth=bits, **_INTENT
    )
    # The transform would clip 16-bit alpha.
    return colours.bandjoin(image.extract_band(4)) if alpha else colours


def to_srgb(picture: Picture) -> Picture:
    """The picture in 8 bits and sRGB, for display beside other pictures or without its profile.

    Returns:
        A picture without metadata. If the profile is missing, damaged or does not fit the channels, the values are
        taken as sRGB, as in browsers.
    """
    pixels = to_bits(picture.pixels, picture.bits, 8)
    alpha = None if picture.alpha is None else to_bits(picture.alpha, picture.bits, 8)
    shown = replace(picture, pixels=pixels, alpha=alpha, bits=8, metadata={})
    profile = picture.metadata.get("icc-profile-data")
    if not isinstance(profile, bytes):
        return shown
    channels = picture.pixels
    if profile[16:20] == b"GRAY" and bool((channels == channels[:1]).all()):
        channels = channels[:1]
    elif profile[16:20] != b"RGB " or picture.is_grey:
        return shown
    image = vips_image(replace(picture, pixels=channels, alpha=None))
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    try:
        image = image.icc_transform("srgb", embedded=True, depth=8, **_INTENT)
        return replace(shown, pixels=torch.from_numpy(planes(image)))
    except pyvips.Error:
        return shown


def srgb_array(picture: Picture) -> NDArray[np.uint8]:
    """The picture in sRGB without alpha: (H, W, 3)."""
    return np.ascontiguousarray(to_srgb(picture).pixels.expand(3, -1, -1).permute(1, 2, 0).to(torch.uint8).numpy())


def vips_image(picture: Picture) -> pyvips.Image:
    """A picture as a libvips image: one band per channel, and one for alpha."""
    colours = {8: ("srgb", "b-w"), 16: ("rgb16", "grey16")}[picture.bits]
    return pyvips.Image.new_from_array(picture.to_array(), interpretation=colours[picture.is_grey])


def planes(image: pyvips.Image) -> NDArray[np.int32]:
    """Decode to (bands, H, W) int32."""
    samples = image.numpy().reshape(image.height, image.width, image.bands)
    return np.array(samples.transpose(2, 0, 1), np.int32, order="C")
