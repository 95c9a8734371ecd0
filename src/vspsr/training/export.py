"""From a run to a model: the form that `VSpSR.from_pretrained` reads, with a model card filled in from the run."""

import pprint
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

from vspsr.checks import check_temperature
from vspsr.data.csv_tables import read_csv
from vspsr.errors import ModelError
from vspsr.files import check_free, read_bytes, write_bytes
from vspsr.model import VSpSR, model_of
from vspsr.training.checkpoint import FORMAT, latest, read_checkpoint
from vspsr.training.metrics_table import MetricsTable
from vspsr.training.recipe import Recipe
from vspsr.training.recipe_file import parse_recipe
from vspsr.version import __version__

_CARD, _EXAMPLE = "README.md", "example.png"


def export(
    checkpoint: Path, output: Path, temperature: float | None = None, overwrite: bool = False, half: bool = False
) -> VSpSR:
    """Write a run's averaged weights as a model: config.json, model.safetensors, README.md (its card), a picture.

    Args:
        checkpoint: a checkpoint, or the folder of a run (its newest checkpoint).
        output: folder of the model, made if missing.
        temperature: default temperature of the model, in place of the recipe's.
        overwrite: replace files of these names that are there.
        half: store the weights in float16.

    Raises:
        ModelError: no checkpoint there, or a damaged one; a weight that float16 cannot hold.
        OutputError: a file of one of these names is there already, or cannot be written. Nothing has been written.
        VSpSRError: the run's metrics.csv or picture cannot be read.
    """
    path = latest(checkpoint) if checkpoint.is_dir() else checkpoint
    if path is None:
        raise ModelError(f"{checkpoint}: no checkpoint of a run in this folder")
    state = read_checkpoint(path, to_resume=False)
    for name in ("config.json", "model.safetensors", _CARD, _EXAMPLE):
        check_free(output / name, overwrite)
    model = model_of(state["model"], {f"network.{k}": v for k, v in state["average"].items()}, str(path), str(path))
    if temperature is not None:
        model.temperature = check_temperature(temperature)
    run = path.parent.parent
    rows = [row for row in MetricsTable(run / "metrics.csv", state["step"]).rows if row.get("val/psnr_mean")]
    figures = {k.removeprefix("val/"): v for k, v in rows[-1].items() if k.startswith("val/") and v} if rows else {}
    pictures = sorted((run / "pictures").glob("step-*.png"))
    files = {_EXAMPLE: read_bytes(pictures[-1])} if pictures else {}
    card = _card(model, state, figures, bool(pictures), path) if state["format"] == FORMAT else _earlier_card(state)
    files[_CARD] = card.encode()
    model.save_pretrained(output, half)
    for name, content in files.items():
        write_bytes(output / name, content, overwrite)
    return model


def _earlier_card(state: dict[str, Any]) -> str:
    """The card of a run of an earlier version, whose recipe may have losses that are no longer there."""
    recipe = pprint.pformat(state["recipe"], sort_dicts=False, width=120)
    return f"{state['step']} steps by an earlier version of vspsr, by this recipe:\n\n```python\n{recipe}\n```\n"


def _card(model: VSpSR, state: dict[str, Any], figures: dict[str, str], picture: bool, path: Path) -> str:
    """The template beside this file, filled in."""
    recipe = parse_recipe(state["recipe"], str(path), saved=True)
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
    rows = [row for row in read_csv(manifest, ()) if row.get("split") == "train"]
    counted = Counter((row.get("source") or "", row.get("licence") or "") for row in rows)
    if not rows or "licence" not in rows[0]:
        return ""
    return "; ".join(f"{n} from {source} ({licence})" for (source, licence), n in counted.most_common()) + "."
