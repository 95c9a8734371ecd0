"""The public surface, and which way imports run."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vspsr

SOURCE = Path(vspsr.__file__).parent

# Each module of the core may import only from modules of a lower level.
LEVELS = [
    {"errors", "banded"},
    {"files", "resize", "noise"},
    {"degradation", "picture", "metadata"},
    {"nn.deterministic", "nn.parameters"},
    {"nn.vspm", "nn.overlapping", "nn.discriminator", "interior", "state"},
    {"windows", "covariance", "image"},
    {"search"},
    {"exact"},
    {"consistency"},
    {"space", "pretrained"},
    {"model", "sheets"},
    {"inference"},
    {"jobs", "console"},
    {"commands"},
]

# Each room: the highest module of the core, and the other rooms, that it may import from. Only the command line, which
# imports what it likes, imports from rooms.
ROOMS: dict[str, tuple[str, set[str]]] = {
    "metrics": ("degradation", set()),
    "evaluation": ("console", {"metrics"}),
    "data": ("console", set()),
    "training": ("console", {"data", "metrics"}),
}


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
    for name, path in modules().items():
        room = name.split(".")[0]
        if name == "cli":
            continue
        if room not in ROOMS:
            assert name in level, f"{name} has no level"
            for other in imported(path):
                assert level.get(other, 99) < level[name], f"{name} imports {other}, which is not below it"
            continue
        highest, rooms = ROOMS[room]
        for other in imported(path):
            allowed = {room} | rooms
            if other.split(".")[0] not in allowed:
                assert level.get(other, 99) <= level[highest], f"{name} imports {other}"
    assert set(level) <= set(modules())
    assert {name.split(".")[0] for name in modules()} >= set(ROOMS)


def test_no_module_imports_itself_by_a_detour() -> None:
    known = set(modules())
    graph = {name: imported(path) & known for name, path in modules().items()}
    list(TopologicalSorter(graph).static_order())


def test_files_keep_to_their_rooms() -> None:
    """Only image.py knows the image library; no file outgrows its room."""
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        assert ("import pyvips" in text) == (name == "image"), name
        assert len(text.splitlines()) <= 300, name
