"""Style shared by all figures, readable in greyscale and at half size.

Matplotlib takes half a second to import, so it is imported only when a figure is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#1d2327"
MUTED = "#6b757d"
GRID = "#e3e6e8"
ACCENT = "#0b5c8a"
SECOND = "#c8501e"

FOLD_COLOURS = ("#14213d", "#9c2a2a", "#2e7f78", "#d07a1f", "#8fa9cf")
"""From dark to light, to remain distinguishable in greyscale."""

FOLD_MARKERS = ("o", "s", "^", "D", "v")

_LINE_COLOURS = ("#0b5c8a", "#c8501e", "#2f8f6b", "#8a5aa8", "#b8901a", "#5f6b73", "#a83250")
_LINE_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

_RC = {
    "font.family": "sans-serif",
    "font.size": 11.0,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "figure.facecolor": "white",
}


@contextmanager
def report_style() -> Iterator[None]:
    """Apply the report's fonts, colours and line widths; a context manager and decorator."""
    import matplotlib

    with matplotlib.rc_context(_RC):  # type: ignore[arg-type]
        yield


def new_figure(
    rows: int,
    columns: int,
    size_in: tuple[float, float],
    *,
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Make a figure without pyplot, freed by garbage collection.

    Args:
        rows: Rows of panels.
        columns: Panels per row.
        size_in: Width and height in inches.
        share_x: Whether all panels have the same x axis, labelled at the bottom.
        share_y: The same for y, labelled on the left.

    Returns:
        The figure and its panels, row by row.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False)
    return figure, list(panels.ravel())


def line_style(index: int) -> dict[str, Any]:
    """Colour and dash of the ``index``-th line; the first 28 all differ."""
    return {
        "color": _LINE_COLOURS[index % len(_LINE_COLOURS)],
        "linestyle": _LINE_DASHES[index % len(_LINE_DASHES)],
    }


def note(panel: Axes, text: str) -> None:
    """Write in the middle of an empty panel why it is empty."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=MUTED)


def whole_ticks(axis: Axis, most: int = 6) -> None:
    """Label an axis with whole numbers only, with about ``most`` ticks at most."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def figure_png(figure: Figure, dpi: int = 144) -> bytes:
    """Encode a figure as PNG.

    Args:
        figure: A finished figure.
        dpi: Pixels per inch; 144 is sharp on high-resolution screens.

    Returns:
        The bytes of the file, without a time or software version.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
