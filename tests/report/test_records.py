"""Records survive their file; the summary follows from them as the challenge's script would have it."""

import copy
import csv
import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vspsr.files import to_json, write_json
from vspsr.metrics import calibrate
from vspsr.report.records import (
    METRICS,
    ImageRecord,
    ReportError,
    SampleRow,
    read_as,
    read_record,
)
from vspsr.report.summary import references, samples, summarize


def row(index: int | None, value: float, lr_psnr: float = 50.0, differ: int = 3) -> SampleRow:
    return SampleRow(index, value, value / 2, 30 + value, 31 + value, 0.9, lr_psnr, None, differ)


def record(stem: str, values: list[float], lr_psnr: list[float], score: float | None = 20.0) -> ImageRecord:
    several = len(values) > 1
    return ImageRecord(
        stem=stem,
        height=64,
        width=32,
        bits=8,
        n_samples=len(values),
        lr_pixels=128,
        samples=[row(i, v, p, 0 if math.isinf(p) else 3) for i, (v, p) in enumerate(zip(values, lr_psnr, strict=True))],
        mean=row(None, 0.5) if several else None,
        bicubic=row(None, 0.7),
        global_best=min(values) if several else None,
        local_best=min(values) / 2 if several else None,
        score=score if several else None,
        curve=[0.0, *([score] * (len(values) - 1))] if several else None,
        pixel_stddev=3.0 if several else None,
        pairwise=None,
        calibration=None,
    )


SETTINGS = {"name": "x", "versions": {"vspsr": "0"}}


@given(
    value=st.floats(0, 1e6),
    lr_psnr=st.lists(st.floats(0, 100) | st.just(math.inf), min_size=2, max_size=5),
    stem=st.sampled_from(["a", "inf", "ä b", "-inf"]),
)
def test_a_record_survives_its_file(value: float, lr_psnr: list[float], stem: str) -> None:
    before = record(stem, [value + i for i in range(len(lr_psnr))], lr_psnr)
    text = json.dumps(to_json(before), allow_nan=False)  # JSON proper, infinity or not
    assert TypeAdapter(ImageRecord).validate_python(json.loads(text)) == before


def whole(stem: str = "a") -> ImageRecord:
    """A record with every part that one can have."""
    truth = torch.randint(0, 256, (3, 16, 16), generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([truth, truth.flip(-1)])
    moments = truth / 255, torch.full(truth.shape, 0.1)
    return replace(
        record(stem, [0.1, 0.2], [math.inf, 40.0]),
        calibration=calibrate(drawn, truth, *moments, peak=255),
        pictures={"gt": None, "error": 20.0},
        files={"hr/a.png": "00ff"},
    )


def test_every_part_of_a_record_survives_its_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", whole())
    assert read_record(tmp_path / "a.json") == whole()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of an object of JSON are, all the way down; of a list, the first."""
    yield path
    if isinstance(value, dict):
        for k, v in value.items():
            yield from places(v, (*path, k))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


CONTENT = to_json(whole())


def outcome(path: Path) -> str:
    try:
        record = read_record(path)
    except ReportError as error:
        text = str(error)
        return "named" if text.startswith(str(path)) and len(text.splitlines()) == 1 else text
    summarize(SETTINGS, [record])  # what is accepted can be used
    return "accepted"


@pytest.mark.parametrize("place", list(places(CONTENT)), ids=lambda p: ".".join(map(str, p)) or "whole")
def test_a_spoiled_record_is_named(tmp_path: Path, place: tuple[Any, ...]) -> None:
    """Any value of another type, at any place, and any that is missing: one line with the file's name, or as it was."""
    path = tmp_path / "a.json"
    for bad in (None, True, 5, -1, 10**400, 1e301, math.nan, math.inf, "x", [], [None], {}, {"x": []}, ...):
        content = copy.deepcopy(CONTENT)
        at = [content]
        for key in place:
            at.append(at[-1][key])
        if not place:
            content = bad if bad is not ... else CONTENT
        elif bad is ...:
            del at[-2][place[-1]]
        else:
            at[-2][place[-1]] = bad
        path.write_text(json.dumps(content))
        # Numbers of the right kind that make no sense are other errors here: `read_report` names the folder.
        with suppress(ValueError, ArithmeticError):
            assert outcome(path) in ("accepted", "named")


def test_files_that_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"stem": ')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("none", "cut", "list", "deep", "bytes", "folder", "pipe"):
        with pytest.raises(ReportError, match=rf"{name}\.json: "):
            read_record(tmp_path / f"{name}.json")
    write_json(tmp_path / "other.json", whole("a"))
    with pytest.raises(ReportError, match=r"other\.json: is the record of a"):
        read_record(tmp_path / "other.json")
    old = {**CONTENT, "bicubic": {**CONTENT["bicubic"], "lr_pixels_differ": 0}}
    del old["bicubic"]["lr_pixels_wrong"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(ReportError, match=r"old\.json: not .*version.* \(`bicubic.lr_pixels_wrong`: Field required\)"):
        read_record(tmp_path / "old.json")
    old = copy.deepcopy(CONTENT)
    for figures in (*old["samples"], old["mean"], old["bicubic"]):  # the names before `distance_without_map`
        figures["lpips"], figures["distance"] = figures["distance"], figures.pop("distance_without_map")
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(ReportError, match=r"distance_without_map`: Field required\): evaluate anew with --overwrite"):
        read_record(tmp_path / "old.json")
    write_json(tmp_path / "new.json", {"a": math.inf, "b": [math.nan, -math.inf], "c": (1, "x")})
    assert read_as(dict[str, Any], tmp_path / "new.json") == {"a": "inf", "b": [None, "-inf"], "c": [1, "x"]}


def test_names_in_any_encoding(tmp_path: Path) -> None:
    stem = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / f"{stem}.json", whole(stem))
    (tmp_path / f"{stem}.json").read_bytes().decode("utf-8")  # readable by anybody
    assert read_record(tmp_path / f"{stem}.json").stem == stem
    rows = list(csv.DictReader(io.StringIO(samples([whole(stem)]).decode())))
    assert rows[0]["image"] == r"caf\xe9"


def test_the_challenges_four_figures() -> None:
    """Its script takes figures of each image over its samples, then the mean of those over images."""
    distances = np.array([[0.1, 0.3, 0.2], [0.5, 0.4, 0.9]])
    psnr = np.array([[50.0, 40.0, 45.0], [60.0, 70.0, 30.0]])
    records = [
        record(s, list(v), list(p), 10.0 * i) for i, (s, v, p) in enumerate(zip("ab", distances, psnr, strict=True))
    ]
    figures = summarize(SETTINGS, records)["ntire21"]
    assert figures["distance"] == pytest.approx(distances.mean(1).mean())
    assert figures["lr_psnr_worst"] == pytest.approx(psnr.min(1).mean())
    assert figures["lr_psnr_mean"] == pytest.approx(psnr.mean(1).mean())
    assert figures["diversity"] == pytest.approx(5.0)


def test_infinite_and_undefined_values_are_counted_not_averaged_away() -> None:
    records = [record("a", [0.0, 0.2], [math.inf, 40.0], None), record("b", [0.1, 0.2], [math.inf, 50.0], 30.0)]
    summary = summarize(SETTINGS, records)
    assert summary["means"]["lr_psnr"] == {
        "mean": math.inf,
        "finite_mean": 45.0,
        "worst": 40.0,
        "finite": 2,
        "infinite": 2,
        "undefined": 0,
    }
    assert summary["ntire21"]["lr_psnr_mean"] == math.inf
    assert summary["ntire21"]["lr_psnr_worst"] == 45.0
    assert summary["diversity"]["score"] == 30.0
    assert summary["diversity"]["undefined"] == 1
    assert summary["lr"] == {"lr_pixels": 512, "lr_pixels_wrong": 6, "samples": 4, "samples_exact": 2}
    assert "lr_psnr_file" not in summary["means"]
    assert summary["means"]["distance"]["worst"] == 0.2
    assert summary["means"]["psnr_rgb"]["worst"] == 30.0


def test_one_sample_has_no_diversity() -> None:
    summary = summarize(SETTINGS, [record("a", [0.3], [40.0])])
    assert summary["diversity"] is None
    assert summary["ntire21"]["diversity"] is None
    assert summary["means_of_mean"] == {}
    assert summary["calibration"] is None


@given(order=st.permutations(list(range(6))))
def test_the_order_of_records_does_not_matter(order: list[int]) -> None:
    records = [record(f"i{i}", [0.1 * i + 0.01, 1 / (i + 3)], [40 + i / 7, 50 - i / 3], 3.3 * i) for i in range(6)]
    assert summarize(SETTINGS, [records[i] for i in order]) == summarize(SETTINGS, records)


def test_tables() -> None:
    records = [record("a", [0.1, 0.2], [math.inf, 40.0]), record("b", [0.3, 0.4], [50.0, 51.0])]
    rows = list(csv.DictReader(io.StringIO(samples(records).decode())))
    assert list(rows[0]) == ["image", "sample", *METRICS]
    assert [(r["image"], r["sample"]) for r in rows] == [("a", "0"), ("a", "1"), ("b", "0"), ("b", "1")]
    assert float(rows[0]["lr_psnr"]) == math.inf
    assert float(rows[1]["distance"]) == 0.2
    assert rows[0]["lr_psnr_file"] == ""
    others = list(csv.DictReader(io.StringIO(references([replace(r, mean=None) for r in records]).decode())))
    assert [r["sample"] for r in others] == ["bicubic", "bicubic"]
    assert len(references(records).decode().splitlines()) == 5
