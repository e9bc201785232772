"""How well whole studies are told apart, as a worklist would use the predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.metrics import roc_auc
from rsna19_kedro.evaluation.scores import bootstrap_auc

OPERATING_POINTS = (0.90, 0.95)
"""Specificities (and sensitivities) at which the other one is stated."""


def study_maxima(slices: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Greatest value of some columns among the slices of each study, by ``study_id``."""
    return slices.groupby("study_id")[list(columns)].max()


def study_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a study: what its slices show, and its most suspicious slice.

    Args:
        predictions: Keys, ``patient_id``, six labels and six ``pred_*``, one row a slice.

    Returns:
        ``study_id``, ``patient_id``, six labels (greatest of its slices) and six ``pred_*``
        (greatest of its slices, as ``new_study`` reports them).
    """
    maxima = study_maxima(predictions, [*CLASSES, *PREDICTIONS])
    maxima.insert(0, "patient_id", predictions.groupby("study_id")["patient_id"].first())
    return maxima.reset_index()


def study_metrics(predictions: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Metrics of whole studies, class by class.

    Args:
        predictions: As for :func:`study_table`.
        resamples: Bootstrap samples of patients for the interval of the AUC.
        seed: Their seed.

    Returns:
        One row a class: ``class``, ``studies``, ``positive``, ``auc`` with ``auc_low`` and
        ``auc_high``, ``sensitivity_at_90`` and ``_at_95`` per cent specificity, and
        ``specificity_at_90`` and ``_at_95`` per cent sensitivity. What is not defined is nan.
    """
    studies = study_table(predictions)
    rows = []
    for name in CLASSES:
        truth = studies[name].to_numpy(float)
        score = studies[f"pred_{name}"].to_numpy(float)
        area = bootstrap_auc(
            truth, score, studies["patient_id"].to_numpy(), resamples=resamples, seed=seed
        )
        row: dict[str, Any] = {
            "class": name,
            "studies": len(studies),
            "positive": int(truth.sum()),
            "auc": area.value,
            "auc_low": area.low,
            "auc_high": area.high,
        }
        for point in OPERATING_POINTS:
            percent = round(100 * point)
            row[f"sensitivity_at_{percent}"] = operating_point(truth, score, point)
            row[f"specificity_at_{percent}"] = operating_point(1 - truth, -score, point)
        rows.append(row)
    return pd.DataFrame(rows)


def operating_point(
    truth: NDArray[np.floating], score: NDArray[np.floating], specificity: float
) -> float:
    """Highest sensitivity at no less than a specificity.

    With labels and scores reversed it is the highest specificity at no less than a
    sensitivity.

    Args:
        truth: ``(n,)`` zeros and ones.
        score: ``(n,)``; the higher, the rather positive.
        specificity: Share of negatives that must not be called.

    Returns:
        The share of positives that are called; nan without positives or negatives.
    """
    if np.isnan(roc_auc(truth, score)):
        return float("nan")
    negatives = np.sort(score[truth < 0.5])
    # The lowest threshold that is above enough negatives: called is what lies above it.
    spared = int(np.ceil(specificity * len(negatives) - 1e-9))
    threshold = negatives[spared - 1] if spared else -np.inf
    return float((score[truth > 0.5] > threshold).mean())
