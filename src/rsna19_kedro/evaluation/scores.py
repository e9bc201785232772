"""Tables of numbers for the report: metrics of every model, and an interval for the AUC."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rsna19_kedro.contracts import CLASS_WEIGHTS, CLASSES
from rsna19_kedro.evaluation.metrics import (
    Interval,
    bootstrap_loss,
    class_metrics,
    roc_auc,
    weighted_log_loss,
)

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


def bootstrap_auc(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Area under the ROC curve of one class with a 95 % interval from a bootstrap over patients.

    A resample only changes the weight of each slice, so slices are sorted once and the area
    of a resample is a weighted Mann-Whitney statistic (ties count half).

    Args:
        labels: Zeros and ones, ``(n,)``.
        scores: Predictions of any scale, ``(n,)``.
        patients: Patient of each slice, ``(n,)``.
        resamples: Bootstrap samples; those with a single label are ignored.
        seed: Seed of the resampling.

    Returns:
        Value and percentile interval; nan if all labels are equal.
    """
    truth = np.asarray(labels, dtype=float)
    value = roc_auc(truth, scores)
    if np.isnan(value):
        return Interval(value, value, value)
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    _, rank = np.unique(np.asarray(scores), return_inverse=True)
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(resamples):
        draws = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        areas.append(_weighted_auc(truth, rank, draws[owner].astype(float)))
    low, high = np.nanquantile(areas, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _weighted_auc(
    truth: NDArray[np.float64], rank: NDArray[np.intp], weight: NDArray[np.float64]
) -> float:
    positives = np.bincount(rank, weight * truth)
    negatives = np.bincount(rank, weight * (1 - truth))
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + negatives / 2) / pairs)
