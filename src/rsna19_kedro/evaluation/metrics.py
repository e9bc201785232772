"""The competition's weighted log loss, and metrics per class.

Labels and predictions are ``(N, 6)`` with the classes in the order of ``contracts.CLASSES``.
"""

import numpy as np
import numpy.typing as npt

from rsna19_kedro.contracts import CLASS_WEIGHTS, CLASSES
from rsna19_kedro.errors import InputError, counted

Floats = npt.NDArray[np.float64]

CLASS_WEIGHT_SHARES: Floats = np.asarray(CLASS_WEIGHTS) / sum(CLASS_WEIGHTS)
"""Class weights of the competition's score, normalised to sum 1."""


def slice_log_losses(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, eps: float = 1e-6
) -> Floats:
    """Compute the log loss of every slice and class.

    Args:
        labels: ``(N, 6)`` zeros and ones.
        predictions: ``(N, 6)`` probabilities; clipped to ``[eps, 1 - eps]``.
        eps: Clipping limit (docs/reference.md#second-level: 1e-6 for the plain average).

    Returns:
        ``(N, 6)`` float64.

    Raises:
        InputError: Wrong shapes, no slices, or a prediction that is not a number.
    """
    truth, probability = _checked(labels, predictions)
    probability = np.clip(probability, eps, 1.0 - eps)
    return -np.where(truth > 0.5, np.log(probability), np.log1p(-probability))


def class_log_losses(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, eps: float = 1e-6
) -> Floats:
    """Mean log loss of each class, ``(6,)``; arguments as for ``slice_log_losses``."""
    return slice_log_losses(labels, predictions, eps).mean(axis=0)


def weighted_log_loss(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, eps: float = 1e-6
) -> float:
    """The competition's score: log losses weighted 1, 1, 1, 1, 1, 2 over 7; lower is better.

    Arguments and errors as for ``slice_log_losses``.
    """
    return float(class_log_losses(labels, predictions, eps) @ CLASS_WEIGHT_SHARES)


def prevalence_loss(labels: npt.ArrayLike) -> float:
    """Weighted log loss of predicting the prevalence of the labels ``(N, 6)`` for every slice.

    It equals the weighted entropy of the labels: no constant prediction has a lower loss.
    """
    truth = np.asarray(labels, dtype=np.float64)
    return weighted_log_loss(truth, np.broadcast_to(truth.mean(axis=0), truth.shape))


def roc_auc(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Area under the ROC curve of one class; nan if all labels are equal.

    Args:
        labels: ``(N,)`` zeros and ones.
        predictions: ``(N,)`` scores of any scale.
    """
    truth = np.asarray(labels) > 0.5
    if truth.all() or not truth.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score  # Imported here because it is slow.

    return float(roc_auc_score(truth, np.asarray(predictions)))


def class_metrics(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> dict[str, Floats]:
    """Compute the metrics of each class at a threshold of 0.5 (docs/reference.md#reports).

    Args:
        labels: ``(N, 6)`` zeros and ones.
        predictions: ``(N, 6)`` probabilities; a slice counts as positive at ``>= 0.5``.

    Returns:
        ``accuracy, f1, specificity, sensitivity, roc_auc, log_loss`` and the share of
        positives ``prevalence``, each ``(6,)``. Undefined values are nan: sensitivity without
        positives, specificity without negatives, F1 without positives and positive
        predictions, the area under the curve if all labels are equal.
    """
    truth, probability = _checked(labels, predictions)
    positive, called = truth > 0.5, probability >= 0.5
    hits = (positive & called).sum(axis=0)
    right_negatives = (~positive & ~called).sum(axis=0)
    misses = (positive & ~called).sum(axis=0)
    alarms = (~positive & called).sum(axis=0)
    areas = [roc_auc(positive[:, k], probability[:, k]) for k in range(len(CLASSES))]
    return {
        "accuracy": (hits + right_negatives) / len(truth),
        "f1": _ratio(2 * hits, 2 * hits + misses + alarms),
        "specificity": _ratio(right_negatives, right_negatives + alarms),
        "sensitivity": _ratio(hits, hits + misses),
        "roc_auc": np.asarray(areas),
        "log_loss": class_log_losses(truth, probability),
        "prevalence": positive.mean(axis=0),
    }


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Floats:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _checked(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[Floats, Floats]:
    truth = np.asarray(labels, dtype=np.float64)
    probability = np.asarray(predictions, dtype=np.float64)
    if truth.shape != probability.shape or truth.ndim != 2 or truth.shape[1] != len(CLASSES):
        raise InputError(
            f"Metrics got labels of shape {truth.shape} and predictions of shape "
            f"{probability.shape}; expected (N, {len(CLASSES)}) for both."
        )
    if not len(truth):
        raise InputError("Metrics got no slices; expected at least one labelled slice.")
    missing = np.flatnonzero(np.isnan(probability).any(axis=1) | np.isnan(truth).any(axis=1))
    if len(missing):
        raise InputError(
            f"Metrics got NaN in {counted(len(missing), 'row')}, the first is row {missing[0]}; "
            "expected a label and a probability for every slice and class."
        )
    return truth, probability
