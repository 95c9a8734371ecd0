"""From a run to a model: the form that `VSpSR.from_pretrained` reads, with a model card filled in from the run."""

import csv
import shutil
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

from vspsr.errors import ModelError, OutputError
from vspsr.files import read_text, replacing
from vspsr.model import VSpSR
from vspsr.training.build import model_of
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.recipe import Phase, Recipe
from vspsr.training.recipe_file import parse_recipe
from vspsr.version import __version__

__all__ = ["export"]

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
    path = _find(checkpoint)
    state = read_checkpoint(path)
    recipe = parse_recipe(state["recipe"], str(path))
    if (output / "config.json").exists() and not overwrite:
        raise OutputError(f"{output}: holds a model already, which is kept unless overwriting is asked for")
    model = model_of(recipe, state["average"], temperature)
    model.save_pretrained(output, half)
    run = path.parent.parent
    figures = _figures(run / "metrics.csv", state["step"])
    pictures = sorted((run / "pictures").glob("step-*.png"))
    if pictures:
        shutil.copyfile(pictures[-1], output / _EXAMPLE)
    card = _card(model, recipe, state, figures, bool(pictures))
    with replacing(output / "README.md", overwrite=True) as file:
        file.write(card.encode())
    return model


def _find(checkpoint: Path) -> Path:
    if not checkpoint.is_dir():
        return checkpoint
    found = latest(checkpoint)
    if found is None or not found.exists():
        raise ModelError(f"{checkpoint}: no checkpoint of a run in this folder")
    return found


def _figures(path: Path, step: int) -> dict[str, float]:
    """The newest validation figures up to a step."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if int(r["step"]) <= step and r.get("val/psnr_mean")]
    return {k.removeprefix("val/"): float(v) for k, v in rows[-1].items() if k.startswith("val/") and v} if rows else {}


def _card(
    model: VSpSR,
    recipe: Recipe,
    state: dict[str, Any],
    figures: dict[str, float],
    picture: bool,
) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    options = ", ".join(f"{k} {v}" for k, v in model.config["options"].items())  # type: ignore[union-attr, attr-defined]
    lines = [
        "---",
        "library_name: vspsr",
        "pipeline_tag: image-to-image",
        "tags: [super-resolution, stochastic-super-resolution, uncertainty]",
        "---",
        f"# {recipe.name}",
        "",
        f"The super-resolution space of an image at x{model.scale}: LR image → distribution over HR images, every "
        f"sample of which downscales ({model.degradation.kernel}) to the LR image.",
        *(["", recipe.description] if recipe.description else []),
        "",
        "```python",
        "from vspsr import VSpSR",
        "",
        'model = VSpSR.from_pretrained("PATH_OR_HUB_ID_OF_THIS_MODEL")',
        "samples = model(y).sample(10, seed=0)",
        "```",
        "",
        f"**Network.** `{model.config['network']}` ({options}), {parameters / 1e6:.2f} M parameters. Default "
        f"temperature {model.temperature:g}.",
        "",
        f"**Data.** {state['n_images']} training images. {_credits(recipe)}".rstrip(),
        "",
        f"**Recipe.** {state['step']} steps of {recipe.batch} crops of "
        f"{recipe.crop}×{recipe.crop} LR pixels, Adam at {recipe.optimiser.rate:g}, seed {recipe.seed}, "
        f"vspsr {__version__}. {_origin(recipe)}"
        f"{'Samples were projected onto consistency inside the loss. ' if recipe.projection else ''}Phases:",
        "",
        *(f"- {phase.name}: {_terms(phase)}" for phase in recipe.phases),
        "",
        *_table(figures),
        *([f"![Bicubic, mean, two samples, HR]({_EXAMPLE})", ""] if picture else []),
        f"**Limits.** Trained for this degradation {_unseen(recipe)}: on other LR images it sharpens their "
        "artefacts. Textures are plausible, not true: `stddev` says where they are invented.",
        "",
    ]
    return "\n".join(lines)


def _origin(recipe: Recipe) -> str:
    """What else the weights have seen: what the model that the run went on from was trained on."""
    if recipe.initial is None:
        return ""
    return f"It went on from `{recipe.initial}`: what that was trained on counts, too. "


def _unseen(recipe: Recipe) -> str:
    if (jpeg := recipe.data.jpeg) is None:
        return "without noise or compression"
    return f"without noise, and with JPEGs of quality {min(jpeg.quality)} to {max(jpeg.quality)}"


def _terms(phase: Phase) -> str:
    return " + ".join(f"{loss.weight:g} · {name}" for name, loss in phase.terms())


def _table(figures: dict[str, float]) -> list[str]:
    """Validation figures, and what they are."""
    if not figures:
        return []
    head = ["**Figures** on the validation images (whole images, averaged weights, samples at temperature 1):", ""]
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return [*head, "| figure | value |", "|---|---|", *rows, ""]


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
