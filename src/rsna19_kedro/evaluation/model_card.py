"""The model card: models, training data, performance and limits."""

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
    """Fill the model card from the run's tables.

    Args:
        summary: ``report_summary``; its ``band`` describes the training data.
        study_metrics: Output of ``study_level.study_metrics``.
        fold_losses: Output of ``scores.fold_losses``.
        fold_statistics: Counts per fold, with a row ``all``.
        origins: When each result was made, and from which inputs.
        versions: Software versions by name.

    Returns:
        Markdown.
    """
    origins = list(origins)
    scored = study_metrics.dropna(subset="auc")
    all_folds = fold_statistics[fold_statistics["fold"].astype(str) == "all"].iloc[0]
    text = template("model_card.md.j2", autoescape=False).render(
        summary=summary,
        studies=study_metrics.to_dict("records"),
        worst=next(iter(scored.nsmallest(1, "auc").to_dict("records")), None),
        losses=fold_losses.to_dict("records"),
        positive={name: int(all_folds[f"slices_{name}"]) for name in CLASSES},
        origins=[made for made in origins if made.dataset.endswith(("checkpoint", *_TABLES))],
        accepted=[made for made in origins if made.accepted],
        versions=versions,
    )
    return text.rstrip() + "\n"
