"""Tables for the report: metrics of every model, and losses per fold."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rsna19_kedro.contracts import CLASS_WEIGHTS, CLASSES
from rsna19_kedro.evaluation.bootstrap import bootstrap_loss
from rsna19_kedro.evaluation.metrics import class_metrics, weighted_log_loss

SHOWN_METRICS = ("log_loss", "roc_auc", "sensitivity", "specificity", "f1", "accuracy")
"""Metrics of the report's tables, in the order of their columns."""

WEIGHTED = "weighted"
"""Row of :func:`metrics_table` with the competition's score in ``log_loss``."""


def metrics_table(
    labels: NDArray[np.number], predictions: Mapping[str, NDArray[np.floating]]
) -> pd.DataFrame:
    """Compute the metrics of each set of predictions at a threshold of 0.5.

    Args:
        labels: Zeros and ones, ``(n, 6)``.
        predictions: Probabilities ``(n, 6)`` by name.

    Returns:
        ``predictor``, ``class`` and the columns of :data:`SHOWN_METRICS`: per predictor, one
        row per class and one of class ``weighted`` with the weighted log loss. Undefined
        values (a class without positives) are nan.
    """
    parts = []
    for name, probability in predictions.items():
        metrics = class_metrics(labels, probability)
        table = pd.DataFrame({metric: metrics[metric] for metric in SHOWN_METRICS})
        score = float(metrics["log_loss"] @ np.asarray(CLASS_WEIGHTS)) / sum(CLASS_WEIGHTS)
        table.loc[len(CLASSES), "log_loss"] = score
        parts.append(table.assign(**{"predictor": name, "class": [*CLASSES, WEIGHTED]}))
    return pd.concat(parts, ignore_index=True)[["predictor", "class", *SHOWN_METRICS]]


def fold_losses(
    labels: NDArray[np.number],
    predictions: Mapping[str, NDArray[np.floating]],
    folds: NDArray[np.integer],
    patients: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute the weighted log loss of each set of predictions, over all folds and per fold.

    Args:
        labels: Zeros and ones, ``(n, 6)``.
        predictions: Probabilities ``(n, 6)`` by name.
        folds: ``(n,)``.
        patients: ``(n,)`` patient of each slice.
        resamples: Bootstrap samples of patients.
        seed: Seed of the bootstrap.

    Returns:
        ``model``, ``loss`` with ``loss_low`` and ``loss_high`` (95 %), ``fold_<k>``.
    """
    rows = []
    for name, probability in predictions.items():
        ends = bootstrap_loss(labels, probability, patients, resamples=resamples, seed=seed)
        row = {"model": name, "loss": ends.value, "loss_low": ends.low, "loss_high": ends.high}
        for fold in np.unique(folds):
            in_fold = folds == fold
            row[f"fold_{fold}"] = weighted_log_loss(labels[in_fold], probability[in_fold])
        rows.append(row)
    return pd.DataFrame(rows)
