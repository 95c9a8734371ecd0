"""JPEG, WebP and AVIF as outputs: what Pillow reads, what they cannot hold, what is kept beside the pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import can_save, smooth
from PIL import Image, ImageCms

from vspsr.errors import OutputError
from vspsr.images.encoding import LOSSY, encoded
from vspsr.images.io import read_image, write_image
from vspsr.images.picture import Picture

SUFFIXES = [s for s in sorted(LOSSY) if s != ".avif" or can_save(s)]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(bands: int = 3, alpha: bool = False, bits: int = 8) -> Picture:
    planes = torch.from_numpy(smooth(bands + alpha).transpose(2, 0, 1).astype(np.int32))
    return Picture(planes[:bands], bits, planes[bands:] if alpha else None)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png", ".tif"])
@pytest.mark.parametrize("bands", [1, 3])
def test_damaged_profiles_keep_no_picture_from_being_written(suffix: str, bands: int, tmp_path: Path) -> None:
    """What follows a profile's stated end is cut off, one that is cut short is left out, others may be."""
    sound = len(PROFILE) % 4 == 0 or PROFILE[8] < 4
    followed = {PROFILE + bytes(n) for n in (1, 3, 4, 1000, 70000)} if sound and bands == 3 else set()
    short = [PROFILE[:n] for n in (0, 1, 3, 36, 127, 131, 132, len(PROFILE) // 2, len(PROFILE) - 1)]
    odd = [b"\4" + PROFILE[1:], bytes(200), PROFILE[:8] + b"\5" + PROFILE[9:], PROFILE[:16] + b"CMYK" + PROFILE[20:]]
    for profile in [*followed, *short, *odd]:
        given = replace(picture(bands), metadata={"icc-profile-data": profile})
        write_image(tmp_path / f"a{suffix}", given, overwrite=True)
        kept = read_image(tmp_path / f"a{suffix}").metadata.get("icc-profile-data")
        assert profile not in followed or kept == PROFILE
        assert profile not in short or kept is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bands", [1, 3])
def test_as_pillow_reads_it(suffix: str, bands: int, tmp_path: Path) -> None:
    given = picture(bands)
    errors = []
    for quality in (30, None, 100):
        write_image(tmp_path / f"a{suffix}", given, overwrite=True, quality=quality)
        with Image.open(tmp_path / f"a{suffix}") as image:
            found = np.asarray(image.convert("RGB" if bands == 3 else "L"), np.float64)
        errors.append(float(np.abs(found - given.to_array()).mean()))
    assert errors[2] <= errors[1] <= errors[0]
    assert errors[1] < 3
    assert encoded(given, suffix, 100) == (tmp_path / f"a{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s in (".webp", ".avif")])
def test_alpha(suffix: str, tmp_path: Path) -> None:
    write_image(tmp_path / f"a{suffix}", picture(alpha=True))
    found = read_image(tmp_path / f"a{suffix}").alpha
    assert found is not None
    assert (found - picture(alpha=True).alpha).abs().max() <= 4


@pytest.mark.parametrize(
    ("suffix", "given", "words"),
    [
        (".jpg", picture(alpha=True), "holds no alpha"),
        (".jpg", picture(bits=16), "holds 8 bits"),
        (".webp", picture(bits=16), "holds 8 bits"),
        (".avif", picture(bits=16), "holds 8 bits"),
        (".webp", Picture(torch.zeros(1, 1, 16384, dtype=torch.int32)), "at most 16383 pixels"),
    ],
)
def test_what_a_format_cannot_hold(suffix: str, given: Picture, words: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=words):
        write_image(tmp_path / f"a{suffix}", given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "quality"), [("a.png", 90), ("a.tif", 90), ("a.jpg", 0), ("a.webp", 101)])
def test_qualities_that_make_no_sense(name: str, quality: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"quality.*{quality}"):
        write_image(tmp_path / name, picture(), quality=quality)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_profile_exif_and_xmp_are_kept(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
    Image.fromarray(smooth(3)).save(tmp_path / "in.jpg", exif=exif, icc_profile=PROFILE, xmp=xmp, dpi=(300, 300))
    write_image(tmp_path / f"out{suffix}", read_image(tmp_path / "in.jpg"))
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[0x010F] == "a maker"
        assert image.info["xmp"] == xmp
        if suffix in (".jpg", ".jpeg"):
            assert image.info["dpi"] == (300, 300)


def test_iptc_goes_into_jpeg(tmp_path: Path) -> None:
    records = b"\x1c\x02\x78\x00\x07caption"
    given = replace(picture(), metadata={"iptc-data": records})
    write_image(tmp_path / "a.jpg", given)
    assert read_image(tmp_path / "a.jpg").metadata["iptc-data"] == records
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["photoshop"][0x0404] == records
