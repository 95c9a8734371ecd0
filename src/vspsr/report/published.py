"""Published figures of the paper and of the challenge, as data with their sources: published.toml."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

PUBLISHED_BACKEND = "lpips-alex"
COLUMNS = ("lr_psnr", "diversity", "ratio", "psnr", "ssim", "dists")
"""Columns of the tables beside the perceptual distances; "ratio" is LPIPS divided by that of bicubic."""


@dataclass(frozen=True)
class Row:
    """One row: ``values`` by column, None where not known."""

    name: str
    published: bool
    values: dict[str, float | None]
    settings: list[str] = field(default_factory=list)
    images: str = ""
    source: str = ""
    url: str = ""


@cache
def _published() -> dict[str, Any]:
    return tomllib.loads((resources.files("vspsr.report") / "published.toml").read_text(encoding="utf-8"))


def published_table(number: int) -> dict[str, Any]:
    """The entry of published.toml for a table of the paper (1–3) or the challenge (4, 5). ValueError for others."""
    tables: dict[str, dict[str, Any]] = _published()["tables"]
    if str(number) not in tables:
        raise ValueError(f"`table` must be one of {', '.join(tables)}, got {number}")
    return tables[str(number)]


def published_rows(number: int) -> list[Row]:
    """The published rows of a table.

    Raises:
        ValueError: ``number`` is not 1 … 5.
    """
    data = _published()
    table = published_table(number)
    bicubic = {row.get("set", table["set"]): row["lpips"] for row in table["rows"] if row["name"] == "bicubic"}
    rows = []
    for row in table["rows"]:
        source = data["sources"][row.get("source", table["source"])]
        images = row.get("set", table["set"])
        values = {PUBLISHED_BACKEND: row.get("lpips"), **{key: row.get(key) for key in COLUMNS}}
        if images in bicubic:
            values["ratio"] = row["lpips"] / bicubic[images]
        rows.append(Row(row["name"], True, values, row.get("settings", []), images, source["text"], source["url"]))
    return rows
