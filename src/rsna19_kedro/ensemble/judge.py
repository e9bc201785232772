"""Tables of judged candidates, and the choice among them in words and numbers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.candidate import Floats
from rsna19_kedro.ensemble.nested import Judgement
from rsna19_kedro.evaluation.baselines import INNER_CHOICE, MEAN
from rsna19_kedro.evaluation.metrics import (
    bootstrap_difference,
    bootstrap_loss,
    class_log_losses,
    roc_auc,
)


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
    """Say as JSON can what was decided without each fold, and by all of them.

    Returns:
        ``folds``: by fold ``candidate``, ``corrections`` and ``losses``; ``final``: the
        same with ``correction_losses``, ``blend_weights`` (by blend, a list for each member)
        and the numbers of the corrections.
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
    """Put the choice, its reasons and its honest score in one small JSON.

    Args:
        scores: What ``score_table`` gives.
        decisions: What ``describe_decisions`` gives.
        kind: Kind of the candidate that all folds choose.

    Returns:
        ``chosen``: the row of the scores, and of the nested predictions, that is reported,
        ``inner_choice``; ``candidate`` and ``kind``: what is fitted on all folds;
        ``corrections`` and ``blend_weights`` that go with it; ``reason`` in words; the
        reported ``loss`` and ``difference_to_mean`` with intervals; ``losses`` of all
        candidates; ``inner``: what was chosen without each fold.
    """
    rows = scores.set_index("candidate")
    final, honest = decisions["final"], rows.loc[INNER_CHOICE]
    candidate = final["candidate"]
    listed = [*final["losses"], INNER_CHOICE]
    return {
        "chosen": INNER_CHOICE,
        "candidate": candidate,
        "kind": kind,
        "reason": _reason(decisions, honest),
        "corrections": final["corrections"],
        "correction_losses": final["correction_losses"],
        "blend_weights": final["blend_weights"].get(candidate),
        "loss": [float(honest[c]) for c in ("loss", "loss_low", "loss_high")],
        "difference_to_mean": [
            float(honest[c]) for c in ("difference", "difference_low", "difference_high")
        ],
        "losses": {str(name): float(rows.loc[name, "loss"]) for name in listed},
        "inner": decisions["folds"],
    }


def _reason(decisions: Mapping[str, Any], honest: pd.Series) -> str:
    final = decisions["final"]
    steps = " and ".join(step["kind"] for step in final["corrections"])
    times = pd.Series([fold["candidate"] for fold in decisions["folds"].values()]).value_counts()
    inside = ", ".join(f"{name} {count}x" for name, count in times.items())
    low, high = honest["difference_low"], honest["difference_high"]
    verdict = ""
    if low <= 0 <= high:
        verdict = "; the interval holds 0, so the difference may be chance"
    elif low > 0:
        verdict = "; worse than the plain mean"
    return (
        f"{final['candidate']}{f' with {steps}' if steps else ''} has the lowest out-of-fold "
        f"loss of {len(final['losses'])} candidates and is fitted on all folds; chosen inside "
        f"the inner folds ({inside}) it scores {honest['loss']:.4f}, "
        f"{honest['difference']:+.4f} against the plain mean [{low:+.4f}, {high:+.4f}]{verdict}"
    )
