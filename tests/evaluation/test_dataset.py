"""What goes together and what does not, known from headers before anything is computed."""

from pathlib import Path

import pytest
import torch
from evaluation_tools import image_set, noisy, photo, save
from PIL import Image

from vspsr.errors import ImageFileError
from vspsr.evaluation.dataset import Pair, find_pairs, read_integers
from vspsr.evaluation.names import EvaluationError
from vspsr.images.io import read_header


def test_pairs_of_a_set(tmp_path: Path) -> None:
    image_set(tmp_path)
    hr = tmp_path / "hr"
    (hr / "._a.png").write_bytes(b"a note of some system")
    (hr / "notes.txt").write_text("not an image")
    for stem in "abc":
        save(tmp_path / "lr" / f"{stem}x4.png", photo(2, 2))
    for stem, size in {"a": (16, 12), "b": (10, 18), "c": (14, 14)}.items():
        save(tmp_path / "lr" / f"{stem}x4.png", photo(*size))
    pairs = find_pairs(hr, 4, tmp_path / "lr", tmp_path / "sr")
    assert [p.stem for p in pairs] == ["a", "b", "c"]
    assert pairs[1].size == (40, 72)
    assert pairs[1].lr_size == (10, 18)
    assert pairs[1].lr == tmp_path / "lr" / "bx4.png"
    assert [p.name for p in pairs[1].samples] == ["b_s00.png", "b_s01.png"]
    assert [len(p.samples) for p in find_pairs(hr, 4, None, tmp_path / "sr", 1)] == [1, 1, 1]


def test_sizes_that_are_no_multiple_of_the_scale_are_cropped(tmp_path: Path) -> None:
    hr = photo(62, 51)
    save(tmp_path / "hr" / "a.png", hr)
    for name, size in {"whole": (62, 51), "cropped": (60, 48)}.items():
        save(tmp_path / name / "a.png", hr[:, : size[0], : size[1]])
        (pair,) = find_pairs(tmp_path / "hr", 4, None, tmp_path / name)
        assert pair.size == (60, 48)
        assert torch.equal(read_integers(pair.samples[0], pair), hr[:, :60, :48])
    save(tmp_path / "ceil" / "a.png", photo(64, 52))
    with pytest.raises(EvaluationError, match=r"a\.png: 52×64 pixels, expected 48×60 or 51×62 as HR \(a\.png: 51×62\)"):
        find_pairs(tmp_path / "hr", 4, None, tmp_path / "ceil")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("size", r"sr/b_s01\.png: 71×40 pixels, expected 72×40 as HR \(b\.png: 72×40\)"),
        ("bits", r"sr/b_s01\.png: 16 bits, but b\.png has 8"),
        ("grey", r"sr/b_s01\.png: grey, but b\.png is RGB"),
        ("alpha", r"sr/b_s01\.png: has transparent pixels"),
        ("missing", r"sr: sample 1 of the HR image b is missing: it has 1 sample, a has 2"),
        ("image", r"sr: no SR file for the HR image b"),
        ("extra", r"sr/d_s00\.png: no HR image belongs to this SR file"),
        ("empty", r"sr: no image files in this folder"),
        ("folder", r"sr: no such folder"),
        ("text", r"sr/b_s01\.png: not an image file that can be read"),
        ("cut", r"sr/b_s01\.png: damaged or cut short \(its end is missing\)"),
        ("flipped", r"sr/b_s01\.png: damaged or cut short \(wrong checksum in chunk 'IDAT'\)"),
        ("lr", r"lr/b\.png: 18×11 pixels, expected 18×10 at scale 4"),
        ("two lr", r"lr/b_x4\.png: b_x4_old\.png could be meant as well|lr/b_x4_old\.png: b_x4\.png could be"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path: Path, what: str, message: str) -> None:
    image_set(tmp_path)
    sr, bad = tmp_path / "sr", tmp_path / "sr" / "b_s01.png"
    lr = None
    if what == "size":
        save(bad, photo(40, 71))
    elif what == "bits":
        save(bad, photo(40, 72) * 257, 16)
    elif what == "grey":
        save(bad, photo(40, 72)[:1])
    elif what == "alpha":
        Image.new("RGBA", (72, 40), (9, 9, 9, 128)).save(bad)
    elif what in ("missing", "image"):
        bad.unlink()
        if what == "image":
            (sr / "b_s00.png").unlink()
    elif what == "extra":
        save(sr / "d_s00.png", photo(40, 72))
    elif what in ("empty", "folder"):
        for path in sr.iterdir():
            path.unlink()
        if what == "folder":
            sr.rmdir()
    elif what == "text":
        bad.write_text("no image")
    elif what == "cut":
        bad.write_bytes(bad.read_bytes()[:-40])
    elif what == "flipped":
        content = bytearray(bad.read_bytes())
        content[len(content) // 2] ^= 1
        bad.write_bytes(content)
    elif what == "lr":
        lr = tmp_path / "lr"
        for stem, size in {"a": (16, 12), "b": (11, 18), "c": (14, 14)}.items():
            save(lr / f"{stem}.png", photo(*size))
    elif what == "two lr":
        lr = tmp_path / "lr"
        for name in ("a_x4", "b_x4", "b_x4_old", "c_x4"):
            save(lr / f"{name}.png", photo(16, 12))
    with pytest.raises((EvaluationError, ImageFileError), match=message) as caught:
        find_pairs(tmp_path / "hr", 4, lr, sr)
    assert len(str(caught.value).splitlines()) == 1


def test_grey_hr_is_compared_with_grey_and_with_rgb(tmp_path: Path) -> None:
    """Set14 has a grey image, which some methods give back in RGB."""
    grey = photo(40, 48)[:1]
    save(tmp_path / "hr" / "a.png", grey)
    for kind, pixels in {"grey": grey, "rgb": grey.expand(3, -1, -1)}.items():
        save(tmp_path / kind / "a.png", pixels)
        (pair,) = find_pairs(tmp_path / "hr", 4, None, tmp_path / kind)
        assert pair.grey
        assert torch.equal(read_integers(pair.samples[0], pair), grey.expand(3, -1, -1))


def test_opaque_alpha_is_no_obstacle(tmp_path: Path) -> None:
    save(tmp_path / "hr" / "a.png", photo(40, 48))
    with Image.open(tmp_path / "hr" / "a.png") as image:
        image.convert("RGBA").save(tmp_path / "hr" / "a.png")
    (pair,) = find_pairs(tmp_path / "hr", 4)
    assert torch.equal(read_integers(pair.hr, pair), photo(40, 48))


def test_too_few_samples_and_pixels(tmp_path: Path) -> None:
    image_set(tmp_path)
    with pytest.raises(EvaluationError, match=r"`--samples` 3, but the HR image a has 2"):
        find_pairs(tmp_path / "hr", 4, None, tmp_path / "sr", 3)
    with pytest.raises(EvaluationError, match=r"b\.png: 72×40 pixels are too few: 48"):
        find_pairs(tmp_path / "hr", 48)


def test_digests_tell_files_apart(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png", photo(8, 8)), save(tmp_path / "b.png", noisy(photo(8, 8), 1))
    pair = Pair("a", a, (8, 8), 4, 8, False, samples=(b,))
    first = pair.digests()
    assert list(first) == ["hr/a.png", "sr/b.png"]
    assert len(set(first.values())) == 2
    b.write_bytes(a.read_bytes())
    assert len(set(pair.digests().values())) == 1


def test_a_file_replaced_after_its_check(tmp_path: Path) -> None:
    image_set(tmp_path)
    pair = find_pairs(tmp_path / "hr", 4)[0]
    save(pair.hr, photo(20, 20))
    with pytest.raises(EvaluationError, match=r"a\.png: has changed since it was checked"):
        read_integers(pair.hr, pair)


def test_headers_are_those_of_decoded_images(tmp_path: Path) -> None:
    for name, image in {
        "rgb.png": Image.new("RGB", (5, 3)),
        "grey.png": Image.new("L", (5, 3)),
        "sixteen.png": Image.new("I;16", (5, 3)),
        "alpha.webp": Image.new("RGBA", (5, 3)),
        "photo.jpg": Image.new("RGB", (5, 3)),
    }.items():
        image.save(tmp_path / name)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (5, 3)).save(tmp_path / "turned.jpg", exif=exif)
    from vspsr import read_image

    for path in tmp_path.iterdir():
        header, picture = read_header(path), read_image(path)
        assert header.size == picture.size, path.name
        assert (header.channels, header.bits) == (picture.pixels.shape[0], picture.bits), path.name
        assert header.alpha == (picture.alpha is not None), path.name
    assert read_header(tmp_path / "turned.jpg").size == (5, 3)


def test_processes_are_as_many_as_cores_images_and_memory_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vspsr.evaluation import processes
    from vspsr.evaluation.request import Request

    image_set(tmp_path)
    pairs = find_pairs(tmp_path / "hr", 4)
    request = Request(hr=tmp_path / "hr", scale=4, model="vspsr-x4")

    def count(free: int | None, cores: int = 8, on: tuple[str, ...] = ("cpu",)) -> int:
        monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(processes, "available_memory", lambda: free)
        return processes.default_processes(pairs * 10, request, 10, on)

    assert count(None) == 8
    assert count(None, cores=64) == 30
    assert count(3 << 30) == 2
    assert count(1 << 20) == 1
    assert count(None, on=("cuda:0", "cuda:1"), cores=64) == 8


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    from vspsr.evaluation.processes import devices

    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert devices("cuda") == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert devices("cuda:2") == ["cuda:2"]
    assert devices("cpu") == ["cpu"]
