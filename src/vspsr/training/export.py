"""From a run to a model: the form that `VSpSR.from_pretrained` reads, with a model card filled in from the run."""

import csv
import shutil
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from vspsr.errors import ModelError, OutputError
from vspsr.files import read_text, replacing
from vspsr.model import VSpSR
from vspsr.training.build import load_initial, model_of
from vspsr.training.checkpoint import latest, read_checkpoint
from vspsr.training.losses.options import Losses
from vspsr.training.recipe import Recipe
from vspsr.training.recipe_file import parse_recipe
from vspsr.version import __version__

__all__ = ["export"]

_EXAMPLE = "example.png"


def export(
    checkpoint: Path,
    output: Path,
    best: bool = False,
    temperature: float | None = None,
    overwrite: bool = False,
    half: bool = False,
    others: Sequence[Path] = (),
) -> VSpSR:
    """Write a run's averaged weights as a model: config.json, model.safetensors, README.md (its card), a picture.

    Args:
        checkpoint: a checkpoint, or the folder of a run (its newest checkpoint).
        output: folder of the model, made if missing.
        best: of a run's folder, the checkpoint with the best validation figure.
        temperature: default temperature of the model, in place of the recipe's.
        overwrite: replace a model that is there.
        half: store the weights in float16.
        others: shipped models by name, folders of models or of runs, checkpoints: the weights become the mean of the
            run's and all of theirs ("model soup", Wortsman et al. 2022; of runs that began with the same weights).

    Raises:
        ModelError: no checkpoint there, or a damaged one; a weight that float16 cannot hold; other weights that do
            not fit.
        OutputError: the folder holds a model already, or cannot be written.
    """
    path = _find(checkpoint, best)
    state = read_checkpoint(path)
    recipe = parse_recipe(state["recipe"], str(path))
    if (output / "config.json").exists() and not overwrite:
        raise OutputError(f"{output}: holds a model already, which is kept unless overwriting is asked for")
    model = model_of(recipe, state["average"], temperature)
    _average(model, others)
    model.save_pretrained(output, half)
    run = path.parent.parent
    # Figures and pictures of the run are not those of the mean with others.
    figures = {} if others else _figures(run / "metrics.csv", state["step"])
    pictures = [] if others else sorted((run / "pictures").glob("step-*.png"))
    if pictures:
        shutil.copyfile(pictures[-1], output / _EXAMPLE)
    card = _card(model, recipe, state, figures, bool(pictures), others)
    with replacing(output / "README.md", overwrite=True) as file:
        file.write(card.encode())
    return model


def _average(model: VSpSR, others: Sequence[Path]) -> None:
    """Make the weights the mean of the model's own and others'."""
    weights = {k: v.clone() for k, v in model.network.state_dict().items()}
    total = {k: v.double() for k, v in weights.items() if v.is_floating_point()}
    for path in others:
        load_initial(model, path)
        theirs = model.network.state_dict()
        total = {k: v + theirs[k] for k, v in total.items()}
    mean = {k: v / (1 + len(others)) for k, v in total.items()}
    model.network.load_state_dict(weights | mean)


def _find(checkpoint: Path, best: bool) -> Path:
    if not checkpoint.is_dir():
        return checkpoint
    found = checkpoint / "checkpoints" / "best.pt" if best else latest(checkpoint)
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
    others: Sequence[Path],
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
        f"**Recipe.** {state['step']} steps of {recipe.batch * state['processes']} crops of "
        f"{recipe.crop}×{recipe.crop} LR pixels, Adam at {recipe.optimiser.rate:g}, seed {recipe.seed}, "
        f"vspsr {__version__}. {_origin(recipe)}{_company(others)}"
        f"{'Samples were projected onto consistency inside the loss. ' if recipe.projection else ''}Phases:",
        "",
        *(f"- {phase.name}: {_terms(phase.losses)}" for phase in recipe.phases),
        "",
        *_table(figures),
        *([f"![Bicubic, mean, two samples, HR]({_EXAMPLE})", ""] if picture else []),
        "**Limits.** Trained for this degradation without noise or compression: on other LR images it sharpens their "
        "artefacts. Textures are plausible, not true: `stddev` says where they are invented.",
        "",
    ]
    return "\n".join(lines)


def _origin(recipe: Recipe) -> str:
    """What else the weights have seen: the model that the run went on from, and the change of its atoms."""
    if recipe.initial is None:
        return ""
    copies = "" if recipe.spread is None else f", its {recipe.spread.strongest} strongest atoms in the place of all"
    return f"It went on from `{recipe.initial}`{copies}: what that was trained on counts, too. "


def _company(others: Sequence[Path]) -> str:
    """What the weights were averaged with."""
    names = ", ".join(f"`{path}`" for path in others)
    return f"The weights are the mean of this run's and those of {names}. " if others else ""


def _terms(losses: Losses) -> str:
    found = []
    for name in type(losses).model_fields:
        value = getattr(losses, name)
        for term in value if isinstance(value, tuple) else [value]:
            if term is not None:
                found.append(f"{term.weight:g} · {name}")
    return " + ".join(found)


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
