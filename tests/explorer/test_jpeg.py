"""JPEGs: every picture gives the file, and is measured by its coefficients; pixels that are not exact say so."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explorer_requests import drafted, scribble
from explorer_tools import Client, http_client, photo, pixels, png, tiny_model
from fastapi.testclient import TestClient
from jpeg_files import coefficients_differ, saved, saved_as
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from vspsr import Degradation, read_image
from vspsr.explorer.limits import Limits
from vspsr.explorer.session import Session
from vspsr.images.jpeg_file import read_coefficients
from vspsr.images.sources import read_source
from vspsr.upscaling import PictureSpace, compare

MEAN, SAMPLE = {"kind": "mean"}, {"kind": "sample", "seed": 7}
REGION = {"top": 3, "left": 4, "height": 4, "width": 5}
MOVED = {"kind": "moved", "base": SAMPLE, "region": REGION, "amounts": [2, -1]}
BETWEEN = {"kind": "between", "a": SAMPLE, "b": MEAN, "t": 0.4}
TEXTURE = {"id": "t", "kind": "texture", "factor": 2, "area": {"strokes": [{"points": [20.0, 20.0], "radius": 12}]}}
EDITS = [scribble(28, 20), TEXTURE]


def jpeg(height: int = 16, width: int = 32, **options: Any) -> bytes:
    rgb = torch.from_numpy(photo(height, width)).permute(2, 0, 1)
    return saved(rgb, **({"quality": 75, "subsampling": "4:2:0"} | options))


@pytest.fixture(scope="module")
def client(http: TestClient) -> Client:
    return Client(http, jpeg(), "a photo.jpg")


def session_of(client: Client) -> Session:
    return client.http.app.state.sessions.get(client.info["session"])  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("size", [(16, 32), (13, 19)])
@pytest.mark.parametrize(
    ("member", "edits"), [(MEAN, []), (SAMPLE, []), (MOVED, []), (BETWEEN, []), (MEAN, EDITS), (MOVED, EDITS)]
)
def test_every_picture_gives_the_file(http: TestClient, size: Any, member: Any, edits: Any, tmp_path: Path) -> None:
    content = jpeg(*size)
    client = Client(http, content, "a photo.jpg")
    about, shown = client.layer(member, edits)
    total = sum(values.numel() for values in read_coefficients(content).coefficients)
    assert (about["coefficients"], about["coefficients_wrong"]) == (total, 0)
    made, kept = client.keep(what="picture", member=member, edits=edits)
    assert made["coefficients_wrong"] == 0
    assert np.array_equal(pixels(kept), shown)
    (tmp_path / "kept.png").write_bytes(kept)
    same = compare(read_image(tmp_path / "kept.png"), read_source(content))
    assert (same.wrong, same.total, same.unit) == (0, total, "coefficients")
    lr = Degradation(4).down_uint8(torch.from_numpy(shown.astype(np.uint8)).permute(2, 0, 1))  # by libjpeg itself
    assert coefficients_differ(read_coefficients(saved_as(lr, content)), read_coefficients(content)) == 0
    http.delete(client.base)


def test_pictures_are_those_of_upscale(client: Client) -> None:
    space = PictureSpace(tiny_model(trained_on_jpegs=True), read_source(jpeg()))
    for member, (picture, _) in ((SAMPLE, space.sample(0, seed=7)), (MEAN, space.mean())):
        assert np.array_equal(client.layer(member)[1], picture.pixels.permute(1, 2, 0).numpy())
    exact, _ = PictureSpace(tiny_model(trained_on_jpegs=True), read_source(jpeg()).picture).mean()
    assert not torch.equal(exact.pixels, space.mean()[0].pixels)


def test_the_badge_measures(client: Client) -> None:
    """Bicubic interpolation does not give the file, nor does a picture that was painted over."""
    for member in ({"kind": "bicubic"}, None):
        if member is None:
            changed = client.layer(MEAN)[1].astype(np.uint8)
            changed[:8, :8] = 0
            made = client.http.post(f"{client.base}/files", content=png(changed)).json()
            member = {"kind": "file", "file": made["file"]}
        about, shown = client.layer(member)
        down = Degradation(4).down_uint8(torch.from_numpy(shown.astype(np.uint8)).permute(2, 0, 1))
        wrong = coefficients_differ(read_coefficients(saved_as(down, jpeg())), read_coefficients(jpeg()))
        assert about["coefficients_wrong"] == wrong > 0
    assert "coefficients" not in client.layer({"kind": "lr"})[0]


def test_an_edit_is_met_and_the_lr_image_stays(client: Client) -> None:
    before, after = client.layer(SAMPLE)[1], client.layer(SAMPLE, EDITS[:1])[1]
    painted = (slice(20, 22), slice(28, 31))
    assert np.abs(after[painted] - 127.5).mean() < 0.6 * np.abs(before[painted] - 127.5).mean()
    lr = [
        Degradation(4).down_uint8(torch.from_numpy(x.astype(np.uint8)).permute(2, 0, 1)).int() for x in (before, after)
    ]
    assert (lr[1] - lr[0]).abs().max() <= 2  # rounded anew
    report = client.run("unlikeliness", EDITS)
    assert 0 < report[0]["sigma"] < 20


def test_tools_say_what_holds(client: Client) -> None:
    made = client.run("components", {"member": SAMPLE, "region": REGION, "edits": EDITS, "count": 2})
    assert made["count"] == 2
    ratio = client.run("ask", {"region": REGION, "a": SAMPLE, "b": MEAN})
    assert ratio["lr_nats"] is None
    assert ratio["nats"] == ratio["detail_nats"] != 0
    about, _ = client.layer(MEAN)
    for edits in ([], EDITS[:1]):
        spread, _ = client.layer({"kind": "stddev"}, edits)
        path = f"{client.base}/layers/{about['layer']}/pixel?x=29&y=20&spread={spread['layer']}"
        found = client.http.get(path).json()
        assert found["interval"] is None  # no Gaussian
        assert all(sigma > 0.5 for sigma in found["stddev"])


@pytest.mark.parametrize(("member", "edits"), [(MEAN, []), (MOVED, EDITS)])
def test_a_draft_is_the_whole_pictures_part(client: Client, member: Any, edits: Any) -> None:
    whole = client.layer(member, edits)[1]
    part = drafted(client, member, edits, {"top": 2, "left": 9, "height": 12, "width": 20})
    assert np.abs(part - whole[8:56, 36:116]).mean() < 0.6


def test_a_large_jpeg_is_made_by_place(client: Client) -> None:
    with http_client(tiny_model(trained_on_jpegs=True), limits=Limits(whole_lr_pixels=0)) as http:
        placed = Client(http, jpeg(), "a photo.jpg")
        assert session_of(placed).opened.space.parameters.by_place
        for member, edits in ((MEAN, []), (MOVED, EDITS)):
            (about, a), (_, b) = placed.layer(member, edits), client.layer(member, edits)
            assert about["coefficients_wrong"] == 0
            assert (np.abs(a - b) > 1).mean() < 1e-3


def test_exports_state_the_coefficients(client: Client) -> None:
    made, content = client.keep(what="samples", others=[SAMPLE, MOVED], bits=16, format="tiff")
    assert made["coefficients_wrong"] == 0
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        for name in file.namelist():
            kept = read_image(file.read(name))
            assert kept.bits == 16
            assert compare(kept, read_source(jpeg())).exact
    _, content = client.keep(what="comparison", member=SAMPLE, names=["Sample 1 (shown)"])
    data = json.loads(content.decode().split('id="data">')[1].split("</script>")[0])
    assert data["pictures"][3]["note"] == "0 of 768 JPEG coefficients wrong"
    assert "saved with the tables of the JPEG" in content.decode()
    assert "JPEG 4:2:0: what its coefficients leave open stays open" in content.decode()


@pytest.mark.parametrize(
    ("form", "note"),
    [
        ("webp", "lossy WebP: its decoded pixels are taken as exact, which they are not"),
        ("jpeg", "JPEG 4:2:0: what its coefficients leave open stays open"),
        ("png", ""),
    ],
)
def test_what_is_assumed_is_said(http: TestClient, form: str, note: str) -> None:
    """And pixels that are not exact have a short search for integers."""
    buffer = io.BytesIO()
    Image.fromarray(photo()).save(buffer, form, quality=75)
    client = Client(http, buffer.getvalue())
    assert client.info["note"] == note
    assert client.info["unit"] == ("coefficients" if form == "jpeg" else "lr_values")
    wanted = Limits().inexact_seconds if form == "webp" else None
    again = Client(http, client.keep(what="session")[1])
    for each in (client, again):
        assert session_of(each).opened.pictures.budget == wanted
        http.delete(each.base)


def test_a_picture_that_was_a_jpeg(client: Client) -> None:
    decoded = np.asarray(Image.open(io.BytesIO(jpeg(48, 64, quality=60))))
    with http_client(was_jpeg=True) as http:
        opened = Client(http, decoded)
        assert "before it was saved again" in opened.info["note"]
        assert opened.layer(MEAN)[0]["coefficients_wrong"] == 0


def test_a_session_keeps_the_file(http: TestClient, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "a maker", 6
    content = jpeg(13, 19, exif=exif, dpi=(300, 300), progressive=True)
    client = Client(http, content, "a photo.jpg")
    made, saved_session = client.keep(what="session")
    again = Client(http, saved_session, made["name"])
    for key in ("name", "unit", "note", "width", "height"):
        assert again.info[key] == client.info[key]
    (a, one), (b, other) = (c.layer(MOVED, EDITS) for c in (client, again))
    assert np.array_equal(one, other)
    assert a["coefficients"] == b["coefficients"] > b["coefficients_wrong"] == 0
    pictures = []
    for each in (client, again):
        (tmp_path / "kept.png").write_bytes(each.keep(what="picture")[1])
        pictures.append(read_image(tmp_path / "kept.png"))
    assert pictures[0].metadata == pictures[1].metadata
    assert b"a maker" in pictures[1].metadata["exif-data"]  # type: ignore[operator]
    assert pictures[1].metadata["xres"] == pytest.approx(300 / 25.4, rel=1e-3)
    sources = [session_of(each).source for each in (client, again)]
    assert sources[1].jpeg is not None
    assert sources[0].jpeg is not None
    assert coefficients_differ(sources[0].jpeg, sources[1].jpeg) == 0
    assert sources[0].jpeg.description() == sources[1].jpeg.description()
    for each in (client, again):
        http.delete(each.base)


def test_a_session_of_another_model_is_refused_or_says_so(client: Client) -> None:
    content = client.keep(what="session")[1]
    other = tiny_model(trained_on_jpegs=True)
    next(other.parameters()).mul_(1.1)
    for model, name in ((other, "other"), (tiny_model(trained_on_jpegs=True), "renamed")):
        with http_client(model, name) as http:
            note = Client(http, content).info["note"]
            assert note.startswith("JPEG 4:2:0")
            assert ("saved with tiny, shown with other: its pictures differ" in note) == (name == "other")
    with http_client(tiny_model(scale=2), "half") as http:
        answer = http.post("/api/sessions", content=content, headers={"x-name": "s"})
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert error.startswith("s: was saved with tiny at scale 4, and half upscales by 2")


def test_a_session_of_an_earlier_version_is_opened(client: Client, tmp_path: Path) -> None:
    """It holds pixels and a profile, and says neither scale nor digest."""
    files = [{"file": "", "title": "old.png", "bits": 8}]
    about = {"format": "vspsr explorer session 1", "model": "tiny", "files": files, "document": {"version": 1}}
    rgb = torch.from_numpy(photo()).permute(2, 0, 1).contiguous()
    profile = torch.arange(200, dtype=torch.uint8)
    save_file({"pixels:": rgb, "profile:": profile}, tmp_path / "s", {"session": json.dumps(about)})
    old = Client(client.http, (tmp_path / "s").read_bytes(), "s")
    assert (old.info["name"], old.info["note"], old.info["unit"]) == ("old.png", "", "lr_values")
    assert np.array_equal(old.layer({"kind": "lr"})[1], photo())
    assert session_of(old).picture.metadata == {"icc-profile-data": profile.numpy().tobytes()}
    client.http.delete(old.base)


@pytest.mark.parametrize("change", [{"sampling": [0, 1]}, {"sampling": [10**9, 1]}, {"size": [17, 32]}, {"size": 3}])
def test_a_session_with_wrong_coefficients_is_refused(client: Client, tmp_path: Path, change: Any) -> None:
    (tmp_path / "s").write_bytes(client.keep(what="session")[1])
    with safe_open(tmp_path / "s", "pt") as file:
        about = json.loads(file.metadata()["session"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about["jpeg"] |= change
    save_file(tensors, tmp_path / "s", {"session": json.dumps(about)})
    answer = client.http.post("/api/sessions", content=(tmp_path / "s").read_bytes(), headers={"x-name": "s"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "s: not a session that the explorer has saved"


@pytest.mark.parametrize("kind", ["bicubic", "lr", "stddev", "file"])
def test_the_depth_that_is_asked_for_is_written(client: Client, kind: str) -> None:
    """Of pictures that are no members as well: 16 bits hold 257 times the values."""
    member = {"kind": kind}
    if kind == "file":
        made = client.http.post(f"{client.base}/files", content=png(photo(5, 6)))
        member["file"] = made.json()["file"]
    kept = [read_image(client.keep(what="picture", member=member, bits=bits)[1]) for bits in (8, 16)]
    assert [picture.bits for picture in kept] == [8, 16]
    assert torch.equal(kept[1].pixels, 257 * kept[0].pixels)
