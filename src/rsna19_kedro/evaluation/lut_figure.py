"""Figure of the look-up tables."""

import numpy as np

from rsna19_kedro.ct.lut import LUT_HIGH_HU, LUT_LOW_HU
from rsna19_kedro.evaluation.style import ACCENT, SECOND, figure_png, new_figure, report_style


@report_style()
def draw_curves(drawn: np.ndarray, fitted: np.ndarray, used: str) -> bytes:
    """Draw both look-up tables over all HU and over the range of brain and blood.

    Args:
        drawn: (1401,) table from the knots.
        fitted: (1401,) table that equalises the training volumes.
        used: ``knots`` or ``equalise``.

    Returns:
        A PNG file.
    """
    hu = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1)
    names = {"knots": "from knots", "equalise": "equalising the training volumes"}
    curves = (("knots", drawn, ACCENT), ("equalise", fitted, SECOND))
    figure, panels = new_figure(1, 2, (10.0, 4.0))
    for panel, limits in zip(panels, ((LUT_LOW_HU, LUT_HIGH_HU), (-50, 150)), strict=True):
        for kind, values, colour in curves:
            label = names[kind] + (" (used)" if kind == used else "")
            style = "-" if kind == used else "--"
            panel.plot(hu, values, color=colour, linestyle=style, label=label)
        panel.set_xlim(*limits)
        panel.set_ylim(-1.05, 1.05)
        panel.set_xlabel("HU")
    panels[0].set_ylabel("network input")
    panels[0].set_title("Whole table")
    panels[1].set_title("Brain and blood")
    panels[1].legend(loc="upper left")
    return figure_png(figure)
