"""Decision curves: what acting on the predictions is worth (Vickers and Elkin 2006)."""

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
    """True positives less weighted false positives, a case.

    Args:
        truth: ``(n,)`` zeros and ones.
        probability: ``(n,)`` predictions.
        thresholds: ``(t,)``; at threshold p a false alarm weighs p / (1 - p) of a hit.

    Returns:
        ``(t,)``; acting on nobody is 0.
    """
    called = probability[None] >= thresholds[:, None]
    hits = (called & (truth > 0.5)).mean(axis=1)
    alarms = (called & (truth < 0.5)).mean(axis=1)
    return np.asarray(hits - alarms * thresholds / (1 - thresholds), dtype=np.float64)


@report_style()
def draw_decision(studies: pd.DataFrame) -> Figure:
    """Draw net benefit over the threshold, class by class, of whole studies.

    Args:
        studies: As ``study_level.study_table`` makes it.

    Returns:
        Six panels: the predictions, calling every study, calling none.
    """
    figure, panels = new_figure(2, 3, (10.5, 6.4), share_x=True)
    for panel, name in zip(panels, CLASSES, strict=True):
        panel.set_title(name)
        truth = studies[name].to_numpy(float)
        if truth.max() == 0:
            note(panel, "no positive studies")
            continue
        shown = net_benefit(truth, studies[f"pred_{name}"].to_numpy(float), THRESHOLDS)
        everyone = net_benefit(truth, np.ones(len(truth)), THRESHOLDS)
        panel.axhline(0, color=MUTED, lw=1.0, ls=":", label="call none")
        panel.plot(THRESHOLDS, everyone, color=MUTED, lw=1.2, ls="--", label="call all")
        panel.plot(THRESHOLDS, shown, color=INK, lw=2.0, label="second level")
        # Calling all falls without end; the model's own curve is never cut.
        panel.set_ylim(min(-0.25 * truth.mean(), 1.1 * shown.min()), 1.1 * truth.mean())
    figure.supxlabel("threshold of the probability", fontsize=11)
    figure.supylabel("net benefit a study", fontsize=11)
    drawn = [panel for panel in panels if panel.get_legend_handles_labels()[0]]
    if drawn:
        handles, labels = drawn[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, handlelength=3.0)
    return figure
