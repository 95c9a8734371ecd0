"""The files that come with the explorer: what is vendored, what the page may load, and that nothing else is fetched."""

import hashlib
import re
from importlib import resources
from pathlib import Path

import pytest

STATIC = Path(str(resources.files("vspsr.explorer") / "static"))

VENDORED = {  # npm's openseadragon 6.1.1 and uplot 1.6.32
    "openseadragon.LICENSE.txt": "17da96b26ac706d2cbd06d4555dedb43026782f4943faf0156fe7acf89454228",
    "openseadragon.min.js": "14d587cd3ee7c4861f1a41077ce642029364a21029956ba635bd8fb1202cf9ad",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


def test_vendored_files_are_those_of_their_release() -> None:
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (STATIC / "vendor").iterdir()}
    assert found == VENDORED


OWN = [p for p in STATIC.rglob("*") if p.suffix in (".js", ".css", ".html") and "vendor" not in p.parts]


@pytest.mark.parametrize("path", OWN, ids=lambda p: p.name)
def test_our_files_are_small_and_load_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"^\s*(//|/\*).*", "", text, flags=re.MULTILINE))
    for target in re.findall(r'from "(\./[^"]+)"', text):
        assert (path.parent / target).exists(), target


def test_the_example_is_the_projects() -> None:
    example = Path(__file__).parents[2] / "examples" / "cat.png"
    assert (STATIC / "example.png").read_bytes() == example.read_bytes()
