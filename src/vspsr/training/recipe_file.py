"""Recipes from YAML files and back.

A misspelt key is an error that names the nearest right one; a value of the wrong type or out of range names the key.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from vspsr.errors import did_you_mean
from vspsr.files import one_line, replacing
from vspsr.training.recipe import Recipe, RecipeError

__all__ = ["load_recipe", "parse_recipe", "plain", "shipped_recipes", "write_recipe"]


def parse_recipe(content: Any, name: str = "recipe") -> Recipe:
    """A recipe from plain containers. RecipeError, one line, names the key that is wrong."""
    if not isinstance(content, Mapping):
        raise RecipeError(f"{name}: a recipe is a mapping of keys to values, got {type(content).__name__}")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{name}: {_explain(error)}") from error


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, with changes "key.key=value" (value in YAML, list entries by number) applied.

    Args:
        path: the file, or one of the package's recipes: "configs/x4.yaml" or just "x4", "paper/x8", …
        changes: as above.

    Raises:
        RecipeError: the file cannot be read, or a key or value is wrong.
    """
    try:
        content = yaml.safe_load(_located(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values, got {type(content).__name__}")
    for change in changes:
        _apply(content, change)
    return parse_recipe(content, str(path))


def shipped_recipes() -> dict[str, Path]:
    """The package's recipes by name: "x4", "paper/x4", "ablation/1", …"""
    folder = Path(str(resources.files("vspsr") / "configs"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}


def _located(path: Path) -> Path:
    """The file, or where there is none the package's recipe of this name."""
    if path.exists():
        return path
    shipped = shipped_recipes()
    name = path.with_suffix("").as_posix().removeprefix("configs/")
    if name not in shipped:
        raise RecipeError(f"{path}: no such file, nor one of the package's recipes: {', '.join(shipped)}")
    return shipped[name]


def _apply(content: Any, change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise RecipeError(f"`--set` {change!r}: write it as key=value, for instance batch=16 or data.workers=4")
    *parents, last = key.split(".")
    try:
        for part in parents:
            if isinstance(content, list):
                content = content[int(part)]
            else:
                if not isinstance(content.get(part), Mapping | list):
                    content[part] = {}
                content = content[part]
        content[int(last) if isinstance(content, list) else last] = yaml.safe_load(text)
    except (LookupError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(f"`--set` {change!r}: there is no such place in the recipe ({one_line(error)})") from error


def _explain(error: ValidationError) -> str:
    """The first problem in one line, misspelt keys before all else."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "tagged-", "constrained-"))]
    if problem["type"] != "extra_forbidden":
        text = problem["msg"].removeprefix("Value error, ")
        got = (
            ""
            if isinstance(problem["input"], Mapping) or problem["type"] == "missing"
            else f", got {problem['input']!r}"
        )
        return f"`{'.'.join(place) or 'recipe'}`: {text}{got}"
    known = list(_part_at(Recipe, problem["loc"][:-1]).model_fields)
    return f"unknown key `{'.'.join(place)}`: {did_you_mean(place[-1], known)}"


def _part_at(part: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel]:
    """The schema that holds at a place of the recipe."""
    for key in place:
        field = part.model_fields.get(str(key))
        if field is not None:
            part = next(iter(_schemas(field.annotation)), part)
    return part


def _schemas(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [s for a in get_args(annotation) for s in _schemas(a)]


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain containers, defaults left out."""
    return recipe.model_dump(mode="json", exclude_unset=True)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """The recipe as it is run, as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as file:
        file.write(yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True).encode())
