"""The figures of the paper for any image and model: sparsity of the coefficients (its Fig. 3), comparisons with
crops (Figs. 4 and 5), atoms and the distributions of their coefficients (Fig. 6).

`vspsr.report.coefficients` measures what is drawn.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from vspsr.errors import size_text
from vspsr.images.colours import srgb_array
from vspsr.images.picture import Picture
from vspsr.images.sheets import busiest
from vspsr.report.coefficients import Basis, Sparsity
from vspsr.report.plotting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[int, int, int]
"""A square of HR pixels: (left, top, side)."""

_COLUMNS = 7  # at most so many crops side by side
_DENSITIES = 4  # atoms of which the density is drawn
_BOX_COLOURS = ("#e8590c", "#1c7ed6", "#2f9e44", "#ae3ec9")


def plot_sparsity(found: Sparsity, title: str = "") -> "Figure":
    """Histograms of a `Sparsity`, one panel a quantity."""
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.4 * len(found.quantities), 2.9), layout="constrained")
        panels = figure.subplots(1, len(found.quantities), squeeze=False)[0]
        for axes, quantity in zip(panels, found.quantities, strict=True):
            counts = np.array(quantity.counts, float)
            axes.stairs(100 * counts / counts.sum(), quantity.edges, fill=True, color="#4263eb")
            axes.set_xscale("log")
            axes.set_ylim(top=150 * counts.max() / counts.sum())  # space for the labels of the thresholds
            for threshold, share in quantity.below.items():
                if quantity.edges[0] < threshold < quantity.edges[-1]:
                    axes.axvline(threshold, color="#495057", linewidth=0.8, linestyle=":")
                    text = f"{100 * share:.0f} % below {threshold:g}"
                    place = axes.get_xaxis_transform()  # x is data, y a share of the height
                    axes.text(threshold, 0.97, text, transform=place, rotation=90, ha="right", va="top", fontsize=7)
            axes.set_xlabel(f"{quantity.label}{f' ({quantity.unit})' if quantity.unit else ''}")
        panels[0].set_ylabel("% of coefficients")
        effective = f"{found.effective_atoms:.1f} of {found.n_atoms} atoms effective at a pixel"
        figure.suptitle(f"{title}: {effective}" if title else effective, fontsize=10)
        return figure


@dataclass(frozen=True)
class Panel:
    """One method in a comparison: its picture (HR, or the LR one), its name, and the text below it."""

    label: str
    picture: Picture
    caption: str = ""


def busiest_boxes(panels: Sequence[Panel], side: int, n: int = 2) -> list[Box]:
    """Squares where the panels of the largest size differ most from each other, without overlap.

    Args:
        panels: at least one.
        side: in HR pixels; cut to the image's.
        n: at most how many.
    """
    largest = max(p.picture.size for p in panels)
    arrays = np.stack([_rgb(p.picture) for p in panels if p.picture.size == largest]).astype(np.float64)
    if len(arrays) > 1:
        levels = 1e-9 + arrays.std(0).mean(-1)
    else:
        rows, columns = np.gradient(arrays[0].mean(-1)) if min(largest) > 1 else np.zeros((2, *largest))
        levels = 1e-9 + np.abs(rows) + np.abs(columns)
    side = min(side, *largest)
    boxes: list[Box] = []
    while len(boxes) < n:
        left, top, right, bottom = busiest(levels, side)
        if not levels[top:bottom, left:right].min() > 0:
            break  # the rest overlaps the boxes found
        boxes.append((left, top, side))
        levels[top:bottom, left:right] = -largest[0] * largest[1] * levels.max()
    return boxes


def plot_comparison(panels: Sequence[Panel], boxes: Sequence[Box], title: str = "") -> "Figure":
    """The first panel whole, with the boxes marked; beside it the same crops of every panel, pixels as they are.

    Args:
        panels: the first is shown whole. Smaller ones (the LR picture) are cropped where the box lies on them.
        boxes: squares in pixels of the first panel.

    Raises:
        ValueError: no panel, no box, or a box outside the first panel.
    """
    if not panels or not boxes:
        raise ValueError(f"`panels` and `boxes` must not be empty, got {len(panels)} and {len(boxes)}")
    height, width = panels[0].picture.size
    for left, top, side in boxes:
        if min(left, top) < 0 or side < 1 or left + side > width or top + side > height:
            raise ValueError(f"crop {left},{top},{side} does not lie inside {size_text((height, width))} pixels")
    lines = -(-len(panels) // _COLUMNS)
    columns = -(-len(panels) // lines)
    with style(**{"axes.grid": False}):
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        rows = lines * len(boxes)
        whole = min(max(width / height, 0.6), 1.8) * 1.75 * rows
        figure = Figure(figsize=(whole + 1.6 * columns, 1.75 * rows + 0.3), layout="constrained")
        grid = figure.add_gridspec(rows, columns + 1, width_ratios=[whole, *[1.6] * columns])
        axes = _bare(figure.add_subplot(grid[:, 0]))
        axes.imshow(_rgb(panels[0].picture), interpolation="lanczos")
        axes.set_title(title or panels[0].label)
        for n, box in enumerate(boxes):
            colour = _BOX_COLOURS[n % len(_BOX_COLOURS)]
            axes.add_patch(Rectangle(box[:2], box[2], box[2], fill=False, edgecolor=colour, linewidth=1.5))
            for i, panel in enumerate(panels):
                cell = _bare(figure.add_subplot(grid[n * lines + i // columns, 1 + i % columns]), colour)
                factor = panel.picture.size[1] / width
                x, y, length = (v * factor for v in box)
                cell.imshow(_rgb(panel.picture), interpolation="nearest")
                cell.set_xlim(x - 0.5, x + length - 0.5)
                cell.set_ylim(y + length - 0.5, y - 0.5)
                cell.set_title(panel.label, fontsize=8)
                cell.set_xlabel(panel.caption, fontsize=7)
        return figure


def _bare(axes: "Axes", frame: str = "none") -> "Axes":
    """Axes for a picture: no ticks, and a frame in a colour."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=frame != "none", edgecolor=frame, linewidth=1.5)
    return axes


def _rgb(picture: Picture) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1], in sRGB."""
    return np.divide(srgb_array(picture), 255, dtype=np.float32)


def plot_basis(found: Basis, title: str = "") -> "Figure":
    """All atoms of each colour group, each scaled to its own maximum, and the densities of the strongest ones.

    The density of a coefficient over the image is the mixture of its Gaussians at all LR pixels; the dashed line is
    one Gaussian of the same mean and variance: the more the two differ, the sparser.
    """
    groups = len(found.atoms)
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.6 * groups + 3.6, 3.7), layout="constrained")
        panels = figure.subplots(1, groups + 1, squeeze=False)[0]
        for g, (axes, colour) in enumerate(zip(panels[:groups], ("red", "green", "blue"), strict=False)):
            axes.imshow(_mosaic(found.atoms[g]), interpolation="nearest", vmin=0, vmax=1, cmap="gray")
            _bare(axes).grid(visible=False)
            name = f"atoms of {colour}" if groups > 1 else "atoms"
            half = int((found.shares[g].cumsum(0) < 0.5).sum()) + 1
            axes.set_title(f"{found.atoms.shape[1]} {name}, strongest first")
            axes.set_xlabel(f"half of the energy in the first {half}")
        axes = panels[-1]
        for i, (x, density, gaussian) in enumerate(_densities(found)):
            label = f"atom {i + 1}: {100 * float(found.shares[0, i]):.1f} %"
            axes.plot(x, density, color=f"C{i}", label=label)
            axes.plot(x, gaussian, color=f"C{i}", linewidth=0.9, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 1e-4 * axes.get_ylim()[1]))
        axes.set_xlabel("coefficient")
        axes.set_ylabel("density over the image")
        axes.legend(title="share of the energy" + (" (red)" if groups > 1 else ""), fontsize=8)
        figure.suptitle(title, fontsize=10)
        return figure


def _mosaic(atoms: Tensor) -> NDArray[np.float32]:
    """(C, c, k, k) → one picture (H, W, c) in [0, 1]: 0.5 is zero; each atom is scaled to its own maximum."""
    count, _, k, _ = atoms.shape
    columns = math.ceil(math.sqrt(count))
    scaled = 0.5 + 0.5 * atoms / atoms.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    tiles = torch.ones(columns * -(-count // columns), atoms.shape[1], k + 1, k + 1)
    tiles[:count, :, :k, :k] = scaled.float()
    rows = tiles.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return rows.detach().numpy()


def _densities(found: Basis) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """For the strongest atoms of the first group: values, their density over the image, and a Gaussian's."""
    if found.sigma is None:
        return
    means = torch.zeros_like(found.sigma) if found.mean is None else found.mean
    for mean, sigma in zip(means[0, :_DENSITIES].flatten(1), found.sigma[0, :_DENSITIES].flatten(1), strict=True):
        step = -(-len(sigma) // 20_000)  # a regular subset is enough for a curve
        mean, sigma = mean[::step], sigma[::step].clamp(min=1e-9)
        whole = Normal(mean.mean(), (sigma.square().mean() + mean.var(correction=0)).sqrt())
        x = whole.mean + whole.stddev * torch.linspace(-4, 4, 161, dtype=mean.dtype)
        density = Normal(mean, sigma).log_prob(x[:, None]).exp().mean(1)
        yield x.numpy(), density.numpy(), whole.log_prob(x).exp().numpy()
