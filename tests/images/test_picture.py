"""Pictures as tensors, colour under transparent pixels, and the bytes of metadata blocks."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vspsr.images.metadata import (
    carried_over,
    iptc_records,
    photoshop_block,
    resized_xmp,
    sizeless_iptc,
    tiff_colours,
    upright_exif,
    upright_xmp,
)
from vspsr.images.picture import Picture, bleed, to_bits


def ints(*shape: int, high: int = 256) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(0), dtype=torch.int32)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (16, 65535)])
def test_properties_and_floats(bits: int, white: int) -> None:
    picture = Picture(torch.tensor([[[0, white, 51]]], dtype=torch.int32), bits)
    assert (picture.white, picture.size, picture.is_grey) == (white, (1, 3), True)
    floats = picture.to_float()
    assert (floats.shape, floats.dtype) == ((1, 1, 1, 3), torch.float32)
    assert floats[0, 0, 0, :2].tolist() == [0, 1]
    assert torch.equal((floats[0] * white).round().int(), picture.pixels)
    assert not replace(picture, pixels=ints(3, 4, 5)).is_grey


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 12}, "`bits` must be one of 8, 16, got 12"),
        ({"pixels": ints(2, 4, 5)}, "`pixels` must be"),
        ({"pixels": ints(4, 5)}, "`pixels` must be"),
        ({"pixels": ints(3, 0, 5)}, "not empty"),
        ({"pixels": ints(3, 4, 5).float()}, "must be int32"),
        ({"pixels": ints(3, 4, 5) + 250}, "must lie in 0 … 255"),
        ({"pixels": ints(3, 4, 5) - 255}, "must lie in 0 … 255"),
        ({"alpha": ints(1, 4, 6)}, "`alpha` must be"),
        ({"alpha": ints(1, 4, 5) + 250}, "`alpha` must lie"),
        ({"bits": 8.0}, "`bits` must be one of 8, 16, got 8.0"),
        ({"metadata": {"exif-data": "text"}}, "`metadata` must have bytes as 'exif-data', got 'text'"),
        ({"metadata": {"xres": b"3"}}, "`metadata` must have a number as 'xres'"),
        ({"metadata": {"resolution-unit": 2}}, "`metadata` must have str as 'resolution-unit'"),
    ],
)
def test_wrong_pictures_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Picture(ints(3, 4, 5)), **changes)


@settings(max_examples=100, deadline=None)
@given(visible=arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_bleed_takes_the_nearest_visible_colour(visible: np.ndarray) -> None:
    height, width = visible.shape
    pixels = torch.arange(3 * visible.size, dtype=torch.int32).view(3, height, width)
    alpha = torch.from_numpy(visible).int().unsqueeze(0) * 7
    found = bleed(pixels, alpha)
    assert torch.equal(found[:, visible], pixels[:, visible])
    if not visible.any():
        assert not found.any()
        return
    seen = np.argwhere(visible)
    for y, x in np.ndindex(height, width):
        source = divmod(int(found[0, y, x]), width)
        distance = np.abs(seen - (y, x)).sum(1)
        assert visible[source]
        assert abs(source[0] - y) + abs(source[1] - x) == distance.min()
        assert torch.equal(found[:, y, x], pixels[:, source[0], source[1]])


def test_bleed_does_not_change_its_arguments() -> None:
    pixels, alpha = ints(3, 5, 6), (ints(1, 5, 6) > 128).int()
    before = pixels.clone(), alpha.clone()
    assert not torch.equal(bleed(pixels, alpha), pixels)
    assert torch.equal(pixels, before[0])
    assert torch.equal(alpha, before[1])
    assert bleed(pixels.to(torch.float32), alpha).dtype == torch.float32
    with pytest.raises(ValueError, match="`alpha` must be"):
        bleed(pixels, alpha[:, 1:])


def tiff(order: str, big: bool, kind: int = 3) -> bytes:
    """A directory with an orientation (6), a kind of colours (2) and a compression (7), nothing else."""
    size = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4}[kind]

    def number(value: int, width: int) -> bytes:
        return value.to_bytes(width, "little" if order == "II" else "big")

    head = order.encode() + (number(43, 2) + number(8, 2) + number(0, 2) if big else number(42, 2))
    wide = 8 if big else 4
    directory = number(len(head) + wide, wide) + number(3, 8 if big else 2)
    for tag, value in ((259, 7), (262, 2), (274, 6)):
        directory += number(tag, 2) + number(kind, 2) + number(1, wide) + number(value, size).ljust(wide, b"\0")
    return head + directory + number(0, wide)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9, 13])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_tiff_directories(order: str, big: bool, kind: int, prefix: bytes) -> None:
    block = tiff(order, big, kind)
    assert tiff_colours(io.BytesIO(block)) == (2, 7, None, None)
    upright = upright_exif(prefix + block)
    changed = [(old, new) for old, new in zip(prefix + block, upright, strict=True) if old != new]
    assert changed == [(6, 1)]
    assert upright_exif(upright) == upright


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_blocks_are_no_error(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from([tiff("II", False), tiff("MM", True), b"8BIM\x04\x04\x00\x00\x00\x00\x00\x04abcd"])
    )
    block = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=8)):
        if position < len(block):
            block[position] = data.draw(st.integers(0, 255))
    assert len(upright_exif(bytes(block))) == len(block)
    iptc_records(bytes(block))
    tiff_colours(io.BytesIO(block))


def test_xmp_turns_upright() -> None:
    assert upright_xmp(b'<a tiff:Orientation="8"/>') == b'<a tiff:Orientation="1"/>'
    assert upright_xmp(b"<tiff:Orientation>3</tiff:Orientation>") == b"<tiff:Orientation>1</tiff:Orientation>"
    assert upright_xmp(b'<a tiff:XResolution="8"/>') == b'<a tiff:XResolution="8"/>'


@pytest.mark.parametrize("records", [b"", b"abc", b"abcd"])
def test_iptc_in_photoshop_blocks(records: bytes) -> None:
    named = b"8BIM\x03\xf3\x04name\x00\x00\x00\x00\x03xyz\x00"
    assert iptc_records(named + photoshop_block(records)) == records
    assert iptc_records(b"Photoshop 3.0\0" + named + photoshop_block(records) + named) == records
    assert iptc_records(named) is None
    assert len(photoshop_block(records)) % 2 == 0


def test_only_known_blocks_are_carried_over() -> None:
    blocks = {"icc-profile-data": b"profile", "gainmap-data": b"", "photoshop-data": photoshop_block(b"iptc")}
    assert carried_over(blocks) == {"icc-profile-data": b"profile", "iptc-data": b"iptc"}


SIZES = {
    "exif:PixelXDimension": 96,
    "exif:PixelYDimension": 64,
    "tiff:ImageWidth": 96,
    "tiff:ImageLength": 64,
    "GPano:CroppedAreaImageWidthPixels": 96,
    "GPano:CroppedAreaImageHeightPixels": 64,
    "GPano:FullPanoWidthPixels": 200,
    "GPano:CroppedAreaTopPixels": 20,
}


@pytest.mark.parametrize("form", ['<a {}="{}"/>', "<a {} = '{}' />", "<a><{0}>{1}</{0}></a>"])
def test_sizes_in_xmp_follow_the_picture(form: str) -> None:
    given = {**SIZES, **{k: v // 4 for k, v in SIZES.items()}}
    xmp = "".join(form.format(k, v) for k, v in given.items()).encode()
    wanted = "".join(form.format(k, v) for k, v in SIZES.items()).encode()
    assert resized_xmp(xmp, 64, 96) == wanted
    assert resized_xmp(wanted, 64, 96) == wanted
    assert resized_xmp(wanted, 16, 24) == xmp


def test_what_xmp_says_of_other_pixels_is_dropped() -> None:
    thumbnail = b"<xmp:Thumbnails><rdf:Alt><rdf:li xmpGImg:width='24'>AAAA</rdf:li></rdf:Alt>\n</xmp:Thumbnails>"
    places = b"<exif:SubjectArea><rdf:li>3</rdf:li></exif:SubjectArea><exif:SubjectLocation/>"
    panorama = b'<a GPano:FullPanoWidthPixels="24" GPano:ProjectionType="x"/>'  # of which no part is known
    size = b'<a exif:PixelXDimension="24" tiff:XResolution="24"/>'
    found = resized_xmp(thumbnail + places + panorama + size, 64, 96)
    assert found == b'<a GPano:ProjectionType="x"/><a exif:PixelXDimension="96" tiff:XResolution="24"/>'
    assert resized_xmp(places + size, 16, 24) == places + size


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 9999), st.integers(1, 9999))
def test_damaged_xmp_and_iptc_are_no_error(block: bytes, height: int, width: int) -> None:
    for start in (b"", b'<a GPano:CroppedAreaImageWidthPixels="', b"<xmp:Thumbnails", b"\x1c\x03"):
        resized_xmp(start + block, height, width)
        sizeless_iptc(start + block)


def test_iptc_says_nothing_of_pixels() -> None:
    def dataset(record: int, number: int, value: bytes) -> bytes:
        return bytes([0x1C, record, number]) + len(value).to_bytes(2, "big") + value

    kept = dataset(1, 90, b"\x1b%G") + dataset(2, 120, b"caption")
    sizes = dataset(3, 20, b"\0\x18") + dataset(2, 202, b"preview") + dataset(3, 30, b"\0\x10")
    assert sizeless_iptc(kept + sizes + b"rest") == kept + b"rest"
    assert sizeless_iptc(sizes + kept) == kept


@given(arrays.arrays(np.int32, st.tuples(st.integers(1, 3), st.integers(1, 4)), elements=st.integers(0, 65535)))
def test_bits_are_converted_to_the_nearest_value(values: np.ndarray) -> None:
    eight = to_bits(torch.from_numpy(values), 16, 8)
    np.testing.assert_array_equal(eight.numpy(), np.floor(values / 257 + 0.5).astype(int))
    assert torch.equal(to_bits(to_bits(eight, 8, 16), 16, 8), eight)
    assert torch.equal(to_bits(eight.to(torch.uint8), 8, 16), eight * 257)
    assert to_bits(eight, 8, 8) is eight
