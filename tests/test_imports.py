"""Which way imports run: from the packages listed later to those listed earlier, never back."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vspsr

SOURCE = Path(vspsr.__file__).parent

# A package or root module may import from itself and from those above it in this list.
ORDER = [
    "version",
    "errors",
    "checks",
    "kept_inputs",
    "files",
    "state_dicts",
    "progress",
    "degradation",
    "images",
    "consistency",
    "space",
    "nn",
    "model",
    "upscaling",
    "metrics",
    "data",
    "training",
    "baselines",
    "report",
    "evaluation",
    "explorer",
    "cli",
]
ROOT_MODULES = {"version", "errors", "checks", "kept_inputs", "files", "state_dicts", "progress", "model"}


def modules(source: Path) -> dict[str, Path]:
    """Dotted name below `vspsr` → file; a package has the name of its folder, the root package the empty one."""
    names = {p: p.relative_to(source).with_suffix("").parts for p in source.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): p for p, parts in names.items()}


def imported(path: Path, name: str) -> Iterator[str]:
    """What a file imports from vspsr, as dotted names below it: absolute, relative, whole or in part."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("vspsr").lstrip(".") for a in node.names if a.name.split(".")[0] == "vspsr")
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                parts = [*filter(None, package[: len(package) - (node.level - 1)]), *base]
            elif base[0] == "vspsr":
                parts = base[1:]
            else:
                continue
            yield from (".".join([*parts, alias.name]) for alias in node.names)


def upward_imports(source: Path) -> list[str]:
    """Every import that does not follow `ORDER`, in words."""
    wrong = []
    for name, path in modules(source).items():
        package = name.split(".")[0]
        if not package:  # the root package offers names of all
            continue
        for other in imported(path, name):
            target = other.split(".")[0]
            if target not in ORDER or ORDER.index(target) > ORDER.index(package):
                wrong.append(f"{name} imports {other or 'vspsr itself'}")
    return wrong


def test_every_package_has_its_place() -> None:
    found = {p.stem for p in SOURCE.iterdir() if p.suffix == ".py" or (p.is_dir() and any(p.glob("*.py")))}
    assert found - {"__init__"} == set(ORDER)
    assert {p.stem for p in SOURCE.glob("*.py")} - {"__init__"} == ROOT_MODULES


def test_imports_run_one_way() -> None:
    assert upward_imports(SOURCE) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("degradation/operator.py", "from vspsr.model import VSpSR"),
        ("degradation/operator.py", "from vspsr import VSpSR"),
        ("space/__init__.py", "from vspsr import nn"),
        ("space/__init__.py", "import vspsr.nn.vspm"),
        ("images/io.py", "    from ..upscaling import pictures"),
        ("report/page.py", "from vspsr.evaluation.request import Request"),
        ("checks.py", "from .files import one_line"),
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    for path in SOURCE.rglob("*.py"):
        copy = tmp_path / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert upward_imports(tmp_path) == []
    with (tmp_path / file).open("a") as source:
        source.write(f"\n\ndef planted():\n{line}\n" if line.startswith(" ") else f"\n{line}\n")
    assert len(upward_imports(tmp_path)) == 1


def test_no_module_imports_itself_by_a_detour() -> None:
    known = modules(SOURCE)
    graph = {}
    for name, path in known.items():
        if path.name != "__init__.py":
            found = set(imported(path, name))
            graph[name] = {o for f in found for o in (f, f.rpartition(".")[0]) if o in known and o != name} - {""}
            graph[name] = {o for o in graph[name] if known[o].name != "__init__.py"}
    list(TopologicalSorter(graph).static_order())


def test_files_keep_to_their_packages() -> None:
    """Only `images` imports pyvips and Pillow, and no file outgrows 300 lines."""
    for name, path in modules(SOURCE).items():
        text = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(import|from) (pyvips|PIL)\b", text, re.MULTILINE):
            assert name.startswith("images."), name
        assert len(text.splitlines()) <= 300, name


def test_no_two_classes_share_a_name() -> None:
    places = defaultdict(list)
    for name, path in modules(SOURCE).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
