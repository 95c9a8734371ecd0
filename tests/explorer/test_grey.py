"""Grey pictures that are stored in colour."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from explorer_requests import MEAN, SAMPLE, drafted, scribble
from explorer_tools import Client, http_client, photo
from fastapi.testclient import TestClient
from PIL import Image, ImageCms

REGION = {"top": 3, "left": 4, "height": 4, "width": 5}


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with http_client() as client:
        yield client


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_grey_that_is_stored_in_colour(http: TestClient, name: str) -> None:
    """It is worked on as grey, and what is taken away has the file's channels and its profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = io.BytesIO()
    form = "png" if name.endswith("png") else "jpeg"
    Image.fromarray(photo()[:, :, 0]).convert("RGB").save(buffer, form, icc_profile=profile)
    client = Client(http, buffer.getvalue(), name)
    unit = client.info["unit"]
    assert client.info["note"].endswith("its equal channels are taken as grey")
    for member, edits in ((MEAN, []), (SAMPLE, []), (MEAN, [scribble(20, 20)]), ({"kind": "bicubic"}, [])):
        about, shown = client.layer(member, edits)
        assert (shown == shown[:, :, :1]).all()
        assert (about[f"{unit}_wrong"] == 0) == (member["kind"] != "bicubic")
    draft = drafted(client, SAMPLE, (), REGION)
    assert (draft == draft[:, :, :1]).all()
    client.run("components", {"member": MEAN, "region": REGION, "count": 4})
    layer = client.run("layers", {"member": MEAN, "edits": []})["layer"]
    assert len(client.http.get(f"{client.base}/layers/{layer}/pixel?x=3&y=4").json()["value"]) == 3
    for what in ("picture", "samples"):
        made, content = client.keep(what=what, member=SAMPLE)
        assert made[f"{unit}_wrong"] == 0
        if what == "samples":
            content = zipfile.ZipFile(io.BytesIO(content)).read("s00.png")
        image = Image.open(io.BytesIO(content))
        assert (image.mode, image.info["icc_profile"]) == ("RGB", profile)
        assert np.ptp(np.asarray(image).astype(int), axis=2).max() == 0
    _, content = client.keep(what="stddev")
    assert np.load(io.BytesIO(zipfile.ZipFile(io.BytesIO(content)).read("stddev.npy"))).shape == (3, 48, 64)
    assert b"taken as grey" in client.keep(what="comparison", member=SAMPLE, names=["Sample 1"])[1]
    _, content = client.keep(what="session")
    again = Client(http, content, "a.vspsr.safetensors")
    assert again.info["note"] == client.info["note"]
    assert np.array_equal(again.layer(SAMPLE)[1], client.layer(SAMPLE)[1])
