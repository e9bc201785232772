"""Decision curves: net benefit of acting on the predictions (Vickers and Elkin, 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.style import INK, MUTED, new_figure, note, report_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLDS = np.round(np.arange(0.01, 0.81, 0.01), 2)


def net_benefit(
    truth: NDArray[np.floating], probability: NDArray[np.floating], thresholds: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Compute true positives minus weighted false positives, per case.

    Args:
        truth: ``(n,)`` zeros and ones.
        probability: ``(n,)`` predictions.
        thresholds: ``(t,)``; at threshold p, a false positive weighs p / (1 - p).

    Returns:
        ``(t,)``; 0 if no case is predicted positive.
    """
    called = probability[None] >= thresholds[:, None]
    hits = (called & (truth > 0.5)).mean(axis=1)
    alarms = (called & (truth < 0.5)).mean(axis=1)
    return np.asarray(hits - alarms * thresholds / (1 - thresholds), dtype=np.float64)


@report_style()
def draw_decision(studies: pd.DataFrame) -> Figure:
    """Draw the study-level net benefit by threshold for each class.

    Args:
        studies: Output of ``study_level.study_table``.

    Returns:
        Six panels, each with the predictions, all studies positive, and none positive.
    """
    figure, panels = new_figure(2, 3, (10.5, 6.4), share_x=True)
    for panel, name in zip(panels, CLASSES, strict=True):
        panel.set_title(name)
        truth = studies[name].to_numpy(float)
        if truth.max() == 0:
            note(panel, "no positive studies")
            continue
        benefit = net_benefit(truth, studies[f"pred_{name}"].to_numpy(float), THRESHOLDS)
        all_positive = net_benefit(truth, np.ones(len(truth)), THRESHOLDS)
        panel.axhline(0, color=MUTED, lw=1.0, ls=":", label="none positive")
        panel.plot(THRESHOLDS, all_positive, color=MUTED, lw=1.2, ls="--", label="all positive")
        panel.plot(THRESHOLDS, benefit, color=INK, lw=2.0, label="second level")
        # The curve of all positive has no lower bound; the model's curve is never cut.
        panel.set_ylim(min(-0.25 * truth.mean(), 1.1 * benefit.min()), 1.1 * truth.mean())
    figure.supxlabel("probability threshold", fontsize=11)
    figure.supylabel("net benefit per study", fontsize=11)
    drawn = [panel for panel in panels if panel.get_legend_handles_labels()[0]]
    if drawn:
        handles, labels = drawn[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, handlelength=3.0)
    return figure
