"""Study-level metrics, as a worklist would use the predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.bootstrap import bootstrap_auc
from rsna19_kedro.evaluation.metrics import roc_auc

OPERATING_POINTS = (0.90, 0.95)
"""Specificities at which the sensitivity is reported, and sensitivities for the specificity."""


def study_maxima(slices: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Maximum of some columns over the slices of each study, by ``study_id``."""
    return slices.groupby("study_id")[list(columns)].max()


def study_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Take the maximum of labels and predictions over the slices of each study.

    Args:
        predictions: Keys, ``patient_id``, six labels and six ``pred_*``, one row per slice.

    Returns:
        One row per study: ``study_id``, ``patient_id``, six labels and six ``pred_*``, each
        the maximum over its slices (``new_study`` reports the same).
    """
    maxima = study_maxima(predictions, [*CLASSES, *PREDICTIONS])
    maxima.insert(0, "patient_id", predictions.groupby("study_id")["patient_id"].first())
    return maxima.reset_index()


def study_metrics(predictions: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Compute study-level metrics of each class.

    Args:
        predictions: As for :func:`study_table`.
        resamples: Bootstrap samples of patients for the interval of the AUC.
        seed: Seed of the bootstrap.

    Returns:
        One row per class: ``class``, ``studies``, ``positive``, ``auc`` with ``auc_low`` and
        ``auc_high``, ``sensitivity_at_90`` and ``_at_95`` per cent specificity, and
        ``specificity_at_90`` and ``_at_95`` per cent sensitivity. Undefined metrics are nan.
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
    """Return the highest sensitivity at a minimum specificity.

    With labels and scores reversed, it is the highest specificity at a minimum sensitivity.

    Args:
        truth: ``(n,)`` zeros and ones.
        score: ``(n,)``; higher values mean more likely positive.
        specificity: Minimum share of negatives predicted negative.

    Returns:
        Share of positives predicted positive; nan without positives or negatives.
    """
    if np.isnan(roc_auc(truth, score)):
        return float("nan")
    negatives = np.sort(score[truth < 0.5])
    # The lowest threshold with enough negatives at or below it; positive means above it.
    rejected = int(np.ceil(specificity * len(negatives) - 1e-9))
    threshold = negatives[rejected - 1] if rejected else -np.inf
    return float((score[truth > 0.5] > threshold).mean())
