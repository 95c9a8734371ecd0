"""How a picture was made, as XMP inside its file.

An `rdf:Description` of our own is added to the XMP that the picture has; all else in it stays. Other programs read it
as any XMP (`exiftool -XMP:all`), `provenance` reads it from a `Picture`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from xml.sax.saxutils import quoteattr

from vspsr.files import printable
from vspsr.images.picture import Picture

_NAMESPACE = "urn:vspsr:provenance:1#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OWN = re.compile(rb"<rdf:Description\b[^>]*\bxmlns:vspsr=[\"']%s[\"'][^>]*/>" % re.escape(_NAMESPACE.encode()))
_ENTRY = re.compile(r"\bvspsr:(\w+)=(?:\"([^\"]*)\"|'([^']*)')")
_END = b"</rdf:RDF>"
_EMPTY = (
    f'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def pixels_digest(picture: Picture) -> str:
    """SHA-256 of a picture's samples, 64 hexadecimal digits.

    Of (H, W, bands) in rows, alpha last, upright; of 16 bits the low byte first. For a PNG of 8 bits this is
    `hashlib.sha256(numpy.asarray(PIL.Image.open(path)).tobytes())`.
    """
    array = picture.to_array()
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def with_provenance(picture: Picture, entries: Mapping[str, str]) -> Picture:
    """The picture with entries in its XMP, in place of those that an earlier call has made.

    XMP that is damaged or not UTF-8 is kept as it is, without the entries.

    Args:
        entries: by name, letters only.
    """
    xmp = picture.metadata.get("xmp-data", _EMPTY)
    assert isinstance(xmp, bytes)
    attributes = " ".join(f"vspsr:{name}={quoteattr(printable(value))}" for name, value in entries.items())
    own = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" xmlns:vspsr="{_NAMESPACE}" {attributes}/>'
    head, end, tail = _OWN.sub(b"", xmp).rpartition(_END)
    # ASCII: PNG files of libvips hold XMP in a chunk whose text other programs take for Latin-1.
    made = head + own.encode("ascii", "xmlcharrefreplace") + end + tail if end else xmp
    return replace(picture, metadata={**picture.metadata, "xmp-data": made})


def provenance(picture: Picture) -> dict[str, str]:
    """The entries that `with_provenance` has made, by name; {} where there are none."""
    xmp = picture.metadata.get("xmp-data")
    own = _OWN.search(xmp) if isinstance(xmp, bytes) else None
    if own is None:
        return {}
    found = _ENTRY.findall(own[0].decode("utf-8", "replace"))
    return {name: unescape(double or single) for name, double, single in found}
