"""Intervals of the weighted log loss and of the ROC AUC from a bootstrap over patients."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.metrics import CLASS_WEIGHT_SHARES, Floats, roc_auc, slice_log_losses

_GATHER_LIMIT = 4_000_000
"""Maximum patients times resamples per batch; keeps memory below 100 MB."""


class Interval(NamedTuple):
    """An estimate and the ends of its bootstrap interval.

    Attributes:
        value: The estimate on all the data.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def bootstrap_loss(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Weighted log loss with a 95 % percentile interval from a bootstrap over patients.

    Slices of one patient are strongly correlated; resampling slices would make the interval
    several times too narrow.

    Args:
        labels: ``(N, 6)`` zeros and ones.
        predictions: ``(N, 6)`` probabilities.
        patients: ``(N,)`` patient of each slice.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.
    """
    loss = slice_log_losses(labels, predictions) @ CLASS_WEIGHT_SHARES
    return _bootstrap_mean(loss, patients, resamples, seed)


def bootstrap_difference(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    reference: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Paired difference of two weighted log losses, with a 95 % interval by patient.

    Both are scored on the same resampled patients. Negative values mean that ``predictions``
    is better than ``reference``, which has the same shape. Arguments as for ``bootstrap_loss``.
    """
    change = slice_log_losses(labels, predictions) - slice_log_losses(labels, reference)
    return _bootstrap_mean(change @ CLASS_WEIGHT_SHARES, patients, resamples, seed)


def _bootstrap_mean(values: Floats, patients: npt.ArrayLike, resamples: int, seed: int) -> Interval:
    from scipy.stats import bootstrap  # Imported here because it is slow.

    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    if codes.shape != values.shape:
        raise InputError(
            f"The bootstrap got {codes.size} patient ids for {values.size} slices; "
            "expected one id per slice."
        )
    value = float(values.mean())
    if len(names) == 1:
        return Interval(value, value, value)
    result = bootstrap(
        (np.bincount(codes, weights=values), np.bincount(codes)),
        lambda sums, counts, axis: sums.sum(axis=axis) / counts.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        batch=max(1, _GATHER_LIMIT // len(names)),
        rng=np.random.default_rng(seed),
    )
    return Interval(value, *(float(end) for end in result.confidence_interval))


def bootstrap_auc(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Area under the ROC curve of one class with a 95 % interval from a bootstrap over patients.

    A resample only changes the weight of each slice, so slices are sorted once and the area
    of a resample is a weighted Mann-Whitney statistic (ties count half).

    Args:
        labels: ``(N,)`` zeros and ones.
        scores: ``(N,)`` predictions of any scale.
        patients: ``(N,)`` patient of each slice.
        resamples: Number of bootstrap samples; those with a single label are ignored.
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


def _weighted_auc(truth: Floats, rank: npt.NDArray[np.intp], weight: Floats) -> float:
    positives = np.bincount(rank, weight * truth)
    negatives = np.bincount(rank, weight * (1 - truth))
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + negatives / 2) / pairs)
