"""Calibration in the report: plots and a table of the tallies of all images."""

import math
from typing import Any

from markupsafe import Markup

from vspsr.metrics import LEVELS, Calibration, Marginals
from vspsr.report.plots import Series, pit_plot, reliability_plot, spread_skill_plot
from vspsr.report.words import number

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
    labels = [f"inside {100 * v:g} % (%)" for v in LEVELS]
    labels += ["spread / error", "RMSE of the mean", "CRPS", "energy score", "energy, 8×8 patches"]
    rows = []
    for name, m in kinds.items():
        inside = [number(100 * m.coverage(v), 1) for v in LEVELS]
        energies = (tallies.energy_score, tallies.patch_energy_score) if m is tallies.samples else (None, None)
        figures = [number(v, 2) for v in (m.spread_skill, m.rmse, m.crps, *energies)]
        rows.append({"label": name, "cells": inside + figures})
    return {"columns": labels, "rows": rows}
