"""From a run to a model: the form that `VSpSR.from_pretrained` reads, with a model card filled in from the run."""

import csv
import shutil
from collections import Counter
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

from vspsr.checks import check_temperature
from vspsr.errors import ModelError, OutputError
from vspsr.files import read_text, write_bytes
from vspsr.model import VSpSR
from vspsr.training.build import build_model
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.metrics_table import MetricsTable
from vspsr.training.recipe import Recipe
from vspsr.training.recipe_file import parse_recipe
from vspsr.version import __version__

_EXAMPLE = "example.png"


def export(
    checkpoint: Path,
    output: Path,
    temperature: float | None = None,
    overwrite: bool = False,
    half: bool = False,
) -> VSpSR:
    """Write a run's averaged weights as a model: config.json, model.safetensors, README.md (its card), a picture.

    Args:
        checkpoint: a checkpoint, or the folder of a run (its newest checkpoint).
        output: folder of the model, made if missing.
        temperature: default temperature of the model, in place of the recipe's.
        overwrite: replace a model that is there.
        half: store the weights in float16.

    Raises:
        ModelError: no checkpoint there, or a damaged one; a weight that float16 cannot hold; other weights that do
            not fit.
        OutputError: the folder holds a model already, or cannot be written.
    """
    path = latest(checkpoint) if checkpoint.is_dir() else checkpoint
    if path is None:
        raise ModelError(f"{checkpoint}: no checkpoint of a run in this folder")
    state = read_checkpoint(path)
    recipe = parse_recipe(state["recipe"], str(path))
    if (output / "config.json").exists() and not overwrite:
        raise OutputError(f"{output}: holds a model already: use `overwrite` or another folder")
    model = build_model(recipe, state["average"])
    if temperature is not None:
        model.temperature = check_temperature(temperature)
    model.save_pretrained(output, half)
    run = path.parent.parent
    rows = [row for row in MetricsTable(run / "metrics.csv", state["step"]).rows if row.get("val/psnr_mean")]
    figures = {k.removeprefix("val/"): v for k, v in rows[-1].items() if k.startswith("val/") and v} if rows else {}
    pictures = sorted((run / "pictures").glob("step-*.png"))
    if pictures:
        shutil.copyfile(pictures[-1], output / _EXAMPLE)
    card = _card(model, recipe, state, figures, bool(pictures))
    write_bytes(output / "README.md", card.encode(), overwrite=True)
    return model


def _card(model: VSpSR, recipe: Recipe, state: dict[str, Any], figures: dict[str, str], picture: bool) -> str:
    """The template beside this file, filled in."""
    origin, projected, seen = "", "", "without noise or compression"
    if recipe.initial is not None:
        origin = f"It went on from `{recipe.initial}`: what that was trained on counts, too. "
    if recipe.projection:
        projected = "Samples were projected onto consistency inside the loss. "
    if (jpeg := recipe.data.jpeg) is not None:
        seen = f"without noise, and with JPEGs of quality {min(jpeg.quality)} to {max(jpeg.quality)}"
    sums = [" + ".join(f"{loss.weight:g} · {name}" for name, loss in phase.terms()) for phase in recipe.phases]
    rows = "".join(f"| {name} | {float(value):.4g} |\n" for name, value in figures.items())
    head = "**Figures** on the validation images (whole images, averaged weights, samples at temperature 1):"
    return (
        (resources.files("vspsr.training") / "card.md")
        .read_text(encoding="utf-8")
        .format(
            model=model,
            recipe=recipe,
            state=state,
            version=__version__,
            options=", ".join(f"{k} {v}" for k, v in model.config["options"].items()),
            millions=sum(p.numel() for p in model.parameters()) / 1e6,
            description=f"\n{recipe.description}\n" if recipe.description else "",
            calibrated="as the recipe says" if model.calibration != 1 else "not calibrated",
            credits=_credits(recipe),
            origin=origin,
            projected=projected,
            seen=seen,
            phases="\n".join(f"- {phase.name}: {losses}" for phase, losses in zip(recipe.phases, sums, strict=True)),
            table=f"{head}\n\n| figure | value |\n|---|---|\n{rows}\n" if figures else "",
            picture=f"![Bicubic, mean, two samples, HR]({_EXAMPLE})" if picture else "",
        )
    )


def _credits(recipe: Recipe) -> str:
    """Licences and sources of the training images, where the data folder's manifest has them."""
    manifest = None if recipe.data.folder is None else recipe.data.folder / "manifest.csv"
    if manifest is None or not manifest.is_file():
        return "(Say here whose they are, and under which licence.)"
    rows = [r for r in csv.DictReader(StringIO(read_text(manifest), newline="")) if r.get("split") == "train"]
    counted = Counter((row.get("source", ""), row.get("licence", "")) for row in rows)
    if not rows or "licence" not in rows[0]:
        return ""
    return "; ".join(f"{n} from {source} ({licence})" for (source, licence), n in counted.most_common()) + "."
