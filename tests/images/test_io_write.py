"""Writing: round trips, what is kept beside the pixels, and files that appear whole or not at all."""

import errno
import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import can_save, noise, smooth, to_vips
from PIL import Image, ImageCms, IptcImagePlugin, PngImagePlugin, TiffImagePlugin

import vspsr.images.encoding
import vspsr.images.io
from vspsr.errors import OutputError
from vspsr.images.io import read_image, write_image
from vspsr.images.metadata import iptc_records
from vspsr.images.picture import Picture

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x78\x00\x07caption"
SUFFIXES = (".png", ".tif", ".tiff")


def picture(bits: int = 8, bands: int = 3, alpha: bool = False, size: tuple[int, int] = (12, 16)) -> Picture:
    generator = torch.Generator().manual_seed(bits + bands)
    planes = torch.randint(0, 1 << bits, (bands + alpha, *size), generator=generator, dtype=torch.int32)
    return Picture(planes[:bands], bits, planes[bands:] if alpha else None)


def assert_same(found: Picture, given: Picture) -> None:
    assert found.bits == given.bits
    assert torch.equal(found.pixels, given.pixels)
    assert (found.alpha is None) == (given.alpha is None)
    assert given.alpha is None or torch.equal(found.alpha, given.alpha)


def failure(path: Path | str, content: Picture | None = None, overwrite: bool = False) -> str:
    """The message with which a place is refused: one line that begins with the path."""
    with pytest.raises(OutputError) as caught:
        write_image(path, content or picture(), overwrite=overwrite)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    bits=st.sampled_from([8, 16]),
    bands=st.sampled_from([1, 3]),
    alpha=st.booleans(),
    suffix=st.sampled_from([*SUFFIXES, ".PNG"]),
)
def test_round_trip(size: tuple[int, int], bits: int, bands: int, alpha: bool, suffix: str) -> None:
    given = picture(bits, bands, alpha, size)
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder) / f"a{suffix}", given)
        assert_same(read_image(Path(folder) / f"a{suffix}"), given)


@pytest.mark.parametrize("value", [0, 255, 65535])
def test_extremes_and_views(value: int, tmp_path: Path) -> None:
    given = Picture(torch.tensor(value, dtype=torch.int32).expand(3, 5, 7), 16 if value > 255 else 8)
    write_image(tmp_path / "a.png", given)
    assert_same(read_image(tmp_path / "a.png"), given)


def test_tiff_beyond_32_bit_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vspsr.images.encoding, "_BIGTIFF", 0)
    write_image(tmp_path / "a.tif", picture())
    assert (tmp_path / "a.tif").read_bytes()[2] == 43
    assert_same(read_image(tmp_path / "a.tif"), picture())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_profile_is_kept(source: str, suffix: str, tmp_path: Path) -> None:
    if source == ".avif" and not can_save(source):
        pytest.skip("this libvips has no AVIF codec")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(smooth(3)).save(tmp_path / f"in{source}", icc_profile=profile)
    with Image.open(tmp_path / f"in{source}") as image:
        pixels = np.asarray(image.convert("RGB"))
    given = read_image(tmp_path / f"in{source}")
    assert given.metadata["icc-profile-data"] == profile
    write_image(tmp_path / f"out{suffix}", given)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == profile
        np.testing.assert_allclose(np.asarray(image), pixels, atol=8 if source == ".avif" else 1)


def exif_block() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    details = exif.get_ifd(0x8769)
    details[0x829A], details[0x9003] = TiffImagePlugin.IFDRational(1, 125), "2020:01:02 03:04:05"
    details[0xA002], details[0xA003] = 16, 12  # the size in pixels
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp"])
def test_exif_and_xmp_are_kept(source: str, tmp_path: Path) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {"pnginfo": chunks} if source == ".png" else {"xmp": XMP}
    Image.fromarray(noise(3)).save(tmp_path / f"in{source}", exif=exif_block(), dpi=(300, 200), **options)
    given = read_image(tmp_path / f"in{source}")
    assert given.size == (16, 12)
    double = given.pixels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    write_image(tmp_path / "out.png", replace(given, pixels=double))
    write_image(tmp_path / "out.tif", replace(given, pixels=double))
    with Image.open(tmp_path / "out.png") as image:
        exif = image.getexif()
        assert (exif[0x0112], exif[0x010F], exif.get_ifd(0x8825)[1]) == (1, "a maker", "N")
        details = exif.get_ifd(0x8769)
        assert (details[0x829A], details[0x9003]) == (1 / 125, "2020:01:02 03:04:05")
        assert (details[0xA002], details[0xA003]) == (24, 32)
    upright = XMP.replace(b'"6"', b'"1"')
    for name in ("out.png", "out.tif"):
        with Image.open(tmp_path / name) as image:
            found = image.info["xmp"] if name == "out.tif" else image.info["XML:com.adobe.xmp"].encode()
            assert found == upright
            if source != ".webp":  # which has none
                np.testing.assert_allclose([float(dpi) for dpi in image.info["dpi"]], (300, 200), atol=0.02)


def test_no_metadata_is_made_up(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    content = (tmp_path / "a.png").read_bytes()
    assert not any(chunk in content for chunk in (b"eXIf", b"iCCP", b"iTXt", b"tEXt"))


def test_thumbnail_of_the_input_is_dropped(tmp_path: Path) -> None:
    image = to_vips(noise(3), "srgb")
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", b"\xff\xd8 a thumbnail \xff\xd9")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd1-Compression", "6")
    image.jpegsave(str(tmp_path / "in.jpg"))
    assert b"a thumbnail" in (tmp_path / "in.jpg").read_bytes()
    write_image(tmp_path / "out.png", read_image(tmp_path / "in.jpg"))
    assert b"a thumbnail" not in (tmp_path / "out.png").read_bytes()
    with Image.open(tmp_path / "out.png") as written:
        assert not written.getexif().get_ifd(1)


def test_exif_says_nothing_of_the_pixels_of_the_input(tmp_path: Path) -> None:
    exif = exif_block()
    exif[0x0100], exif[0x0101] = 16, 12
    exif.get_ifd(0x8769).update({0x9214: (3, 4, 5, 6), 0xA214: (3, 4)})
    exif.get_ifd(0x8769)[0xA005] = {1: "R98", 0x1001: 16, 0x1002: 12}
    exif[0x0112] = 1
    Image.fromarray(noise(3)).save(tmp_path / "in.jpg", exif=exif)
    given = read_image(tmp_path / "in.jpg")
    for factor in (1, 2):
        pixels = given.pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        write_image(tmp_path / f"{factor}.png", replace(given, pixels=pixels))
        with Image.open(tmp_path / f"{factor}.png") as image:
            found, details = image.getexif(), image.getexif().get_ifd(0x8769)
        assert not {0x0100, 0x0101} & set(found)
        assert ({0x9214, 0xA214} <= set(details)) == (factor == 1)
        assert (details[0xA002], details[0xA003]) == (16 * factor, 12 * factor)


def test_iptc_goes_from_jpeg_to_tiff(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(noise(3)).save(content, "JPEG")
    resource = b"8BIM\x04\x04\x00\x00" + len(IPTC).to_bytes(4, "big") + IPTC
    block = b"Photoshop 3.0\x00" + b"8BIM\x03\xf3\x00\x00\x00\x00\x00\x03abc\x00" + resource
    segment = b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block
    (tmp_path / "in.jpg").write_bytes(content.getvalue()[:2] + segment + content.getvalue()[2:])
    with Image.open(tmp_path / "in.jpg") as image:
        assert IptcImagePlugin.getiptcinfo(image) == {(2, 120): b"caption"}
    given = read_image(tmp_path / "in.jpg")
    assert given.metadata["iptc-data"] == IPTC
    write_image(tmp_path / "out.tif", given)
    with Image.open(tmp_path / "out.tif") as image:
        assert iptc_records(image.tag_v2[34377]) == IPTC
    assert read_image(tmp_path / "out.tif").metadata["iptc-data"] == IPTC


def test_unknown_suffix_names_the_known(tmp_path: Path) -> None:
    for name in ("a.bmp", "a", "a.jp2"):
        assert ".png, .tif or .tiff" in failure(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path: Path) -> None:
    assert failure(tmp_path / "b" / "a.png") == f"the folder {tmp_path / 'b'} does not exist"
    (tmp_path / "file").touch()
    failure(tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_existing_file_stays_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("precious")
    assert "exists already" in failure(path)
    assert path.read_text() == "precious"
    write_image(path, picture(), overwrite=True)
    assert_same(read_image(path), picture())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_file_that_appears_in_the_meantime_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    monkeypatch.setattr(os, "fsync", lambda descriptor: path.write_text("precious"))
    assert "exists already" in failure(path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "precious")]


def test_folders_devices_and_links(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    assert failure(tmp_path / "folder.png", overwrite=True) == "is a folder"
    os.mkfifo(tmp_path / "pipe.png")
    assert failure(tmp_path / "pipe.png", overwrite=True) == "is not a regular file"
    (tmp_path / "loop.png").symlink_to("loop.png")
    failure(tmp_path / "loop.png", overwrite=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.png").symlink_to("elsewhere/real.png")
    assert "exists already" in failure(tmp_path / "link.png")
    write_image(tmp_path / "link.png", picture(), overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert_same(read_image(tmp_path / "elsewhere" / "real.png"), picture())
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["real.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
def test_folder_that_is_not_writable() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), os.geteuid() == 0
        folder.chmod(0o555)
        try:
            if root:
                os.seteuid(65534)
            assert failure(folder / "a.png") == "cannot be written (Permission denied)"
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert not list(folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_disk_that_takes_no_more(suffix: str, overwrite: bool, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")  # a limit on file sizes is what a full disk is to a program
    path = tmp_path / f"a{suffix}"
    if overwrite:
        path.write_text("precious")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        message = failure(path, picture(16, size=(200, 200)), overwrite=overwrite)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message == f"cannot be written ({os.strerror(errno.EFBIG)})"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"] * overwrite


def test_disk_that_is_full_says_so_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert failure(tmp_path / "a.png") == "cannot be written (No space left on device)"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_interruption_leaves_nothing(
    stop: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        assert list(tmp_path.iterdir())  # the temporary file
        raise stop

    monkeypatch.setattr(vspsr.images.io, "encoded", interrupt)
    with pytest.raises(stop):
        write_image(tmp_path / "a.png", picture())
    assert not list(tmp_path.iterdir())


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_damaged_metadata_does_no_harm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    junk = {"icc-profile-data": b"x" * 300, "exif-data": b"Exif\0\0II*\0\xff\xff\xff\xff", "xmp-data": b"<"}
    for bands in (1, 3):
        for suffix in SUFFIXES:
            given = replace(picture(bands=bands), metadata=junk)
            write_image(tmp_path / f"a{suffix}", given, overwrite=True)
            assert_same(read_image(tmp_path / f"a{suffix}"), given)
    assert capfd.readouterr() == ("", "")
