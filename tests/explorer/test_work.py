"""What the explorer computes, through its requests: pictures, components, edits, exports, sessions."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explorer_tools import Client, http_client, photo, pixels, png, tiny_model
from fastapi.testclient import TestClient
from PIL import Image
from safetensors import safe_open

from vspsr import read_image
from vspsr.degradation import Degradation
from vspsr.errors import ConditionWarning
from vspsr.explorer.editing import area_mask
from vspsr.explorer.limits import Limits
from vspsr.explorer.messages import Area
from vspsr.space import Pixels
from vspsr.upscaling import PictureSpace, compare

MEAN = {"kind": "mean"}
REGION = {"top": 3, "left": 4, "height": 4, "width": 5}


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with http_client() as client:
        yield client


@pytest.fixture
def client(http: TestClient) -> Iterator[Client]:
    opened = Client(http, photo())
    yield opened
    http.delete(opened.base)


@pytest.fixture
def space(tmp_path: Path) -> Any:
    """The same space without a server."""
    (tmp_path / "lr.png").write_bytes(png(photo()))
    return PictureSpace(tiny_model(), read_image(tmp_path / "lr.png"))


def scribble(**changes: Any) -> dict[str, Any]:
    strokes = [{"points": [20.0, 20.0, 23.0, 21.0], "radius": 0.8}]
    edit = {"id": "1", "kind": "scribble", "area": {"strokes": strokes}, "value": [0.6, 0.4, 0.5], "stddev": 0.01}
    return edit | changes


def lr_of(hr: np.ndarray) -> np.ndarray:
    """Downscaled by MATLAB's rule."""
    return Degradation(4).down_uint8(torch.from_numpy(hr.astype(np.uint8)).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def test_layers_are_what_the_library_makes(client: Client, space: PictureSpace) -> None:
    about, shown = client.layer({"kind": "sample", "seed": 7})
    expected, _ = space.sample(0, seed=7)
    assert np.array_equal(shown, expected.pixels.permute(1, 2, 0).numpy())
    assert about["lr_values_wrong"] == 0
    assert np.array_equal(lr_of(shown), photo())
    about, shown = client.layer({"kind": "lr"})
    assert np.array_equal(shown, photo())


def test_the_badge_measures(client: Client) -> None:
    """Bicubic interpolation misses LR values: as many as counted here."""
    about, shown = client.layer({"kind": "bicubic"})
    assert about["lr_values_wrong"] == np.count_nonzero(lr_of(shown) != photo()) > 0
    changed = client.layer(MEAN)[1]
    changed[:8, :8] = 0
    file = client.http.post(f"{client.base}/files", content=png(changed.astype(np.uint8))).json()["file"]
    about, _ = client.layer({"kind": "file", "file": file})
    assert about["lr_values_wrong"] == np.count_nonzero(lr_of(changed) != photo()) > 0


def test_tiles_of_all_levels_fit_together(http: TestClient) -> None:
    client = Client(http, photo(70, 140))  # 560 pixels: two tiles and two levels more
    about, whole = client.layer({"kind": "bicubic"})
    assert (about["width"], about["height"], about["levels"]) == (560, 280, 3)
    tile = http.get(f"{client.base}/layers/{about['layer']}/tiles/1/0/0")
    assert np.abs(pixels(tile.content) - whole.reshape(140, 2, 280, 2, 3).mean((1, 3))).max() <= 0.5
    thumb = http.get(f"{client.base}/layers/{about['layer']}/thumbnail")
    assert pixels(thumb.content).shape == (70, 140, 3)
    http.delete(client.base)


def test_between_two_samples_is_the_librarys_interpolation(client: Client, space: PictureSpace) -> None:
    a, b = ({"kind": "sample", "seed": s} for s in (1, 2))
    _, shown = client.layer({"kind": "between", "a": a, "b": b, "t": 0.3})
    expected, _ = space.to_picture(space.space.interpolate(1, 2, 0.3))
    assert np.abs(shown - expected.pixels.permute(1, 2, 0).numpy()).max() <= 1


def test_components_blend_to_what_the_server_shows(client: Client) -> None:
    """What the browser computes, base + Σ a·shift, equals the exact picture up to rounding."""
    made = client.run("components", {"member": MEAN, "region": REGION, "count": 4})
    raw = client.http.get(f"{client.base}/blobs/{made['blob']}").content
    planes = np.frombuffer(raw, np.float16).astype(float).reshape(5, made["height"], made["width"], 3)
    amounts = [1.5, -1.0, 0.0, 2.0]
    blend = 255 * (planes[0] + np.tensordot(amounts, planes[1:], 1)).clip(0, 1)
    about, shown = client.layer({"kind": "moved", "base": MEAN, "region": REGION, "amounts": amounts})
    assert about["lr_values_wrong"] == 0
    part = shown[made["top"] : made["top"] + made["height"], made["left"] : made["left"] + made["width"]]
    distance = np.abs(part - blend)[4:-4, 4:-4]
    assert np.quantile(distance, 0.99) < 2
    assert np.abs(shown - client.layer(MEAN)[1]).max() > 20
    assert sum(made["explained"]) < 1


def test_components_keep_the_edits(client: Client) -> None:
    """Where a shift moves most, a scribble holds the picture fast."""

    def shifts(edits: list[dict[str, Any]]) -> tuple[np.ndarray, dict[str, Any]]:
        made = client.run("components", {"member": MEAN, "region": REGION, "count": 2, "edits": edits})
        raw = client.http.get(f"{client.base}/blobs/{made['blob']}").content
        planes = np.frombuffer(raw, np.float16).astype(float).reshape(3, made["height"], made["width"], 3)
        return np.abs(planes[1:]).mean((0, 3)), made

    free, made = shifts([])
    y, x = np.unravel_index(free.argmax(), free.shape)
    at = [float(made["left"] + x + 0.5), float(made["top"] + y + 0.5)]
    held, _ = shifts([scribble(area={"strokes": [{"points": at, "radius": 0.6}]}, stddev=0.002)])
    assert held[y, x] < 0.1 * free[y, x]


def test_a_scribble_takes_the_colour_and_is_undone(client: Client) -> None:
    edit = scribble()
    _, before = client.layer(MEAN)
    about, after = client.layer(MEAN, [edit])
    mask = area_mask(Area.model_validate(edit["area"]), (48, 64)).numpy()
    wanted = 255 * np.array(edit["value"])
    assert np.abs(before[mask] - wanted).mean() > 3 * np.abs(after[mask] - wanted).mean()
    assert about["lr_values_wrong"] == 0
    assert np.array_equal(client.layer(MEAN, [scribble(on=False)])[1], before)


def test_more_and_less_texture_by_place(client: Client) -> None:
    sample = {"kind": "sample", "seed": 1}
    area = {"strokes": [{"points": [16.0, 24.0], "radius": 30}, {"points": [60.0, 24.0], "radius": 28, "erase": True}]}
    mean = client.layer(MEAN)[1]
    plain = np.abs(client.layer(sample)[1] - mean)
    for factor in (0.0, 2.0):
        edit = {"id": "t", "kind": "texture", "area": area, "factor": factor}
        changed = np.abs(client.layer(sample, [edit])[1] - mean)
        ratio = changed[16:32, 4:20].sum() / plain[16:32, 4:20].sum()
        assert ratio < 0.5 if factor < 1 else ratio > 1.3
        assert np.abs(changed[:, 52:] - plain[:, 52:]).mean() < 1


def test_brightness_copy_and_repeat(client: Client) -> None:
    # Within one LR pixel the brightness is free; of a large area it is known.
    small = {"strokes": [{"points": [26.0, 22.0], "radius": 1.2}]}
    edit = {"id": "c", "kind": "colour", "area": small, "change": 0.08, "stddev": 0.005}
    mask = area_mask(Area.model_validate(small), (48, 64)).numpy()
    before, after = client.layer(MEAN)[1], client.layer(MEAN, [edit])[1]
    assert (after[mask] - before[mask]).mean() == pytest.approx(0.08 * 255, rel=0.3)
    repeat = {"id": "r", "kind": "repeat", "source": [8, 8, 3, 3], "to": [40, 30], "stddev": 0.01}
    shown = client.layer(MEAN, [repeat])[1]
    gap = np.abs(shown[8:11, 8:11] - shown[30:33, 40:43]).mean()
    assert gap < 0.5 * np.abs(before[8:11, 8:11] - before[30:33, 40:43]).mean()
    about, _ = client.layer({"kind": "sample", "seed": 9})
    clip = client.http.post(f"{client.base}/clips", json={"layer": about["layer"], "rect": [20, 20, 6, 5]}).json()
    copy = {"id": "k", "kind": "copy", "file": clip["file"], "source": [0, 0, 6, 5], "to": [20, 20], "stddev": 0.01}
    target = client.layer({"kind": "sample", "seed": 9})[1][20:25, 20:26]
    shown = client.layer(MEAN, [copy])[1][20:25, 20:26]
    assert np.abs(shown - target).mean() < 0.3 * np.abs(before[20:25, 20:26] - target).mean()


def test_unlikely_edits_say_so(client: Client, space: PictureSpace) -> None:
    """A patch of a sample is about one σ away, a black blot many, and it contradicts the LR picture."""
    at = {"strokes": [{"points": [30.0, 24.0], "radius": 5}]}
    about, _ = client.layer({"kind": "sample", "seed": 9})
    clip = client.http.post(f"{client.base}/clips", json={"layer": about["layer"], "rect": [26, 18, 9, 8]}).json()
    usual = {"id": "u", "kind": "copy", "file": clip["file"], "source": [0, 0, 9, 8], "to": [26, 18], "stddev": 0.01}
    blot = scribble(id="b", area=at, value=[1, 0, 0])
    texture = {"id": "t", "kind": "texture", "area": at, "factor": 2}
    found = {r["id"]: r for r in client.run("unlikeliness", [usual, blot, texture, scribble(id="off", on=False)])}
    assert found["u"]["sigma"] < 2
    assert found["u"]["missed"] < 5
    assert found["b"]["sigma"] > 3 * found["u"]["sigma"]
    assert found["b"]["missed"] > 5
    # It is missed most where the mean given the edit alone is farthest from its colour.
    mask, red = area_mask(Area.model_validate(at), (48, 64)), torch.tensor([1.0, 0.0, 0.0])
    with pytest.warns(ConditionWarning):
        mean = space.space.condition(Pixels(mask, red, blot["stddev"])).mean[0]
    far = ((mean - red[:, None, None]).abs() * mask).amax(0)
    x, y = found["b"]["where"]
    assert far[y, x] == pytest.approx(far.max().item(), rel=1e-4)
    assert far[y, x] / blot["stddev"] == pytest.approx(found["b"]["missed"], rel=1e-3)
    assert found["t"]["sigma"] is None
    assert "off" not in found


def test_edits_that_do_not_fit_are_refused_in_one_line(client: Client) -> None:
    for edit in (
        scribble(area={"strokes": [{"points": [-50.0, -50.0], "radius": 2}]}),
        {"id": "1", "kind": "repeat", "source": [60, 40, 8, 8], "to": [0, 0]},
        {"id": "1", "kind": "repeat", "source": [0, 0, 8, 8], "to": [0, 0]},
        {"id": "1", "kind": "copy", "file": "none", "source": [0, 0, 8, 8], "to": [0, 0]},
    ):
        answer = client.http.post(f"{client.base}/layers", json={"member": MEAN, "edits": [edit]})
        report = client.follow(answer.json())
        assert report["state"] == "failed"
        assert "\n" not in report["error"]
        assert "internal" not in report["error"]


def test_asking_finds_the_candidate_that_belongs_here(client: Client) -> None:
    _, sample = client.layer({"kind": "sample", "seed": 3})
    region = {"top": 4, "left": 5, "height": 3, "width": 3}
    right = sample[16:28, 20:32].astype(np.uint8)
    files = [client.http.post(f"{client.base}/files", content=png(p)).json()["file"] for p in (right, right[::-1])]
    a, b = ({"kind": "file", "file": f} for f in files)
    forward = client.run("ask", {"region": region, "a": a, "b": b})
    back = client.run("ask", {"region": region, "a": b, "b": a})
    assert forward["nats"] > 10
    assert forward["nats"] == pytest.approx(-back["nats"], rel=1e-3)
    assert client.run("ask", {"region": region, "a": a, "b": a})["nats"] == 0
    for candidate in (a, MEAN):  # a file, a member
        request = {"region": region | {"left": 15}, "a": candidate, "b": candidate}
        report = client.follow(client.http.post(f"{client.base}/ask", json=request).json())
        assert report["state"] == "failed"
        assert "internal" not in report["error"]
        assert "`width`" in report["error"]


def test_candidates_are_asked_about_as_they_are_shown(client: Client) -> None:
    """With the edits: the mean, against a file of what is shown of it and a file of what it was."""
    edit, region = scribble(), {"top": 4, "left": 4, "height": 3, "width": 3}
    part, files = (slice(16, 28), slice(16, 28)), []
    for edits in ([edit], []):
        content = png(client.layer(MEAN, edits)[1][part].astype(np.uint8))
        files.append({"kind": "file", "file": client.http.post(f"{client.base}/files", content=content).json()["file"]})
    nats = [
        [client.run("ask", {"region": region, "a": MEAN, "b": file, "edits": edits})["nats"] for file in files]
        for edits in ([edit], [])
    ]
    assert abs(nats[0][0]) < 0.1 * abs(nats[0][1])
    assert abs(nats[1][1]) < 0.1 * abs(nats[1][0])
    assert nats[0][1] < 0 < nats[1][0]  # what the edit asks for is less likely than the mean


def test_the_value_under_the_pointer(client: Client, space: PictureSpace) -> None:
    about, shown = client.layer(MEAN)
    path = f"{client.base}/layers/{about['layer']}/pixel?x=20&y=9"
    nothing = {"value": shown[9, 20].tolist(), "stddev": None, "interval": None}
    assert client.http.get(path).json() == nothing
    assert client.http.get(f"{path}&spread={about['layer']}").json() == nothing  # not a map of σ
    spread, _ = client.layer({"kind": "stddev"})
    found = client.http.get(f"{path}&spread={spread['layer']}").json()
    sigma = 255 * space.space.stddev[0, :, 9, 20]
    mean = 255 * space.space.mean[0, :, 9, 20]
    assert found["stddev"] == pytest.approx(sigma.tolist(), rel=1e-3)
    low, high = mean - 1.6449 * sigma, mean + 1.6449 * sigma
    for (a, b), c, d in zip(found["interval"], low.clamp(0, 255), high.clamp(0, 255), strict=True):
        assert (a, b) == pytest.approx((float(c), float(d)), abs=0.05)


def test_the_standard_deviation_given_edits(client: Client, space: PictureSpace) -> None:
    """At a pixel that is observed alone: against the formula for three observed values of known covariance."""
    at = {"strokes": [{"points": [20.5, 20.5], "radius": 0.4}]}
    edits = [scribble(area=at, stddev=4 / 255)]
    answer = client.http.post(f"{client.base}/layers", json={"member": {"kind": "stddev"}, "edits": edits[:1]})
    report = client.follow(answer.json())
    assert (report["done"], report["total"]) == (99, 100)
    spread = report["result"]
    assert spread["edited"]
    plain, _ = client.layer({"kind": "stddev"})
    assert not plain["edited"]
    about, _ = client.layer(MEAN, edits[:1])

    def sigma(x: int, y: int, of: dict[str, Any]) -> np.ndarray:
        path = f"{client.base}/layers/{about['layer']}/pixel?x={x}&y={y}&spread={of['layer']}"
        return np.array(client.http.get(path).json()["stddev"])

    drawn = 255 * space.space.calibration * space.space.sample(500, seed=1, temperature=1.0)[:, 0, :, 20, 20].numpy()
    given = np.linalg.inv(np.linalg.inv(np.cov(drawn.T)) + np.eye(3) / 4**2)
    assert sigma(20, 20, spread) == pytest.approx(np.sqrt(np.diag(given)), rel=0.25)
    assert sigma(20, 20, plain) == pytest.approx(drawn.std(0), rel=0.25)
    assert (sigma(20, 20, plain) > 1.5 * sigma(20, 20, spread)).all()
    assert sigma(63, 47, plain) == pytest.approx(sigma(63, 47, spread), rel=0.2)
    _, content = client.keep(what="stddev", edits=edits)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        array = np.load(io.BytesIO(file.read("stddev.npy")), allow_pickle=False)
    assert 255 * array[:, 20, 21] == pytest.approx(sigma(21, 20, spread), rel=1e-4)


@pytest.mark.parametrize(("suffix", "bits"), [("png", 8), ("png", 16), ("tiff", 8), ("tiff", 16)])
def test_kept_pictures_are_exact(client: Client, tmp_path: Path, suffix: str, bits: int) -> None:
    member = {"kind": "sample", "seed": 4}
    made, content = client.keep(what="picture", member=member, edits=[scribble()], format=suffix, bits=bits)
    assert made["name"] == f"a photo_x4.{suffix}"
    assert made["lr_values_wrong"] == 0
    (tmp_path / made["name"]).write_bytes(content)
    (tmp_path / "lr.png").write_bytes(png(photo()))
    kept = read_image(tmp_path / made["name"])
    assert kept.bits == bits
    assert compare(kept, read_image(tmp_path / "lr.png")).exact
    if bits == 8:
        assert np.array_equal(pixels(content), client.layer(member, [scribble()])[1])


def test_samples_and_stddev_are_kept(client: Client, space: PictureSpace) -> None:
    pinned = [{"kind": "sample", "seed": s} for s in (5, 6)]
    _, content = client.keep(what="samples", others=pinned)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert file.namelist() == ["s00.png", "s01.png"]
        assert np.array_equal(pixels(file.read("s01.png")), client.layer(pinned[1])[1])
    _, content = client.keep(what="stddev")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        array = np.load(io.BytesIO(file.read("stddev.npy")), allow_pickle=False)
        assert Image.open(io.BytesIO(file.read("stddev.png"))).size == (64 + 90, 160)
    assert array == pytest.approx(space.stddev().numpy(), rel=1e-4)


def test_the_comparison_needs_nothing_else(http: TestClient) -> None:
    client = Client(http, photo(20, 18), "{{data}}<b>.png")
    wanted = {
        "member": {"kind": "sample", "seed": 1},
        "others": [{"kind": "sample", "seed": 2}],
        "names": ["</script>", "Sample 2"],
    }
    page = client.keep(what="comparison", **wanted)[1].decode()
    pictures = pictures_of_comparison(page)
    assert [p["title"] for p in pictures] == ["LR", "Bicubic", "Mean", "</script>", "Sample 2"]
    assert pictures[3]["note"] == "0 of 1,080 LR values wrong"
    refused = client.http.post(f"{client.base}/exports", json={"what": "comparison", "names": []})
    assert refused.status_code == 422
    assert "names" in refused.json()["error"]
    assert "http" not in page.replace("http-equiv", "")
    assert "{{data}}&lt;b&gt;.png" in page
    edited = pictures_of_comparison(client.keep(what="comparison", **wanted, edits=[scribble()])[1].decode())
    changed = [a["data"] != b["data"] for a, b in zip(pictures, edited, strict=True)]
    assert changed == [False, False, False, True, True]  # samples as the page shows them


def pictures_of_comparison(page: str) -> list[dict[str, str]]:
    return json.loads(page.split('id="data">')[1].split("</script>")[0])["pictures"]


def test_a_session_is_saved_and_opened_again(client: Client, tmp_path: Path) -> None:
    file = client.http.post(f"{client.base}/files", content=png(photo(5, 6, 3)), headers={"x-name": "other"}).json()[
        "file"
    ]
    document = {"version": 1, "at": 0, "edits": [scribble()], "states": []}
    client.http.put(f"{client.base}/document", json=document)
    made, content = client.keep(what="session")
    path = tmp_path / made["name"]
    path.write_bytes(content)
    with safe_open(path, "np") as saved:
        assert json.loads(saved.metadata()["session"])["document"] == document
        assert np.array_equal(saved.get_tensor("pixels:").transpose(1, 2, 0), photo())
    opened = client.http.post("/api/sessions", content=content, headers={"x-name": made["name"]}).json()
    assert opened["document"] == document
    assert opened["name"] == "a photo.png"
    again = Client.__new__(Client)
    again.http, again.info, again.base = client.http, opened, f"/api/sessions/{opened['session']}"
    for job in opened["jobs"]:
        again.follow(job)
    assert np.array_equal(again.layer({"kind": "file", "file": file})[1], photo(5, 6, 3))
    assert np.array_equal(again.layer({"kind": "sample", "seed": 1})[1], client.layer({"kind": "sample", "seed": 1})[1])


def test_grey_and_sixteen_bits(http: TestClient, tmp_path: Path) -> None:
    grey = Image.fromarray(photo()[:, :, 0])
    buffer = io.BytesIO()
    grey.save(buffer, "png")
    client = Client.__new__(Client)
    opened = http.post("/api/sessions", content=buffer.getvalue()).json()
    client.http, client.info, client.base = http, opened, f"/api/sessions/{opened['session']}"
    for job in opened["jobs"]:
        client.follow(job)
    about, shown = client.layer(MEAN, [scribble()])
    assert about["lr_values"] == 192
    assert (shown == shown[:, :, :1]).all()
    client.run("components", {"member": MEAN, "region": REGION, "count": 4})
    _, content = client.keep(what="picture")
    assert Image.open(io.BytesIO(content)).mode == "L"


def test_the_badge_and_the_exported_picture_agree_on_alpha(http: TestClient) -> None:
    """Alpha drawn at LR size cannot be met everywhere, and counts in both."""
    rng = np.random.default_rng(3)
    rgba = np.dstack([photo(), rng.choice(np.uint8([0, 255]), (12, 16))])
    client = Client(http, rgba)
    about = client.run("layers", {"member": {"kind": "mean"}, "edits": []})
    made, _ = client.keep(what="picture", member={"kind": "mean"})
    assert about["lr_values_wrong"] == made["lr_values_wrong"] > 0
    assert about["lr_values"] == 4 * 12 * 16


def test_the_layer_that_is_shown_is_kept() -> None:
    """Of more layers than are held, the one used longest ago goes; a request for a tile is a use."""
    with http_client(limits=Limits(layers=8)) as http:
        client = Client(http, photo())
        shown = client.run("layers", {"member": {"kind": "sample", "seed": 0}, "edits": []})["layer"]
        second = client.run("layers", {"member": {"kind": "sample", "seed": 1}, "edits": []})["layer"]
        for seed in range(2, 12):
            assert http.get(f"{client.base}/layers/{shown}/tiles/0/0/0").status_code == 200, seed
            client.run("layers", {"member": {"kind": "sample", "seed": seed}, "edits": []})
        assert http.get(f"{client.base}/layers/{second}/tiles/0/0/0").status_code == 404
