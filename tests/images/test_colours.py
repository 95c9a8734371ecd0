"""Pictures with a profile, to be shown without it."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import pyvips
import torch
from image_files import noise
from PIL import Image, ImageCms

from vspsr.images.colours import to_srgb
from vspsr.images.picture import Picture, to_bits
from vspsr.images.sheets import contact_sheet


def wide_profile(gamma: float = 1.5) -> bytes:
    """A profile with other primaries and another gamma than sRGB's."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(79),
        b"cprt": b"text" + bytes(4) + b"none\0" + bytes(3),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + fixed(0.7977, 0.2880, 0.0),
        b"gXYZ": b"XYZ " + bytes(4) + fixed(0.1352, 0.7119, 0.0),
        b"bXYZ": b"XYZ " + bytes(4) + fixed(0.0313, 0.0001, 0.8249),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def picture(bands: int = 3, **metadata: bytes) -> Picture:
    pixels = torch.from_numpy(noise(bands).transpose(2, 0, 1).astype(np.int32))
    return Picture(pixels, metadata={k.replace("_", "-"): v for k, v in metadata.items()})


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_against_littlecms(bits: int) -> None:
    given = picture(icc_profile_data=wide_profile())
    found = to_srgb(replace(given, pixels=to_bits(given.pixels, 8, bits), bits=bits))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile()))
    theirs = ImageCms.profileToProfile(
        Image.fromarray(noise(3)), profile, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    assert found.bits == 8
    assert not found.metadata
    difference = np.abs(found.pixels.numpy().transpose(1, 2, 0) - np.asarray(theirs).astype(int))
    assert difference.max() <= 2
    assert (found.pixels - to_srgb(picture()).pixels).abs().max() > 20


@pytest.mark.parametrize("profile", [b"", b"no profile", wide_profile()[:200]])
def test_profiles_that_cannot_be_used_are_left_aside(profile: bytes) -> None:
    assert torch.equal(to_srgb(picture(icc_profile_data=profile)).pixels, picture().pixels)


def test_a_profile_for_rgb_is_none_for_grey() -> None:
    assert torch.equal(to_srgb(picture(bands=1, icc_profile_data=wide_profile())).pixels, picture(bands=1).pixels)


def test_three_equal_channels_may_have_a_profile_for_grey() -> None:
    profile = pyvips.Image.profile_load("sgrey")  # a gamma of its own, so that values change
    grey = picture(bands=1, icc_profile_data=profile)
    three = replace(grey, pixels=grey.pixels.expand(3, -1, -1).contiguous())
    assert torch.equal(to_srgb(three).pixels, to_srgb(grey).pixels)
    assert torch.equal(to_srgb(picture(icc_profile_data=profile)).pixels, picture().pixels)


def test_contact_sheets_show_the_colours_that_the_profile_means() -> None:
    def sheet(lr: Picture) -> torch.Tensor:
        hr = Picture(lr.pixels.repeat_interleave(4, 1).repeat_interleave(4, 2), metadata=lr.metadata)
        return contact_sheet(
            lr, hr, torch.rand(3, *hr.size, generator=torch.Generator().manual_seed(0)), [hr], ""
        ).pixels

    plain, wide = sheet(picture()), sheet(picture(icc_profile_data=wide_profile()))
    assert torch.equal(sheet(to_srgb(picture(icc_profile_data=wide_profile())))[:, :60], wide[:, :60])
    assert (plain - wide).abs().max() > 20
