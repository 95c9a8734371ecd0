"""Tables on standard output, of which nothing is cut."""

from rich.measure import Measurement, measure_renderables
from rich.table import Table

from vspsr.cli.console import out

_ANY_WIDTH = 100_000  # columns, more than any table has


def print_table(table: Table) -> None:
    """A table on standard output. Nothing of it is shortened; words and numbers stay whole.

    In a terminal, cells of several words are folded as far as its width asks for. Otherwise, each cell is one line.
    """
    options = out.options.update_width(_ANY_WIDTH)
    sizes = [measure_renderables(out, options, [c.header, *c.cells]) for c in table.columns]
    least, most = sum(size.minimum for size in sizes), sum(size.maximum for size in sizes)

    def between_columns() -> int:
        return Measurement.get(out, options, table).maximum - most

    if out.is_terminal and least + between_columns() > out.width:
        table.padding = 0
    excess = most + between_columns() - out.width if out.is_terminal else 0
    table.width = between_columns()
    for column, width in zip(table.columns, _folded(sizes, excess), strict=True):
        column.width, column.overflow = width, "fold"
        table.width += width
    out.print(table, crop=False)


def _folded(sizes: list[Measurement], excess: int) -> list[int]:
    """The widths of columns, together less by ``excess`` where their longest words allow it; the widest give first."""
    widths = [size.maximum for size in sizes]
    for _ in range(excess):
        wide = [i for i, size in enumerate(sizes) if widths[i] > size.minimum]
        if wide:
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths
