"""Figures of the data: class balance of the folds, and acquisition geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.data_counts import ALL_FOLDS
from rsna19_kedro.evaluation.style import (
    ACCENT,
    INK,
    new_figure,
    note,
    report_style,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@report_style()
def draw_folds(fold_statistics: pd.DataFrame) -> Figure:
    """Draw the share of positive slices of each class in each fold.

    Args:
        fold_statistics: Output of :func:`rsna19_kedro.evaluation.data_counts.fold_statistics`.

    Returns:
        Six panels with the same scale, one per class; the horizontal line is the share over all
        folds.
    """
    parts = fold_statistics[fold_statistics["fold"] != ALL_FOLDS]
    whole = fold_statistics[fold_statistics["fold"] == ALL_FOLDS].iloc[0]
    figure, panels = new_figure(1, len(CLASSES), (10.5, 2.5), share_x=True, share_y=True)
    highest = 0.0
    for panel, name in zip(panels, CLASSES, strict=True):
        share = 100 * parts[f"slices_{name}"] / parts["slices"]
        panel.bar(parts["fold"], share, width=0.72, color=ACCENT, alpha=0.85)
        panel.axhline(100 * whole[f"slices_{name}"] / whole["slices"], color=INK, lw=1.2)
        panel.set_title(name, fontsize=10)
        panel.grid(visible=False, axis="x")
        panel.tick_params(axis="x", length=0)
        highest = max(highest, float(share.max()))
    panels[0].set_ylim(bottom=0, top=max(1.1 * highest, 1))
    whole_ticks(panels[0].yaxis)
    panels[0].set_ylabel("positive slices, %")
    figure.supxlabel("fold", fontsize=11)
    return figure


@report_style()
def draw_scanner(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> Figure:
    """Draw histograms of gantry tilt, slice distance, pixel spacing and number of slices.

    Args:
        slice_index: One row per file: ``study_id``, ``row_spacing_mm``.
        volume_index: One row per study: ``tilt_deg``, ``slice_distance_mm``, ``slices``.

    Returns:
        Four histograms over studies.
    """
    spacing = slice_index.groupby("study_id")["row_spacing_mm"].median()
    figure, panels = new_figure(1, 4, (10.5, 2.5))
    _histogram(panels[0], volume_index["tilt_deg"], "gantry tilt", "degrees")
    _histogram(panels[1], volume_index["slice_distance_mm"], "slice distance", "mm")
    _histogram(panels[2], spacing, "pixel spacing", "mm")
    _histogram(panels[3], volume_index["slices"], "slices per study", "slices")
    whole_ticks(panels[3].xaxis)
    panels[0].set_ylabel("studies")
    return figure


def _histogram(panel: Axes, values: pd.Series, title: str, unit: str) -> None:
    panel.set_title(title)
    panel.set_xlabel(unit)
    panel.grid(visible=False, axis="x")
    known = values.dropna().to_numpy(dtype=float)
    if known.size == 0:
        note(panel, "unknown")
        return
    low, high = known.min(), known.max()
    edges = np.linspace(low, high, 21) if high > low else np.array([low - 0.5, low + 0.5])
    panel.hist(
        known, bins=edges.tolist(), color=ACCENT, alpha=0.85, edgecolor="white", linewidth=0.6
    )
    whole_ticks(panel.yaxis)
    median = float(np.median(known))
    panel.axvline(median, color=INK, lw=1.2)
    panel.set_xlabel(f"{unit}, median {median:.3g}")
