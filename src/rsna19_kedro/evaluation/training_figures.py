"""Learning curves of every model and fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from rsna19_kedro.evaluation.style import (
    FOLD_COLOURS,
    FOLD_MARKERS,
    MUTED,
    new_figure,
    note,
    report_style,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_FEW = 3
"""Maximum number of models with tall panels."""

_TRAINING: dict[str, Any] = {"lw": 1.0, "ls": (0, (4, 2)), "marker": "x", "ms": 4.5, "alpha": 0.8}
"""Line of the training loss; the marker shows a single point."""


@report_style()
def draw_learning_curves(histories: pd.DataFrame) -> Figure:
    """Draw loss and the ROC AUC of ``any`` over the training steps.

    Args:
        histories: One row per validation: ``model``, ``fold``, ``phase``, ``step``,
            ``train_loss``, ``val_loss`` (weighted log loss), ``val_auc_any``.

    Returns:
        Two panels per model, with one colour and marker per fold. Training loss is dashed with
        small crosses; dotted lines mark where a phase of the recipe begins.
    """
    models = list(dict.fromkeys(histories["model"]))
    height = 2.9 if len(models) <= _FEW else 2.1
    figure, panels = new_figure(len(models), 2, (10.5, height * len(models) + 0.6))
    for index, model in enumerate(models):
        runs = histories[histories["model"] == model]
        _draw_losses(panels[2 * index], runs, model)
        _draw_aucs(panels[2 * index + 1], runs)
    for panel in panels[-2:]:
        panel.set_xlabel("training step")
    folds = sorted(histories["fold"].unique())
    figure.legend(
        handles=_keys(folds),
        loc="outside upper left",
        ncols=len(folds) + 2,
        columnspacing=1.4,
        handlelength=2.2,
    )
    return figure


def running_step(run: pd.DataFrame) -> pd.Series:
    """Number the steps of a run continuously over phases that each start from zero.

    Args:
        run: Validations of one model and fold in chronological order.

    Returns:
        Steps since the start of the run, non-decreasing.
    """
    step = run["step"].astype(float)
    before = step.shift(fill_value=0.0)
    return step + before.where(step < before, 0.0).cumsum()


def _draw_losses(panel: Axes, runs: pd.DataFrame, model: str) -> None:
    for fold, run in runs.groupby("fold", sort=True):
        steps = running_step(run)
        look = _fold_look(int(fold))
        panel.plot(steps, run["val_loss"], **look)
        panel.plot(steps, run["train_loss"], color=look["color"], **_TRAINING)
    _mark_phases(panel, runs)
    panel.set_title(model)
    panel.set_ylabel("weighted log loss")
    panel.set_ylim(0, 1.08 * panel.dataLim.y1)  # Space for the markers of the highest loss.
    _count_steps(panel)


def _draw_aucs(panel: Axes, runs: pd.DataFrame) -> None:
    panel.set_ylabel("ROC AUC of any")
    if runs["val_auc_any"].notna().sum() == 0:
        note(panel, "not defined: one label only")
        return
    for fold, run in runs.groupby("fold", sort=True):
        panel.plot(running_step(run), run["val_auc_any"], **_fold_look(int(fold)))
    _mark_phases(panel, runs)
    panel.set_ylim(top=1.02)  # Space for the markers at 1.
    _count_steps(panel)


def _count_steps(panel: Axes) -> None:
    """Start the axis at 0 and end it after the last marker, with integer ticks."""
    panel.set_xlim(0, 1.06 * panel.dataLim.x1)
    whole_ticks(panel.xaxis, most=8)


def _mark_phases(panel: Axes, runs: pd.DataFrame) -> None:
    run = runs[runs["fold"] == runs["fold"].iloc[0]]
    steps = running_step(run)
    starts = (run["phase"] != run["phase"].shift()).to_numpy().nonzero()[0][1:]
    for start in starts:
        panel.axvline(float(steps.iloc[start - 1]), color=MUTED, lw=1.0, ls=":")


def _fold_look(fold: int) -> dict[str, Any]:
    index = fold % len(FOLD_COLOURS)
    return {
        "color": FOLD_COLOURS[index],
        "marker": FOLD_MARKERS[index],
        "markeredgecolor": "white",
    }


def _keys(folds: list[int]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    return [
        *(Line2D([], [], label=f"fold {fold}", **_fold_look(int(fold))) for fold in folds),
        Line2D([], [], color=MUTED, label="validation"),
        Line2D([], [], color=MUTED, label="training", **_TRAINING),
    ]
