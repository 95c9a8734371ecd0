"""Small but complete report folders, as `vspsr evaluate` leaves them, for the tests of what reads them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vspsr.files import write_json
from vspsr.metrics import Calibration, calibrate
from vspsr.report.records import ImageRecord, SampleRow
from vspsr.report.summary import summarize

SCALE = 4
STEMS = ["a&b <i>", "zebra", "plain"]

SETTINGS: dict[str, Any] = {
    "name": "vspsr-x4",
    "kind": "model",
    "version": "weights BLAKE2b 00ff",
    "seed": 0,
    "temperature": 0.8,
    "calibration": 1.25,
    "hr": "Set2",
    "lr": None,
    "scale": SCALE,
    "samples": 3,
    "backend": "stlpips-alex",
    "backend_version": "stlpips-pytorch 0.0.2",
    "backend_range": "RGB in [-1, 1]",
    "protocol": "ntire21",
    "protocol_title": "NTIRE 2021",
    "degradation": {"kernel": "bicubic", "rounding": "per-pass"},
    "border": 0,
    "channel": "y",
    "details": True,
    "device": "cpu",
    "versions": {"vspsr": "0.1.0", "torch": "2.15.0"},
}


def row(index: int | None, distance: float, lr_psnr: float = math.inf) -> SampleRow:
    """The figures of one SR image; those not given follow from its distance."""
    off = 0 if math.isinf(lr_psnr) else 3
    psnr = 30 - 20 * distance
    return SampleRow(index, distance, distance, psnr, psnr + 1.25, 1 - distance, lr_psnr, None, off)


def record(stem: str, n: int = 3, height: int = 48, width: int = 64, lr_psnr: float = math.inf, **changes: Any) -> Any:
    """The record of an image with n samples, the last of which has the LR-PSNR given."""
    samples = [row(i, 0.1 + 0.01 * i + 0.001 * len(stem), lr_psnr if i == n - 1 else math.inf) for i in range(n)]
    several = n > 1
    made = ImageRecord(
        stem=stem,
        height=height,
        width=width,
        bits=8,
        n_samples=n,
        lr_pixels=height * width // SCALE**2,
        samples=samples,
        mean=row(None, 0.2) if several else None,
        bicubic=row(None, 0.4, 31.5),
        global_best=samples[0].distance if several else None,
        local_best=0.7 * samples[0].distance if several else None,
        score=30.0 if several else None,
        curve=[0.0, 18.0, 30.0][:n] if several else None,
        pixel_stddev=6.5 if several else None,
        pairwise=0.05 if several else None,
        calibration=tallies(n) if several else None,
        seconds=1.5,
    )
    return replace(made, **changes)


def tallies(n: int) -> Calibration:
    """The calibration of an over-confident space, by samples and in closed form."""
    torch.manual_seed(0)
    truth, mean = torch.rand(3, 16, 16), torch.full((3, 16, 16), 0.5)
    samples = (mean + 0.1 * torch.randn(n, 3, 16, 16)).clamp(0, 1)
    return calibrate(samples, truth, mean, torch.full_like(mean, 0.1))


def pictures(folder: Path, height: int, width: int, n: int, seed: int = 0) -> dict[str, float | None]:
    """Write pictures that can be told apart: each pixel of the LR picture has a colour of its own."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lr = rng.integers(0, 256, (height // SCALE, width // SCALE, 3), dtype=np.uint8)
    hr = lr.repeat(SCALE, 0).repeat(SCALE, 1)
    maps = {name: np.zeros_like(hr) for name in ("stddev", "error", "local_best")}
    maps["error"][: height // 4, : width // 4] = 255  # where the close-up shall begin
    shown = {"gt": hr, "lr": lr, "bicubic": hr, "mean": hr, **{f"s{i:02d}": 255 - hr for i in range(n)}, **maps}
    for name, pixels in shown.items():
        Image.fromarray(pixels).save(folder / f"{name}.webp", lossless=True)
    return {name: 20.0 if name in maps else None for name in shown}


def write_folder(
    folder: Path, records: list[ImageRecord], pictured: int = 2, settings: dict[str, Any] | None = None
) -> Path:
    """Write a report folder of these records, the first of them with pictures."""
    (folder / "images").mkdir(parents=True)
    settings = {**SETTINGS, **(settings or {}), "images": [r.stem for r in records]}
    write_json(folder / "settings.json", settings, overwrite=True)
    for i, r in enumerate(records):
        if i < pictured:
            there = pictures(folder / "images" / r.stem, r.height, r.width, r.n_samples, i)
            records[i] = r = replace(r, pictures=there)
        write_json(folder / "images" / f"{r.stem}.json", r, overwrite=True)
    write_json(folder / "summary.json", summarize(settings, records), overwrite=True)
    return folder


def small_report(folder: Path, pictured: int = 2, **settings: Any) -> Path:
    """Two images with three samples; one sample of the second misses three LR pixels."""
    records = [record(STEMS[0]), record(STEMS[1], height=56, width=40, lr_psnr=52.25)]
    return write_folder(folder, records, pictured, settings)
