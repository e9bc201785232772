"""Figures of the second level: candidates with intervals, and simplex weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.formatting import MINUS, words
from rsna19_kedro.evaluation.style import ACCENT, INK, MUTED, SECOND, new_figure, report_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK_FROM = 0.55
"""Weight above which a cell's number is white."""


@report_style()
def draw_candidates(scores: pd.DataFrame, chosen: str) -> Figure:
    """Draw each candidate's loss, and its paired difference to the plain average.

    Args:
        scores: One row per candidate: ``candidate``, ``loss`` and ``difference`` with their
            ``_low`` and ``_high`` ends. The caller leaves out references without a
            network, which would compress the scale.
        chosen: The reported candidate.

    Returns:
        Two panels that share their rows, best candidate on top.
    """
    ordered = scores.sort_values("loss", ascending=False, kind="stable").reset_index(drop=True)
    height = 1.5 + 0.42 * len(ordered)
    figure, (left, right) = new_figure(1, 2, (10.5, height), share_y=True)
    _intervals(left, ordered, "loss", chosen)
    _intervals(right, ordered, "difference", chosen)
    left.set_yticks(range(len(ordered)), [words(name) for name in ordered["candidate"]])
    left.set_title("weighted log loss")
    right.axvline(0, color=MUTED, lw=1.0, ls=":")
    right.set_title("difference to plain average,\nleft is better")
    for panel in (left, right):
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(-0.7, len(ordered) - 0.3)
        panel.locator_params(axis="x", nbins=6)
    return figure


def _intervals(panel: Axes, rows: pd.DataFrame, score: str, chosen: str) -> None:
    for y, row in rows.iterrows():
        is_chosen = row["candidate"] == chosen
        colour = SECOND if is_chosen else ACCENT
        panel.hlines(y, row[f"{score}_low"], row[f"{score}_high"], color=colour, lw=2.2)
        panel.plot(row[score], y, marker="D" if is_chosen else "o", ms=7, color=colour)


@report_style()
def draw_weights(weights: pd.DataFrame) -> Figure:
    """Draw the simplex weights of each output as heatmaps.

    Args:
        weights: ``model``, ``source`` (class that the model predicts), ``offset`` (in
            slices), and one column per class with the weights of that output, which sum to 1.

    Returns:
        Three heatmaps, one above the other: the weights summed by model, by source class and
        by neighbouring slice, in per cent; cells below 0.5 % are empty.
    """
    from matplotlib.figure import Figure

    marked = weights.assign(offset=weights["offset"].map("{:+d}".format).replace("+0", "0"))
    blocks = {
        "by model": marked.groupby("model", sort=False)[list(CLASSES)].sum(),
        "by class that the model predicts": marked.groupby("source", sort=False)[
            list(CLASSES)
        ].sum(),
        "by slice": marked.groupby("offset", sort=False)[list(CLASSES)].sum(),
    }
    rows = [len(block) for block in blocks.values()]
    figure = Figure(figsize=(10.5, 1.6 + 0.32 * sum(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1, sharex=True, height_ratios=rows)
    for panel, (title, block) in zip(panels, blocks.items(), strict=True):
        _heatmap(panel, block)
        panel.set_title(title)
    panels[0].set_xticks(range(len(CLASSES)), CLASSES)
    panels[0].xaxis.tick_top()
    panels[0].tick_params(labeltop=True)
    return figure


def _heatmap(panel: Axes, block: pd.DataFrame) -> None:
    table = block.to_numpy(float)
    panel.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_yticks(range(len(table)), [str(name).replace("-", MINUS) for name in block.index])
    panel.tick_params(length=0)
    for row, column in np.argwhere(table >= 0.005):
        panel.text(
            column,
            row,
            f"{100 * table[row, column]:.0f}",
            ha="center",
            va="center",
            color="white" if table[row, column] > _DARK_FROM else INK,
            fontsize=10,
        )
