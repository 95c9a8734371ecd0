"""`vspsr models` and `vspsr info`: what models there are."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from vspsr.cli.console import out, print_line
from vspsr.cli.options import AsJson
from vspsr.cli.tables import print_table

_MAX_CARD = 1_000_000  # bytes

FOR = {
    "vspsr-x4": "pictures to keep (the default, except for JPEGs)",
    "vspsr-x4-explore": "experimental: the default for JPEGs and for `vspsr explore`, detail that hangs together",
    "vspsr-x8": "pictures to keep, larger steps (`vspsr upscale --scale 8`)",
}
"""What each shipped model is for."""


def models(as_json: AsJson = False) -> None:
    """List the models that come with the package.

    Example:  vspsr models
    """
    from vspsr.model import VSpSR, shipped_models

    rows: list[dict[str, Any]] = []
    for name in shipped_models():
        model = VSpSR.from_pretrained(name)
        count = sum(p.numel() for p in model.parameters())
        rows.append({"name": name, "scale": model.scale, "network": model.config["network"], "parameters": count})
        rows[-1]["for"] = FOR[name]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("model", "scale", "network", "parameters", "for")
    for row in rows:
        table.add_row(row["name"], f"x{row['scale']}", row["network"], f"{row['parameters'] / 1e6:.2f} M", row["for"])
    print_table(table)


def info(
    model: Annotated[str, typer.Argument(help="A shipped model, a folder, or a Hugging Face Hub id.")],
    as_json: AsJson = False,
) -> None:
    """Describe a model: configuration, size, and its model card where it has one.

    Example:  vspsr info vspsr-x4
    """
    from vspsr.errors import ModelError
    from vspsr.files import read_text
    from vspsr.model import VSpSR, model_file

    loaded = VSpSR.from_pretrained(model)
    count = sum(p.numel() for p in loaded.parameters())
    if as_json:
        about = {"parameters": count, "receptive_field": loaded.receptive_field}
        print(json.dumps({"name": model, **loaded.config, **about}, indent=2))
        return
    seen = "the whole image" if loaded.receptive_field is None else f"{loaded.receptive_field} LR pixels to each side"
    print_line(f"{model}: x{loaded.scale}, {count / 1e6:.2f} M parameters, sees {seen}")
    out.print_json(json.dumps(loaded.config))
    if card := model_file(model, "README.md"):
        for line in read_text(card, _MAX_CARD, ModelError).splitlines():
            print_line(line.expandtabs())
