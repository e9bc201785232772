"""The main numbers of a run, and the table of the second level's candidates."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.baselines import HISTOGRAM, MEAN, PREVALENCE, REFERENCES
from rsna19_kedro.evaluation.bootstrap import bootstrap_auc
from rsna19_kedro.evaluation.metrics import prevalence_loss

_NONE: dict[str, float | None] = {"value": None, "low": None, "high": None}


def main_numbers(
    stacked_oof: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    chosen: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compute the numbers of the page's summary.

    Args:
        stacked_oof: Predictions of the chosen candidate: keys, ``patient_id``, ``fold``,
            labels, ``pred_*``.
        scores: Scores of candidates and references; the row ``hu_histogram`` may be missing.
        chosen: Name of the chosen candidate.
        resamples: Resamples of patients for the intervals.
        seed: Seed of the resampling.

    Returns:
        ``folds``, ``studies``, ``slices``, ``patients``, ``positive_slices``, ``chosen``,
        ``loss`` and ``auc_any`` (``value``, ``low``, ``high``), ``average_loss``
        (of the plain average) and ``average_interval`` (``low``, ``high``),
        ``prevalence_loss``, ``gain_percent`` and ``histogram_auc``; undefined values are
        ``None``.
    """
    labels = stacked_oof[list(CLASSES)].to_numpy()
    predictions = stacked_oof[list(PREDICTIONS)].to_numpy(float)
    patients = stacked_oof["patient_id"].to_numpy()
    scored = scores.set_index("candidate")
    loss = scored.loc[chosen]
    area = bootstrap_auc(
        labels[:, -1], predictions[:, -1], patients, resamples=resamples, seed=seed
    )
    constant = constant_loss(scores, labels)
    return {
        "folds": int(stacked_oof["fold"].nunique()),
        "studies": int(stacked_oof["study_id"].nunique()),
        "slices": len(stacked_oof),
        "patients": int(stacked_oof["patient_id"].nunique()),
        "positive_slices": int(labels[:, -1].sum()),
        "chosen": chosen,
        "loss": _interval(loss, "loss"),
        "auc_any": {name: known(value) for name, value in area._asdict().items()},
        "average_loss": known(scored["loss"].get(MEAN, math.nan)),
        "average_interval": {
            end: known(scored[f"loss_{end}"].get(MEAN, math.nan)) for end in ("low", "high")
        },
        "prevalence_loss": constant,
        "gain_percent": gain_percent(float(loss["loss"]), constant),
        "histogram_auc": known(scored["auc_any"].get(HISTOGRAM, math.nan)),
    }


def constant_loss(scores: pd.DataFrame, labels: NDArray[np.number]) -> float:
    """Return the weighted log loss of predicting prevalences.

    Args:
        scores: Its row ``prevalence``, predicted out of fold, is used if present.
        labels: Zeros and ones ``(n, 6)``; otherwise their prevalence is scored.
    """
    row = scores.loc[scores["candidate"] == PREVALENCE, "loss"]
    return float(row.iloc[0]) if len(row) else prevalence_loss(labels)


def candidate_tables(
    scores: pd.DataFrame, chosen: str, constant: float
) -> dict[str, list[dict[str, Any]]]:
    """Split the scores into candidates and references, each best first.

    Args:
        scores: One row per candidate: ``candidate``, ``loss`` and ``difference`` with their
            ``_low`` and ``_high`` ends, ``auc_any``.
        chosen: Name of the chosen candidate.
        constant: Loss of predicting prevalences.

    Returns:
        ``candidates`` and ``references``, each a list of rows for the template.
    """
    rows = [
        {
            "candidate": str(row["candidate"]),
            "chosen": row["candidate"] == chosen,
            "loss": _interval(row, "loss"),
            "difference": _interval(row, "difference") if row["candidate"] != MEAN else _NONE,
            "gain_percent": gain_percent(float(row["loss"]), constant),
            "auc_any": known(row["auc_any"]),
        }
        for _, row in scores.sort_values("loss", kind="stable").iterrows()
    ]
    return {
        "candidates": [row for row in rows if row["candidate"] not in REFERENCES],
        "references": [row for row in rows if row["candidate"] in REFERENCES],
    }


def networks_only(scores: pd.DataFrame) -> pd.DataFrame:
    """Drop the references that use no network."""
    return scores[~scores["candidate"].isin(REFERENCES)]


def _interval(row: pd.Series, name: str) -> dict[str, float | None]:
    """Value and interval of a score; the ends are ``None`` if the table lacks them."""
    ends = {end: known(row.get(f"{name}_{end}", math.nan)) for end in ("low", "high")}
    return {"value": known(row[name]), **ends}


def gain_percent(loss: float, constant: float) -> float | None:
    """Reduction of a loss relative to that of predicting prevalences, in per cent."""
    return 100 * (1 - loss / constant) if constant > 0 else None


def known(value: float) -> float | None:
    """Return the number, or ``None`` for nan, which JSON lacks."""
    return float(value) if math.isfinite(value) else None
