"""The plots of the report as SVG elements: diversity over the number of samples, and calibration."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vspsr.report.plotting import GRID, INK, SERIES, inline_svg, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = tuple[str, Sequence[float], Sequence[float]]
"""What is plotted: its name, x, y."""

_SIZE = (3.9, 3.1)


@contextmanager
def _axes(x: str, y: str) -> Iterator[tuple["Figure", "Axes"]]:
    """A figure and its axes, labelled x and y, in the colours of the page."""
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    with style(**colours, **{"grid.color": GRID, "font.size": 11}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=_SIZE, layout="constrained")
        yield figure, figure.add_subplot(xlabel=x, ylabel=y)


def diversity_plot(curve: Sequence[float | None]) -> str:
    """S_n over n; ``curve``[n − 1] is S_n, None where it is not defined."""
    points = [(n, s) for n, s in enumerate(curve, 1) if s is not None]
    last = f"; {points[-1][1]:.1f} with {points[-1][0]} samples" if points else ""
    with _axes("samples n", "score Sₙ (%)") as (figure, axes):
        axes.plot(*zip(*points, strict=True), color=SERIES[0], marker="o", markersize=4)
        axes.locator_params(axis="x", integer=True)
        axes.set_ylim(bottom=min(0.0, *(s for _, s in points)))
        return inline_svg(figure, "diversity", f"Diversity score over the number of samples{last}")


def reliability_plot(series: Sequence[Series]) -> str:
    """Coverage of central intervals: the nominal share of truths inside, and the observed one (both 0 … 1)."""
    words = []
    for name, xs, ys in series:
        step = max(1, len(xs) // 4)
        said = list(zip(xs, ys, strict=True))[step - 1 :: step]
        inside = ", ".join(f"{100 * y:.1f} % inside the {100 * x:.0f} % interval" for x, y in said)
        words.append(f"{name}: {inside}")
    with _axes("nominal (%)", "observed (%)") as (figure, axes):
        axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="calibrated")
        for (name, xs, ys), colour in zip(series, SERIES, strict=False):
            axes.plot([100 * v for v in xs], [100 * v for v in ys], color=colour, label=name)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.legend(loc="upper left")
        return inline_svg(figure, "reliability", f"Coverage of central intervals. {'; '.join(words)}")


def pit_plot(series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """PIT histograms as densities over equal bins of [0, 1]; 1 in every bin is calibrated."""
    words = "; ".join(f"{name}: {pit[0]:.2f} in the lowest bin, {pit[-1]:.2f} in the highest" for name, pit in series)
    with _axes("PIT of the truth", "density") as (figure, axes):
        axes.axhline(1, color=INK, linewidth=1, linestyle="--")
        for (name, pit), colour in zip(series, SERIES, strict=False):
            edges = [i / len(pit) for i in range(len(pit) + 1)]
            fill = len(series) == 1
            axes.stairs(pit, edges, color=colour, fill=fill, alpha=0.75 if fill else 1.0, linewidth=1.8, label=name)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        if len(series) > 1:
            axes.legend()
        return inline_svg(figure, "pit", f"PIT histogram. {words}; 1 is calibrated")


def spread_skill_plot(series: Sequence[Series]) -> str:
    """Root mean square error of the mean over the predicted standard deviation, both in levels."""
    highest = max(v for _, xs, ys in series for v in (*xs, *ys))
    words = "; ".join(f"{name}: error {ys[-1]:.1f} where {xs[-1]:.1f} is predicted" for name, xs, ys in series)
    with _axes("predicted spread (levels)", "error of the mean (levels)") as (figure, axes):
        axes.plot([0, highest], [0, highest], color=INK, linewidth=1, linestyle="--", label="calibrated")
        for (name, xs, ys), colour in zip(series, SERIES, strict=False):
            axes.plot(xs, ys, color=colour, marker="o", markersize=4, label=name)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left")
        return inline_svg(figure, "spread-skill", f"Error of the mean over the predicted spread. {words}")
