"""8-bit images near a given one that Pillow saves as a given JPEG, coefficient for coefficient."""

import pytest
import torch
from jpeg_files import coefficients_differ, decoded, photo, saved, saved_as
from skimage import data
from torch import Tensor

from vspsr.consistency import JpegMembers
from vspsr.degradation import JpegSet, imresize
from vspsr.images.jpeg_file import read_coefficients


def members_of(content: bytes) -> JpegMembers:
    return JpegMembers(JpegSet(read_coefficients(content)))


def near(content: bytes, seed: int = 0, noise: float = 2.0) -> Tensor:
    """An image near the decoded pixels: (C, h, w) in about 0 … 1."""
    pixels = decoded(content).double()
    return (pixels + noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))) / 255


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
def test_pillow_saves_the_file_again(size: tuple[int, int], subsampling: str) -> None:
    image = photo(*size)[: 1 if subsampling == "grey" else 3]
    options = {"subsampling": subsampling} if subsampling != "grey" else {}
    for quality in (30, 60, 85, 95):
        content = saved(image, quality=quality, **options)
        member = members_of(content).near(near(content))
        assert member.exact
        assert member.image.dtype == torch.uint8
        if subsampling == "grey":
            assert (
                coefficients_differ(read_coefficients(saved(member.image, quality=quality)), read_coefficients(content))
                == 0
            )
        else:
            again = read_coefficients(saved_as(member.image, content))
            assert coefficients_differ(again, read_coefficients(content)) == 0


def test_decoded_pixels_are_no_member() -> None:
    """The reason for all of this."""
    image = imresize(photo(256, 256).double() / 255, scale=1 / 4).mul(255).round().clamp(0, 255)
    content = saved(image, quality=92, subsampling="4:2:0")
    members = members_of(content)
    assert members.set.wrong(decoded(content)) > 0
    assert members.near(decoded(content) / 255).exact


def test_black_and_white() -> None:
    """Where RGB ends, rounding and the range leave little room."""
    image = imresize((photo(192, 192).double() / 255 * 3 - 1).clamp(0, 1), scale=1 / 4).clamp(0, 1).mul(255).round()
    for quality in (50, 92):
        content = saved(image, quality=quality, subsampling="4:2:0")
        assert members_of(content).near(near(content, noise=4)).exact


@pytest.mark.parametrize("width", [34, 38, 41])
@pytest.mark.parametrize("quality", [93, 95, 97])
def test_high_qualities_where_the_border_cuts_mcus(width: int, quality: int) -> None:
    """Means of copied columns are rounded with another bias in turn, and few values have to give all coefficients."""
    image = torch.from_numpy(data.coffee()[196:200, 216 : 216 + width].copy()).permute(2, 0, 1)
    content = saved(image, quality=quality, subsampling="4:2:0")
    member = members_of(content).near(near(content))
    assert coefficients_differ(read_coefficients(saved_as(member.image, content)), read_coefficients(content)) == 0


def test_dark_pixels_at_a_high_quality() -> None:
    """Two MCUs that are found only from other places than the first."""
    image = torch.from_numpy(data.astronaut()[50:178, 100:228].copy()).permute(2, 0, 1)
    content = saved(image, quality=97, subsampling="4:2:0")
    member = members_of(content).near(near(content))
    assert member.exact
    assert coefficients_differ(read_coefficients(saved_as(member.image, content)), read_coefficients(content)) == 0


def test_it_is_near() -> None:
    content = saved(photo(48, 64), quality=60)
    members, y = members_of(content), near(content, noise=1)
    projected = members.set.project(y)
    distance = members.near(y).image / 255 - projected
    assert distance.square().mean().sqrt() < 1 / 255
    other = near(content, seed=1, noise=8)
    assert (members.near(other).image != members.near(y).image).any()


def test_the_same_whatever_was_asked_before() -> None:
    content = saved(photo(16, 20), quality=96)
    first, second = near(content, 0), near(content, 1)
    members = members_of(content)
    members.near(first)
    assert torch.equal(members.near(second).image, members_of(content).near(second).image)


def test_what_is_missed_is_counted() -> None:
    """At quality 100 all steps are 1: nothing but the original may be left."""
    image = photo(16, 16)
    content = saved(image, quality=100, subsampling="4:4:4")
    member = members_of(content).near(near(content))
    assert member.coefficients_wrong > 0
    again = read_coefficients(saved_as(member.image, content))
    assert coefficients_differ(again, read_coefficients(content)) == member.coefficients_wrong


def test_other_encoders(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """mozjpeg chooses coefficients by their cost in bits, libjpeg 6b and 9 round otherwise: members exist even so."""
    jpeglib = pytest.importorskip("jpeglib")
    image = photo(48, 64)
    for version in ("6b", "9e", "mozjpeg403"):
        jpeglib.version.set(version)
        try:
            made = jpeglib.from_spatial(image.permute(1, 2, 0).numpy().copy())
            made.samp_factor = "4:2:0"
            made.write_spatial(str(tmp_path / "a.jpg"), qt=85)
        finally:
            jpeglib.version.set("6b")
        content = (tmp_path / "a.jpg").read_bytes()
        member = members_of(content).near(near(content))
        assert member.exact, version
        assert coefficients_differ(read_coefficients(saved_as(member.image, content)), read_coefficients(content)) == 0


def test_bad_arguments() -> None:
    members = members_of(saved(photo(16, 24)))
    with pytest.raises(ValueError, match="`y`"):
        members.near(torch.rand(3, 24, 16))
    with pytest.raises(ValueError, match="`y`"):
        members.near(torch.full((3, 16, 24), torch.nan))
