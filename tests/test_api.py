"""The public surface, and which way imports run."""

import ast
from pathlib import Path

import pytest

import vspsr

SOURCE = Path(vspsr.__file__).parent

# Each module may import only from modules of a lower level.
LEVELS = [
    {"errors", "banded"},
    {"files", "resize", "noise"},
    {"degradation", "picture", "metadata"},
    {"nn.deterministic", "nn.parameters"},
    {"nn.vspm", "nn.overlapping", "interior", "state"},
    {"windows", "covariance", "image"},
    {"exact"},
    {"consistency"},
    {"space"},
    {"model", "sheets"},
    {"inference"},
    {"jobs", "console"},
    {"cli"},
]


def modules() -> dict[str, Path]:
    return {
        ".".join(p.relative_to(SOURCE).with_suffix("").parts): p
        for p in SOURCE.rglob("*.py")
        if p.name != "__init__.py"
    }


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vspsr."):
            names.add(node.module.removeprefix("vspsr."))
    return names


def test_public_names() -> None:
    assert vspsr.__all__ == [
        "Consistent",
        "Degradation",
        "SRSpace",
        "VSpSR",
        "project",
        "quantize",
        "read_image",
        "upscale",
        "write_image",
    ]
    for name in vspsr.__all__:
        assert getattr(vspsr, name).__doc__
    assert dir(vspsr) == sorted(vspsr.__all__)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = vspsr.nothing


def test_imports_run_one_way() -> None:
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    training = {name for name in modules() if name.startswith("training.")}
    assert set(modules()) - training == set(level)
    for name, path in modules().items():
        for other in imported(path):
            if name in training:
                assert other in training or level[other] <= level["model"], (name, other)
            else:
                assert level[other] < level[name], f"{name} imports {other}, which is not below it"


def test_files_keep_to_their_rooms() -> None:
    """Only image.py knows the image library; no file outgrows its room."""
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        assert ("import pyvips" in text) == (name == "image"), name
        assert len(text.splitlines()) <= 300, name
