"""Recipes from YAML files and back.

A recipe may be laid over another one: `extends` names it, a file beside this one or a recipe of the package. Mappings
are merged key by key, a mapping over a list changes entries by their number, anything else replaces what was there;
null leaves out a key or an entry. A misspelt key is an error that names the nearest right one; a value of the wrong
type or out of range is an error that names the key.
"""

import reprlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from vspsr.errors import did_you_mean
from vspsr.files import one_line, read_text, replacing
from vspsr.training.losses import LOSSES, Loss
from vspsr.training.recipe import Recipe, RecipeError

__all__ = ["load_recipe", "parse_recipe", "plain", "shipped_recipes", "write_recipe"]

_LONGEST_CHAIN = 8  # of recipes that extend one another
_RENAMED = {
    "energy_strength": "log_power_crps",
    "through_mean": "mean_gradient_scale",
}
"""Keys in the phases of recipes that earlier versions saved."""
_ONLY_CHOICE = (("discriminator", "authors"), ("loss", "least-squares"))
"""Entries in the phases of such recipes whose value is the only one that is left."""
_REMOVED = {
    "data.detail": "crops are no longer chosen by their detail",
    "discriminator": "the authors' is the only one",
    "loss": "least squares is the only one",
    "temperature": "samples are drawn at temperature 1 in training",
    "spread": "recipes are run from scratch",
    "frozen": "recipes are run from scratch",
    "data.workers": "crops are made on the device that trains",
    "data.augment": "it is `data.turn` now",
    "data.rotate": "crops are turned by quarters only",
    "validation.monitor": "there is no `best.pt` any more",
}
"""Keys of earlier versions that have no successor, and why."""


def parse_recipe(content: Any, name: str = "recipe") -> Recipe:
    """A recipe from plain containers. RecipeError, one line, names the key that is wrong."""
    if not isinstance(content, Mapping):
        raise RecipeError(f"{name}: a recipe is a mapping of keys to values, got {type(content).__name__}")
    try:
        return Recipe.model_validate(_with_current_names(content))
    except ValidationError as error:
        raise RecipeError(f"{name}: {_explain(error)}") from error
    except RecursionError as error:
        raise RecipeError(f"{name}: is nested too deeply") from error


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, with changes "key.key=value" (value in YAML, list entries by number) applied.

    Args:
        path: the file, or one of the package's recipes: "configs/x4.yaml" or just "x4", "paper/x8", …
        changes: as above.

    Raises:
        RecipeError: the file or one that it extends cannot be read, or a key or value is wrong.
    """
    try:
        content = _resolved(path, ())
    except RecursionError as error:
        raise RecipeError(f"{path}: is nested too deeply") from error
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
    if len(chain) == _LONGEST_CHAIN:
        raise RecipeError(f"{chain[0]}: `extends` more than {_LONGEST_CHAIN - 1} recipes, one after another")
    try:
        content = yaml.safe_load(read_text(file, error=RecipeError))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise RecipeError(f"{path}: cannot be read as a recipe ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values, got {type(content).__name__}")
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise RecipeError(f"{path}: `extends` must be the name or the path of a recipe, got {reprlib.repr(base)}")
    return _laid_over(_resolved(Path(base), (*chain, file)), content, str(path))  # type: ignore[no-any-return]


def _located(path: Path, folder: Path) -> Path:
    """The file as seen from a folder, or the package's recipe of this name if there is none."""
    try:
        if (file := folder / path).exists() and not file.is_dir():
            return file
    except (OSError, ValueError):  # too long for a name, a null character
        pass
    shipped = shipped_recipes()
    name = path.as_posix().removesuffix(".yaml").removeprefix("configs/")
    if name not in shipped:
        raise RecipeError(f"{path}: no such file, nor one of the package's recipes: {', '.join(shipped)}")
    return shipped[name]


def _laid_over(base: Any, changes: Any, name: str) -> Any:
    """``changes`` merged into ``base``, as the head of this file says."""
    if isinstance(base, dict) and isinstance(changes, dict):
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
    except RecursionError as error:
        raise RecipeError(f"`--set` {change[:60]!r}: is nested too deeply") from error
    except (LookupError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(f"`--set` {change!r}: there is no such place in the recipe ({one_line(error)})") from error


def _with_current_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with the names of this version, where earlier ones saved others."""
    recipe = {**content, "phases": _renamed(content["phases"])} if "phases" in content else dict(content)
    model = recipe.get("model")
    if isinstance(model, Mapping) and isinstance(options := model.get("options"), Mapping):
        prior = {k: options[k] for k in ("alpha", "beta") if k in options}  # once options of `vspm`
        if prior and isinstance(recipe.get("phases"), list):
            recipe["model"] = {**model, "options": {k: v for k, v in options.items() if k not in prior}}
            recipe["phases"] = [_with_prior(phase, prior) for phase in recipe["phases"]]
    return recipe


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_RENAMED.get(k, k): _renamed(v) for k, v in value.items() if (k, v) not in _ONLY_CHOICE}
    return [_renamed(v) for v in value] if isinstance(value, list | tuple) else value


def _with_prior(phase: Any, prior: dict[str, Any]) -> Any:
    losses = phase.get("losses") if isinstance(phase, Mapping) else None
    if not isinstance(losses, Mapping) or losses.get("kl") is None:
        return phase
    kl = losses["kl"] if isinstance(losses["kl"], Mapping) else {"weight": losses["kl"]}
    return {**phase, "losses": {**losses, "kl": {**prior, **kl}}}


def _explain(error: ValidationError) -> str:
    """The first problem in one line, misspelt keys before all else."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "tagged-", "constrained-"))]
    if problem["type"] != "extra_forbidden":
        text = one_line(problem["msg"].removeprefix("Value error, "))
        found = "" if isinstance(problem["input"], Mapping) else f", got {reprlib.repr(problem['input'])}"
        return f"`{'.'.join(place) or 'recipe'}`: {text}{'' if problem['type'] == 'missing' else found}"
    key = ".".join(place)
    if why := _REMOVED.get(key, _REMOVED.get(place[-1])):
        return f"`{key}` is a key of earlier versions: {why}; leave it out"
    return (
        f"unknown key `{one_line(key)}`: {did_you_mean(place[-1], _part_at(Recipe, problem['loc'][:-1]).model_fields)}"
    )


def _part_at(part: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel]:
    """The schema that holds at a place of the recipe."""
    for key in place:
        field = part.model_fields.get(str(key))
        if field is not None:
            part = next(iter(_schemas(field.annotation)), part)
        elif part is Loss and key in LOSSES:
            part = LOSSES[str(key)]
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
