"""Recipes from YAML files and back.

A recipe may be laid over another one: `extends` names it, a file beside this one or a recipe of the package. Mappings
are merged key by key unless they name another `network`, which has options of its own; a mapping over a list changes
entries by their number, anything else replaces what was there; null leaves out a key or an entry. A misspelt key is an
error that names the nearest right one; a value of the wrong type or out of range is an error that names the key.
"""

import reprlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from pydantic import ValidationError

from vspsr.files import kind_of, one_line, read_text
from vspsr.training.recipe import Recipe, RecipeError


def parse_recipe(content: Any, name: str = "recipe", saved: bool = False) -> Recipe:
    """A recipe from plain containers, ``saved``: of a run. RecipeError, one line, names the key that is wrong."""
    try:
        return Recipe.model_validate(content, context=saved)  # earlier versions ran recipes with `steps` of no effect
    except ValidationError as error:
        raise RecipeError(f"{name}: {_explain(error)}") from error
    except RecursionError as error:
        raise RecipeError(f"{name}: is nested too deeply") from error


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, with changes "key.key=value" (value in YAML, list entries by number) applied.

    Args:
        path: the file, or one of the package's recipes: "configs/x4.yaml" or just "x4", "paper/x8", …

    Raises:
        RecipeError: the file or one that it extends cannot be read, or a key or value is wrong.
    """
    content = _resolved(path, ())
    for change in changes:
        _apply(content, change)
    return parse_recipe(content, str(path))


def shipped_recipes() -> dict[str, Path]:
    """The package's recipes by name: "x4", "paper/x4", "ablation/1", …"""
    folder = Path(str(resources.files("vspsr") / "configs"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}


def _resolved(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a recipe laid over what it extends; ``chain``: the files that led here."""
    file = _located(path, chain[-1].parent if chain else Path()).absolute()
    if file in chain:
        raise RecipeError(f"{chain[0]}: `extends` leads back to {file}")
    content = _yaml(read_text(file, error=RecipeError), str(path))
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values, got {type(content).__name__}")
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise RecipeError(f"{path}: `extends` must be the name or the path of a recipe, got {reprlib.repr(base)}")
    return _laid_over(_resolved(Path(base), (*chain, file)), content, str(path))  # type: ignore[no-any-return]


def _yaml(text: str, name: str) -> Any:
    """The value of a text in YAML. RecipeError, which begins with ``name``, where it has none."""
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise RecipeError(f"{name}: is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise RecipeError(f"{name}: cannot be read as YAML ({one_line(error)})") from error


def _located(path: Path, folder: Path) -> Path:
    """The file as seen from a folder, or the package's recipe of this name if there is none."""
    if kind_of(folder / path) == "file":
        return folder / path
    shipped = shipped_recipes()
    name = path.as_posix().removesuffix(".yaml").removeprefix("configs/")
    if name not in shipped:
        raise RecipeError(f"{path}: no such file, nor one of the package's recipes: {', '.join(shipped)}")
    return shipped[name]


def _laid_over(base: Any, changes: Any, name: str) -> Any:
    """``changes`` merged into ``base``, as the head of this file says."""
    if isinstance(base, dict) and isinstance(changes, dict) and changes.get("network") in (None, base.get("network")):
        return base | {k: _laid_over(base.get(k), v, f"{name}: {k}") for k, v in changes.items()}
    if isinstance(base, list) and isinstance(changes, dict):
        for key in changes:
            if not isinstance(key, int) or not 0 <= key < len(base):
                raise RecipeError(
                    f"{name}: is a list of {len(base)} in the recipe that is extended: give entries by number from 0, "
                    f"got {reprlib.repr(key)}"
                )
        merged = [_laid_over(v, changes[i], f"{name}.{i}") if i in changes else v for i, v in enumerate(base)]
        return [entry for entry in merged if entry is not None]
    return changes


def _apply(content: Any, change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise RecipeError(f"`--set` {change!r}: write it as key=value, for instance batch=16 or data.colour=0")
    value = _yaml(text, f"`--set` {change[:60]!r}")
    *parents, last = key.split(".")
    try:
        for part in parents:
            if not isinstance(content, list) and not isinstance(content.get(part), Mapping | list):
                content[part] = {}
            content = content[_number(part) if isinstance(content, list) else part]
        content[_number(last) if isinstance(content, list) else last] = value
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise RecipeError(f"`--set` {change!r}: there is no such place in the recipe ({one_line(error)})") from error


def _number(part: str) -> int:
    if not part.isdecimal():
        raise ValueError(f"{part!r} stands where a list has numbers, from 0")
    return int(part)


def _explain(error: ValidationError) -> str:
    """The first problem in one line, misspelt keys before all else."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "unknown_key"), problems[0])
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "tagged-", "constrained-"))]
    text = one_line(problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "unknown_key":
        return f"unknown key `{one_line('.'.join([*place, problem['ctx']['key']]))}`: {text}"
    found = problem["input"]
    got = "" if problem["type"] == "missing" or isinstance(found, Mapping) else f", got {reprlib.repr(found)}"
    return f"`{'.'.join(place) or 'recipe'}`: {text}{got}"


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain containers, defaults left out."""
    return recipe.model_dump(mode="json", exclude_unset=True)


def to_yaml(recipe: Recipe) -> bytes:
    """The recipe as it is run, a YAML file's content."""
    return yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True).encode()  # type: ignore[no-any-return]
