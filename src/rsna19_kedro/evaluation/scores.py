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
    """Work out the metrics of each set of predictions at a threshold of 0.5.

    Args:
        labels: Zeros and ones, ``(n, 6)``.
        predictions: Probabilities ``(n, 6)`` by name.

    Returns:
        ``predictor``, ``class`` and the columns of :data:`SHOWN_METRICS`: six rows a
        predictor, one a class, and one of class ``weighted`` with the weighted log loss.
        What is not defined (a class without positives) is nan.
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
    """Weighted log loss of each set of predictions, over all folds and in each.

    Args:
        labels: Zeros and ones, ``(n, 6)``.
        predictions: Probabilities ``(n, 6)`` by name.
        folds: ``(n,)``.
        patients: ``(n,)`` whose slice it is.
        resamples: Bootstrap samples of patients.
        seed: Their seed.

    Returns:
        ``model``, ``loss`` with ``loss_low`` and ``loss_high`` (95 %), ``fold_<k>``.
    """
    rows = []
    for name, probability in predictions.items():
        found = bootstrap_loss(labels, probability, patients, resamples=resamples, seed=seed)
        row = {"model": name, "loss": found.value, "loss_low": found.low, "loss_high": found.high}
        for fold in np.unique(folds):
            own = folds == fold
            row[f"fold_{fold}"] = weighted_log_loss(labels[own], probability[own])
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
    """Area under the ROC curve of one class with a 95 % interval, resampling patients.

    A resample only changes how often each slice counts, so slices are sorted once and the
    area of a resample is a weighted Mann-Whitney statistic (ties count half).

    Args:
        labels: Zeros and ones, ``(n,)``.
        scores: Predictions of any scale, ``(n,)``.
        patients: Whose slice it is, ``(n,)``.
        resamples: Bootstrap samples; those that drew a single label are left out.
        seed: Seed of the resampling.

    Returns:
        Value and percentile interval; nan where the labels hold a single value.
    """
    truth = np.asarray(labels, dtype=float)
    value = roc_auc(truth, scores)
    if np.isnan(value):
        return Interval(value, value, value)
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    _, place = np.unique(np.asarray(scores), return_inverse=True)
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        areas.append(_weighted_auc(truth, place, times[owner].astype(float)))
    low, high = np.nanquantile(areas, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _weighted_auc(
    truth: NDArray[np.float64], place: NDArray[np.intp], weight: NDArray[np.float64]
) -> float:
    positives = np.bincount(place, weight * truth)
    negatives = np.bincount(place, weight * (1 - truth))
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + negatives / 2) / pairs)
