"""Calibration in the report: plots and a table of the tallies of all images."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from vspsr.metrics import LEVELS, Calibration, Marginals
from vspsr.report.numbers import number
from vspsr.report.plots import Series, pit_plot, reliability_plot, spread_skill_plot

_FEWEST = 1e-4  # share of all values that a bin of spread must hold to be drawn


def calibration_parts(tallies: Calibration | None) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Plots, each with title, SVG and caption, and a table with columns and rows; nothing for None."""
    if tallies is None:
        return [], None
    kinds = {f"{tallies.n_samples} samples": tallies.samples}
    if tallies.gaussian is not None:
        kinds["closed form"] = tallies.gaussian
    plots = [
        {
            "title": "Coverage of central intervals",
            "svg": Markup(reliability_plot([(k, *coverage_curve(m)) for k, m in kinds.items()])),
            "caption": "Share of truths inside the predicted interval. Below the dashed line: overconfident.",
        },
        {
            "title": "PIT histogram",
            "svg": Markup(pit_plot([(k, m.pit) for k, m in kinds.items()])),
            "caption": "Place of the truth in its predicted distribution. Flat is calibrated, a U is overconfident, "
            "a hill is underconfident.",
        },
    ]
    skill: list[Series] = [(k, *spread_and_skill(m)) for k, m in kinds.items()]
    skill = [s for s in skill if s[1]]
    if skill:
        plots.append(
            {
                "title": "Spread and skill",
                "svg": Markup(spread_skill_plot(skill)),
                "caption": "Error of the mean over the predicted spread. Above the dashed line: overconfident.",
            }
        )
    return plots, _table(tallies, kinds)


def coverage_curve(marginals: Marginals) -> tuple[list[float], list[float]]:
    """Nominal levels from 0 to 1, and the share of truths within the central interval of each."""
    levels = [i / 20 for i in range(21)]
    return levels, [marginals.coverage(level) for level in levels]


def spread_and_skill(marginals: Marginals) -> tuple[list[float], list[float]]:
    """Root mean variance predicted and root mean squared error, in levels, by bin of predicted spread."""
    points = [
        (math.sqrt(variance / n), math.sqrt(error / n))
        for n, variance, error in zip(*marginals.spread, strict=True)
        if n >= max(1, _FEWEST * marginals.n_values) and variance > 0 and error > 0
    ]
    return [x for x, _ in points], [y for _, y in points]


def _table(tallies: Calibration, kinds: dict[str, Marginals]) -> dict[str, Any]:
    def row(label: str, values: Sequence[float | None], digits: int) -> dict[str, Any]:
        return {"label": label, "cells": [number(v, digits) for v in values]}

    all_kinds = list(kinds.values())
    only_samples: list[None] = [None] * (len(kinds) - 1)
    rows = [row(f"inside {100 * v:g} % (%)", [100 * m.coverage(v) for m in all_kinds], 1) for v in LEVELS]
    rows += [
        row("spread / error", [m.spread_skill for m in all_kinds], 2),
        row("RMSE of the mean", [m.rmse for m in all_kinds], 2),
        row("CRPS", [m.crps for m in all_kinds], 2),
        row("energy score", [tallies.energy_score, *only_samples], 2),
        row("energy, 8×8 patches", [tallies.patch_energy_score, *only_samples], 2),
    ]
    labels = [r["label"] for r in rows]
    cells = zip(*(r["cells"] for r in rows), strict=True)
    return {"columns": labels, "rows": [{"label": k, "cells": list(c)} for k, c in zip(kinds, cells, strict=True)]}
