"""A small explorer: a tiny model, tiny pictures, and a client that waits for jobs."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import torch
import uvicorn
from dense_spaces import OPTIONS
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from vspsr import VSpSR
from vspsr.degradation import Degradation
from vspsr.explorer import create_app


def tiny_model(trained_on_jpegs: bool = False, scale: int = 4) -> VSpSR:
    """Of correlated coefficients: the mean nearly bicubic, smooth random detail of about ten levels."""
    torch.manual_seed(0)
    options = {**OPTIONS, "scale": scale, "n_atoms": 24, "noise_channels": 24}
    model = VSpSR("correlated", options, temperature=0.8, trained_on_jpegs=trained_on_jpegs)
    spread = {"atoms": 0.2, "output_kernel": 0.05, "mean_head": 0.02}
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            std = next((v for k, v in spread.items() if k in name), 0.1)
            nn.init.normal_(parameter, std=std)
    return model.requires_grad_(False)


def photo(height: int = 12, width: int = 16, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth LR picture in the middle greys, (h, w, 3), that exact HR pictures exist of."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, 4, 4)))
    hr = nn.functional.interpolate(coarse, (4 * height, 4 * width), mode="bicubic", align_corners=False)
    levels = (hr[0].clamp(0, 1) * 120 + 70).round().to(torch.uint8)
    return np.asarray(Degradation(4).down_uint8(levels).permute(1, 2, 0).numpy())


def png(rgb: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png")
    return buffer.getvalue()


def pixels(content: bytes) -> NDArray[np.int64]:
    """(H, W, 3) of an image file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


class Client:
    """A test client of one open picture."""

    def __init__(self, http: httpx.Client, image: NDArray[np.uint8] | bytes, name: str = "a photo.png") -> None:
        """Open pixels (h, w, 3), or the content of a file."""
        self.http = http
        content = image if isinstance(image, bytes) else png(image)
        opened = http.post("/api/sessions", content=content, headers={"x-name": quote(name)})
        assert opened.status_code == 201, opened.text
        self.info = opened.json()
        self.base = f"/api/sessions/{self.info['session']}"
        for job in self.info["jobs"]:
            self.follow(job)

    def follow(self, report: dict[str, Any]) -> dict[str, Any]:
        """The last report of a job."""
        until = time.monotonic() + 60
        while report["state"] in ("waiting", "running"):
            assert time.monotonic() < until
            time.sleep(0.01)
            report = self.http.get(f"{self.base}/jobs/{report['job']}").json()
        return report

    def run(self, path: str, body: Any) -> Any:
        """The result of a job."""
        answer = self.http.post(f"{self.base}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        report = self.follow(answer.json())
        assert report["state"] == "done", report
        return report["result"]

    def layer(self, member: dict[str, Any], edits: Any = ()) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """What a layer says, and its pixels, put together from the tiles of the finest level."""
        about = self.run("layers", {"member": member, "edits": list(edits)})
        level, step = about["levels"] - 1, about["tile"]
        rows = []
        for y in range(-(-about["height"] // step)):
            tiles = [
                self.http.get(f"{self.base}/layers/{about['layer']}/tiles/{level}/{x}/{y}")
                for x in range(-(-about["width"] // step))
            ]
            rows.append(np.concatenate([pixels(t.content) for t in tiles], 1))
        return about, np.concatenate(rows)

    def keep(self, **request: Any) -> tuple[dict[str, Any], bytes]:
        made = self.run("exports", request)
        return made, self.http.get(f"{self.base}/blobs/{made['blob']}").content


@contextmanager
def http_client(model: VSpSR | None = None, name: str = "tiny", **options: Any) -> Iterator[TestClient]:
    """A client of an explorer in this process, which has the token."""
    app = create_app(model or tiny_model(), name, **options)
    headers = {"authorization": f"Bearer {app.state.token}"}
    with TestClient(app, base_url="http://localhost", headers=headers) as client:
        yield client


@contextmanager
def running_server(**options: Any) -> Iterator[str]:
    """The address, token included, of an explorer that listens."""
    app = create_app(tiny_model(), "tiny", **options)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/?token={app.state.token}"
    finally:
        server.should_exit = True
        thread.join(10)
