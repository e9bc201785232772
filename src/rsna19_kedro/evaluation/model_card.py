"""The model card: what the models are, what they were trained on, how well they do, and limits."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.formatting import template
from rsna19_kedro.provenance.history import Origin

_TABLES = ("report_summary", "study_scores", "fold_scores", "fold_statistics")


def model_card(
    summary: Mapping[str, Any],
    study_metrics: pd.DataFrame,
    fold_losses: pd.DataFrame,
    fold_statistics: pd.DataFrame,
    origins: Iterable[Origin],
    *,
    versions: Mapping[str, str],
) -> str:
    """Fill the card from the run's tables.

    Args:
        summary: ``report_summary``; its ``band`` says what the models were trained on.
        study_metrics: Of ``study_level.study_metrics``.
        fold_losses: Of ``scores.fold_losses``.
        fold_statistics: Counts per fold, with a row ``all``.
        origins: When and from what all results were made.
        versions: Software and its versions.

    Returns:
        Markdown.
    """
    origins = list(origins)
    told_apart = study_metrics.dropna(subset="auc")
    everything = fold_statistics[fold_statistics["fold"].astype(str) == "all"].iloc[0]
    return template("model_card.md.j2", autoescape=False).render(
        summary=summary,
        studies=study_metrics.to_dict("records"),
        worst=next(iter(told_apart.nsmallest(1, "auc").to_dict("records")), None),
        losses=fold_losses.to_dict("records"),
        positive={name: int(everything[f"slices_{name}"]) for name in CLASSES},
        origins=[made for made in origins if made.dataset.endswith(("checkpoint", *_TABLES))],
        accepted=[made for made in origins if made.accepted],
        versions=versions,
    )
