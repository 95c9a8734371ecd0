"""Charts of the benchmarks: what a table says, to look at. Needs matplotlib (the extra `eval`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def bars(path: Path, title: str, values: Mapping[str, float], unit: str) -> None:
    """One horizontal bar for each value, its number beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.5 * len(values) + 1), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=unit)
    axes.bar_label(axes.barh(list(values), list(values.values())), fmt=" %.2f")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    figure.savefig(path)


def lines(
    path: Path, title: str, x: Sequence[float], series: Mapping[str, Sequence[float]], labels: tuple[str, str]
) -> None:
    """Lines over common places, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=labels[0], ylabel=labels[1], xscale="log", yscale="log")
    for name, values in series.items():
        axes.plot(x, values, marker="o", label=name)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)
