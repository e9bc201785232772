"""Second-level models judged on patients that they have not seen."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.metrics import (
    bootstrap_difference,
    bootstrap_loss,
    class_log_losses,
    roc_auc,
)

logger = logging.getLogger(__name__)

REFERENCE: Final = "mean"
"""Candidate that the others are compared with."""
PREVALENCE: Final = "prevalence"
"""Row for predicting each class's share of positives in the training folds."""

Builders = Mapping[str, Callable[[], Candidate]]


def check_patients(patients: Groups, folds: npt.NDArray[np.integer]) -> None:
    """Make sure that no patient stands in two folds.

    Raises:
        InputError: A patient does; the message names the first ones.
    """
    pairs = pd.DataFrame({"patient": patients, "fold": folds}).drop_duplicates()
    crossing = pairs["patient"][pairs["patient"].duplicated()].unique()
    if len(crossing):
        raise InputError(
            f"{len(crossing)} patients stand in more than one fold, first {list(crossing[:3])}: "
            "a second level judged on them would have seen them. Run the pipeline folds again."
        )


def nested_predictions(
    features: FirstLevel,
    labels: Labels,
    patients: Groups,
    folds: npt.NDArray[np.integer],
    builders: Builders,
) -> dict[str, Floats]:
    """Predict each fold by candidates fitted on all the others.

    Args:
        features: N slices.
        labels: ``(N, 6)`` zeros and ones.
        patients: ``(N,)`` patients.
        folds: ``(N,)`` fold of the slice.
        builders: Makes a fresh candidate, by name.

    Returns:
        ``(N, 6)`` float64 by name, with ``prevalence`` added.

    Raises:
        InputError: A patient in two folds, or a single fold.
    """
    check_patients(patients, folds)
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise InputError(
            f"The second level is judged fold against folds, but only fold {numbers.tolist()} "
            "holds slices. Run the whole graph with at least two folds."
        )
    result = {name: np.empty(labels.shape) for name in (*builders, PREVALENCE)}
    for fold in numbers:
        scored = folds == fold
        learned = ~scored
        shown, hidden = features.take(learned), features.take(scored)
        for name, build in builders.items():
            candidate = build()
            candidate.fit(shown, labels[learned], patients[learned])
            result[name][scored] = candidate.predict(hidden)
        result[PREVALENCE][scored] = labels[learned].mean(axis=0)
        logger.info("Second level: fold %d predicted by %s", fold, ", ".join(builders))
    return result


def prediction_table(level1: pd.DataFrame, predictions: Mapping[str, Floats]) -> pd.DataFrame:
    """Long table of nested predictions.

    Args:
        level1: Wide first-level table: keys, ``patient_id``, ``fold``.
        predictions: ``(N, 6)`` by candidate.

    Returns:
        Keys, ``patient_id``, ``fold``, ``candidate``, six ``pred_*`` float32; the slices in
        the order of ``level1``, candidate after candidate.
    """
    base = level1[[*KEYS, "patient_id", "fold"]]
    parts = []
    for name, values in predictions.items():
        table = pd.DataFrame(values.astype(np.float32), columns=list(PREDICTIONS))
        parts.append(pd.concat([base.assign(candidate=name), table], axis=1))
    return pd.concat(parts, ignore_index=True)


def score_table(
    level1: pd.DataFrame, predictions: Mapping[str, Floats], *, resamples: int, seed: int
) -> pd.DataFrame:
    """Score predictions of the same slices, best first.

    Args:
        level1: ``patient_id`` and the six labels, ``(N,)`` rows.
        predictions: ``(N, 6)`` by candidate; ``mean`` must be one of them.
        resamples: Bootstrap samples of patients.
        seed: Seed of the bootstrap; all candidates are scored on the same samples.

    Returns:
        One row a candidate: ``candidate``; weighted log ``loss``, ``loss_low``,
        ``loss_high``; ``difference`` to the plain mean with ``_low`` and ``_high`` (negative
        is better; 95 %, by patient); ``log_loss_<class>`` for each class; ``auc_any``;
        ``slices`` and ``patients``.
    """
    labels = level1[list(CLASSES)].to_numpy(np.float64)
    patients = level1["patient_id"].to_numpy()
    reference = predictions[REFERENCE]
    rows: list[dict[str, Any]] = []
    for name, values in predictions.items():
        loss = bootstrap_loss(labels, values, patients, resamples=resamples, seed=seed)
        change = bootstrap_difference(
            labels, values, reference, patients, resamples=resamples, seed=seed
        )
        by_class = class_log_losses(labels, values)
        rows.append(
            {
                "candidate": name,
                "loss": loss.value,
                "loss_low": loss.low,
                "loss_high": loss.high,
                "difference": change.value,
                "difference_low": change.low,
                "difference_high": change.high,
                **{f"log_loss_{c}": float(v) for c, v in zip(CLASSES, by_class, strict=True)},
                "auc_any": roc_auc(labels[:, -1], values[:, -1]),
                "slices": len(labels),
                "patients": len(np.unique(patients)),
            }
        )
    return pd.DataFrame(rows).sort_values("loss", ignore_index=True, kind="stable")


def choose(scores: pd.DataFrame, candidates: Mapping[str, str]) -> dict[str, Any]:
    """Take the candidate with the lowest nested loss.

    Args:
        scores: What ``score_table`` gives.
        candidates: Kind by name of those that may be taken; prevalence and other rows that
            are there for comparison may not.

    Returns:
        ``chosen``, ``kind``, ``reason`` in words, its ``loss`` and ``difference`` to the
        plain mean with intervals, and every candidate's loss: what JSON can hold.
    """
    ranked = scores[scores["candidate"].isin(list(candidates))].reset_index(drop=True)
    best = ranked.loc[ranked["loss"].idxmin()]
    name = str(best["candidate"])
    reason = f"lowest nested weighted log loss of {len(ranked)} candidates: {best['loss']:.4f}"
    if name != REFERENCE:
        sure = best["difference_high"] < 0
        reason += (
            f", {best['difference']:+.4f} against the plain mean "
            f"[{best['difference_low']:+.4f}, {best['difference_high']:+.4f}]"
            f"{'' if sure else '; the interval holds 0, so the gain may be chance'}"
        )
    return {
        "chosen": name,
        "kind": candidates[name],
        "reason": reason,
        "loss": [float(best[c]) for c in ("loss", "loss_low", "loss_high")],
        "difference_to_mean": [
            float(best[c]) for c in ("difference", "difference_low", "difference_high")
        ],
        "losses": {
            str(key): float(loss) for key, loss in ranked.set_index("candidate")["loss"].items()
        },
    }
