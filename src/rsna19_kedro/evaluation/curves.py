"""ROC curves and calibration of the first level and of the stacked predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.style import (
    INK,
    MUTED,
    line_style,
    new_figure,
    note,
    report_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STACKED = "second level"
"""Name of the stacked predictions; drawn black and thick."""

_MANY = 6
"""With more models than this, all are thin grey lines with one legend entry."""

_PALE = "#98a3aa"

_Z95 = 1.959964
"""Quantile of the normal distribution for 95 % intervals."""


class Reliability(NamedTuple):
    """A calibration curve, one entry per non-empty bin.

    Attributes:
        predicted: Mean predicted probability.
        observed: Share of positive slices.
        low: Lower end of the 95 % interval of that share (Wilson).
        high: Upper end.
        slices: Number of slices in the bin.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    slices: NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al., 2017)."""
        distance = np.abs(self.predicted - self.observed)
        return float(np.average(distance, weights=self.slices))


def reliability(
    labels: NDArray[np.number], probability: NDArray[np.number], bins: int
) -> Reliability:
    """Compare predicted probabilities with observed shares, in bins of equal width.

    Args:
        labels: Zeros and ones, ``(n,)``.
        probability: Predictions in 0..1, ``(n,)``.
        bins: Number of bins; empty bins are omitted.

    Returns:
        The curve with Wilson intervals, which stay within 0..1 and suit small bins. They
        assume independent slices and are therefore too narrow.
    """
    index = np.clip((np.asarray(probability, float) * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    n = count[filled]
    predicted = np.bincount(index, probability, bins)[filled] / n
    observed = np.bincount(index, labels, bins)[filled] / n
    centre = (observed + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = np.sqrt(observed * (1 - observed) / n + (_Z95 / (2 * n)) ** 2) * _Z95 / (1 + _Z95**2 / n)
    return Reliability(predicted, observed, centre - half, centre + half, n)


@report_style()
def draw_roc(labels: NDArray[np.number], predictions: Mapping[str, NDArray[np.floating]]) -> Figure:
    """Draw one ROC panel per class, with one curve per set of predictions.

    Args:
        labels: Zeros and ones, ``(n, 6)``.
        predictions: Probabilities ``(n, 6)`` by name; :data:`STACKED` is drawn in black.

    Returns:
        Six panels; a panel without positives (or negatives) has a note instead.
    """
    from sklearn.metrics import roc_curve

    looks = _looks(predictions)
    figure, panels = _unit_panels(predictions, 0.01)
    for column, panel in enumerate(panels):
        truth = labels[:, column]
        if truth.min() == truth.max():
            note(panel, "no positive slices" if truth.max() == 0 else "no negative slices")
            continue
        for probability, look in zip(predictions.values(), looks, strict=True):
            false_rate, true_rate, _ = roc_curve(truth, probability[:, column])
            panel.plot(false_rate, true_rate, **look)
    figure.supxlabel("1 \N{MINUS SIGN} specificity", fontsize=11)
    figure.supylabel("sensitivity", fontsize=11)
    return figure


@report_style()
def draw_calibration(
    labels: NDArray[np.number], predictions: Mapping[str, NDArray[np.floating]], bins: int
) -> Figure:
    """Draw the observed share of positive slices against the predicted probability.

    Args:
        labels: Zeros and ones, ``(n, 6)``.
        predictions: Probabilities ``(n, 6)`` by name. Intervals and expected calibration error
            are those of :data:`STACKED`, or of the first entry without it.
        bins: Bins of equal width.

    Returns:
        Six panels with the diagonal of perfect calibration.
    """
    main = STACKED if STACKED in predictions else next(iter(predictions))
    looks = _looks(predictions)
    figure, panels = _unit_panels(predictions, 0.02)
    for column, panel in enumerate(panels):
        if labels[:, column].max() == 0:
            note(panel, "no positive slices")
            continue
        for (name, probability), look in zip(predictions.items(), looks, strict=True):
            curve = reliability(labels[:, column], probability[:, column], bins)
            if name == main:
                _draw_intervals(panel, curve)
                panel.set_title(f"{CLASSES[column]}, error {curve.expected_error:.3f}")
            panel.plot(curve.predicted, curve.observed, **look)
    figure.supxlabel("predicted probability", fontsize=11)
    figure.supylabel("share of positive slices", fontsize=11)
    return figure


def _unit_panels(names: Iterable[str], margin: float) -> tuple[Figure, list[Axes]]:
    """Make six square panels of 0..1 with class title and diagonal, and a legend."""
    figure, panels = new_figure(2, 3, (10.5, 7.2), share_x=True, share_y=True)
    for panel, name in zip(panels, CLASSES, strict=True):
        panel.set_title(name)
        panel.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=":")
        panel.set_aspect("equal")
        panel.set(xlim=(-margin, 1 + margin), ylim=(-margin, 1 + margin))
    _legend(figure, names)
    return figure, panels


def _draw_intervals(panel: Axes, curve: Reliability) -> None:
    panel.vlines(curve.predicted, curve.low, curve.high, color=INK, lw=1.0)
    panel.plot(curve.predicted, curve.observed, ls="", marker="o", color=INK, ms=4)


def _looks(names: Iterable[str]) -> list[dict[str, Any]]:
    """Line style of each name, in the same order."""
    listed = list(names)
    many = len(listed) > _MANY + 1
    thin = {"color": _PALE, "linestyle": "-", "lw": 0.9}
    thick = {"color": INK, "linestyle": "-", "lw": 2.2, "zorder": 5}
    return [
        thick if name == STACKED else thin if many else {**line_style(index), "lw": 1.5}
        for index, name in enumerate(listed)
    ]


def _legend(figure: Figure, names: Iterable[str]) -> None:
    from matplotlib.lines import Line2D

    listed = list(names)
    keys = [
        Line2D([], [], label=name, **look)
        for name, look in zip(listed, _looks(listed), strict=True)
    ]
    if len(listed) > _MANY + 1:
        others = [key for key in keys if key.get_label() != STACKED]
        others[0].set_label(f"the {len(others)} models")
        keys = [key for key in keys if key not in others[1:]]
    figure.legend(handles=keys, loc="outside upper left", ncols=3, handlelength=3.0)
