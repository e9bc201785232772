"""Tables of nested predictions and scores, and the description of the choice."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.candidate import Floats
from rsna19_kedro.ensemble.nested import Judgement
from rsna19_kedro.evaluation.baselines import INNER_CHOICE, MEAN
from rsna19_kedro.evaluation.bootstrap import bootstrap_difference, bootstrap_loss
from rsna19_kedro.evaluation.formatting import words
from rsna19_kedro.evaluation.metrics import class_log_losses, roc_auc


def prediction_table(level1: pd.DataFrame, predictions: Mapping[str, Floats]) -> pd.DataFrame:
    """Make the long table of nested predictions.

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
        predictions: ``(N, 6)`` by candidate, including ``mean``.
        resamples: Bootstrap samples of patients.
        seed: Seed of the bootstrap; all candidates are scored on the same samples.

    Returns:
        One row per candidate: ``candidate``; weighted log ``loss``, ``loss_low``,
        ``loss_high``; ``difference`` to the plain mean with ``_low`` and ``_high`` (negative
        is better; 95 %, by patient); ``log_loss_<class>`` for each class; ``auc_any``;
        ``slices`` and ``patients``.
    """
    labels = level1[list(CLASSES)].to_numpy(np.float64)
    patients = level1["patient_id"].to_numpy()
    reference = predictions[MEAN]
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


def describe_decisions(judgement: Judgement) -> dict[str, Any]:
    """Return the decisions for each outer fold and for all folds as JSON.

    Returns:
        ``folds``: by fold ``candidate``, ``corrections`` and ``losses``; ``final``: the same
        for all folds, with ``correction_losses``, ``blend_weights`` (by blend, one list per
        member) and the parameters of the corrections.
    """
    final = judgement.final
    return {
        "folds": {
            str(fold): {
                "candidate": decision.candidate,
                "corrections": [step.kind for step in decision.corrections],
                "losses": decision.losses,
            }
            for fold, decision in judgement.decisions.items()
        },
        "final": {
            "candidate": final.candidate,
            "corrections": [asdict(step) for step in final.corrections],
            "losses": final.losses,
            "correction_losses": final.correction_losses,
            "blend_weights": {name: weights.tolist() for name, weights in final.blends.items()},
        },
    }


def describe_choice(
    scores: pd.DataFrame, decisions: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """Describe the choice, its reason and its unbiased score as JSON.

    Args:
        scores: Output of ``score_table``.
        decisions: Output of ``describe_decisions``.
        kind: Kind of the candidate chosen on all folds.

    Returns:
        ``chosen``: the reported row of scores and nested predictions, ``inner_choice``;
        ``candidate`` and ``kind``: the candidate fitted on all folds, with its
        ``corrections`` and ``blend_weights``; ``reason`` in words; the reported ``loss`` and
        ``difference_to_mean`` with intervals; ``losses`` of all candidates; ``inner``: the
        choice for each outer fold.
    """
    rows = scores.set_index("candidate")
    final, nested = decisions["final"], rows.loc[INNER_CHOICE]
    candidate = final["candidate"]
    listed = [*final["losses"], INNER_CHOICE]
    return {
        "chosen": INNER_CHOICE,
        "candidate": candidate,
        "kind": kind,
        "reason": _reason(decisions, nested),
        "corrections": final["corrections"],
        "correction_losses": final["correction_losses"],
        "blend_weights": final["blend_weights"].get(candidate),
        "loss": [float(nested[c]) for c in ("loss", "loss_low", "loss_high")],
        "difference_to_mean": [
            float(nested[c]) for c in ("difference", "difference_low", "difference_high")
        ],
        "losses": {str(name): float(rows.loc[name, "loss"]) for name in listed},
        "inner": decisions["folds"],
    }


def _reason(decisions: Mapping[str, Any], nested: pd.Series) -> str:
    final, tried = decisions["final"], len(decisions["final"]["losses"])
    name = str(final["candidate"])
    shown = name if words(name) == name else f"{words(name)} ({name})"
    steps = [f"'{step['kind']}'" for step in final["corrections"]]
    corrected = f", with the {'correction' if len(steps) == 1 else 'corrections'} " if steps else ""
    best = f"It has the lowest out-of-fold loss of {tried} candidates" if tried > 1 else "It"
    counts = pd.Series([fold["candidate"] for fold in decisions["folds"].values()]).value_counts()
    inside = "; ".join(f"{words(str(kind))}: {_times(count)}" for kind, count in counts.items())
    low, high = nested["difference_low"], nested["difference_high"]
    if low <= 0 <= high:
        verdict = "The interval includes 0, so the difference may be due to chance."
    else:
        verdict = (
            f"The reported score is {'worse' if low > 0 else 'better'} than the plain average's."
        )
    return (
        f"Delivered model: {shown}{corrected}{' and '.join(steps)}. {best} "
        f"{'and ' if tried > 1 else ''}was fitted on all folds. Reported score: "
        f"{nested['loss']:.4f}. It rates the way of choosing, not this one model: for each fold, "
        f"the choice was made again on the other (inner) folds ({inside}). Compared with the "
        f"plain average: {nested['difference']:+.4f} (95 % interval {low:+.4f} to {high:+.4f}). "
        f"{verdict}"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
