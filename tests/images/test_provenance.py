"""How a picture was made, inside its file: read by Pillow, by an XML parser and by ourselves."""

import hashlib
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import can_save, noise
from PIL import Image

from vspsr.images.io import read_image, write_image
from vspsr.images.picture import Picture
from vspsr.images.provenance import pixels_digest, provenance, with_provenance

ENTRIES = {"Model": "a \"name\" <&> 'é' 日本", "Seed": "0", "Sample": "mean"}
NAMESPACE = "{urn:vspsr:provenance:1#}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="é"/>'
    "</rdf:RDF></x:xmpmeta>"
).encode()


def picture(xmp: bytes | None = None) -> Picture:
    metadata = {} if xmp is None else {"xmp-data": xmp}
    return Picture(torch.full((3, 8, 9), 7, dtype=torch.int32), metadata=metadata)


def parsed(xmp: bytes) -> dict[str, str]:
    """Our attributes by an XML parser."""
    found = list(ElementTree.fromstring(xmp).iter(f"{RDF}Description"))
    ours = [{k.removeprefix(NAMESPACE): v for k, v in d.attrib.items() if k.startswith(NAMESPACE)} for d in found]
    (own,) = filter(None, ours)
    return own


@pytest.mark.parametrize("xmp", [None, XMP])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
def test_other_programs_read_it(suffix: str, xmp: bytes | None, tmp_path: Path) -> None:
    if suffix == ".avif" and not can_save(suffix):
        pytest.skip("this libvips has no AVIF codec")
    path = tmp_path / f"a{suffix}"
    write_image(path, with_provenance(picture(xmp), ENTRIES))
    with Image.open(path) as image:
        raw = image.info["XML:com.adobe.xmp"].encode() if suffix == ".png" else image.info["xmp"]
    assert parsed(raw.rstrip(b"\0")) == ENTRIES
    assert provenance(read_image(path)) == ENTRIES
    assert xmp is None or b"dc:format" in raw


def test_a_second_time_replaces_the_first() -> None:
    twice = with_provenance(with_provenance(picture(XMP), ENTRIES), {"Seed": "5"})
    assert provenance(twice) == {"Seed": "5"}
    xmp = twice.metadata["xmp-data"]
    assert isinstance(xmp, bytes)
    assert parsed(xmp) == {"Seed": "5"}
    assert provenance(picture(XMP)) == provenance(picture()) == {}


@pytest.mark.parametrize("xmp", [b"", b"no XMP", XMP.decode().encode("utf-16")])
def test_other_xmp_is_kept(xmp: bytes) -> None:
    assert with_provenance(picture(xmp), ENTRIES).metadata["xmp-data"] == xmp


@pytest.mark.parametrize("bits", [8, 16])
def test_the_digest_is_that_of_the_samples(bits: int, tmp_path: Path) -> None:
    array = noise(3 if bits == 8 else 1, bits)
    Image.fromarray(array if bits == 8 else array[..., 0]).save(tmp_path / "a.png")
    wanted = hashlib.sha256(np.asarray(Image.open(tmp_path / "a.png")).tobytes()).hexdigest()
    found = read_image(tmp_path / "a.png")
    assert pixels_digest(found) == wanted != pixels_digest(replace(found, pixels=found.pixels ^ 1))
