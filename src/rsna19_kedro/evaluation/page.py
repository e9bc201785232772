"""The report page: tables converted for the templates."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.formatting import template
from rsna19_kedro.evaluation.scores import SHOWN_METRICS, WEIGHTED
from rsna19_kedro.evaluation.worst_slices import FALSE_ALARM, HIGHEST_LOSS, MISSED
from rsna19_kedro.version import package_versions

Rows = list[dict[str, Any]]

_PACKAGES = (
    "rsna19_kedro",
    "kedro",
    "torch",
    "lightning-fabric",
    "timm",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "catboost",
    "pydicom",
    "blosc2",
    "matplotlib",
)

_METRIC_TITLES = {
    "log_loss": "Log loss",
    "roc_auc": "ROC AUC",
    "sensitivity": "Sensitivity at 0.5",
    "specificity": "Specificity at 0.5",
    "f1": "F1 at 0.5",
    "accuracy": "Accuracy at 0.5",
}

_GROUP_TEXTS = {
    MISSED: (
        "Missed: haemorrhage labelled, P(any) below 0.5; lowest P(any) first",
        "None: P(any) is 0.5 or more for every slice with a haemorrhage.",
    ),
    FALSE_ALARM: (
        "False alarms: no haemorrhage labelled, P(any) 0.5 or more; highest P(any) first",
        "None: P(any) is below 0.5 for every slice without a haemorrhage.",
    ),
    HIGHEST_LOSS: ("Highest loss over all classes, without the slices above", "No other slices."),
}


def render_page(content: Mapping[str, Any]) -> str:
    """Render the page as one self-contained HTML text.

    Args:
        content: Variables of ``report.html.j2`` by name.
    """
    return template("report.html.j2").render(classes=CLASSES, **content)


def tag_tables(tag_statistics: pd.DataFrame, longest: int = 12) -> list[tuple[str, Rows]]:
    """Split the tag table by tag; with more than ``longest`` values, merge the rarest."""
    tables = []
    for tag, rows in tag_statistics.groupby("tag", sort=False):
        values = records(rows)
        if len(values) > longest:
            rest = values[longest - 1 :]
            other = {
                "value": f"{len(rest)} other values",
                "slices": sum(row["slices"] for row in rest),
                "studies": None,
            }
            values = [*values[: longest - 1], other]
        tables.append((str(tag), values))
    return tables


def training_table(histories: pd.DataFrame) -> dict[str, Any]:
    """Validation losses of each model (rows) and fold (columns).

    Args:
        histories: One row per validation in chronological order: ``model``, ``fold``,
            ``val_loss``.

    Returns:
        ``folds``, and ``rows`` with ``model``, ``cells`` (``last`` loss and the ``lowest``, which
        is ``None`` if it is the last) and the ``mean`` of the last losses.
    """
    runs = histories.groupby(["model", "fold"])["val_loss"]
    last, lowest = runs.last(), runs.min()
    folds = sorted(histories["fold"].unique())
    rows = []
    for model in dict.fromkeys(histories["model"]):
        cells = [
            {
                "last": float(last[model, fold]),
                "lowest": float(low) if (low := lowest[model, fold]) < last[model, fold] else None,
            }
            for fold in folds
        ]
        mean = float(np.mean([cell["last"] for cell in cells]))
        rows.append({"model": model, "cells": cells, "mean": mean})
    return {"folds": [int(fold) for fold in folds], "rows": rows}


def metric_tables(metrics: pd.DataFrame) -> Rows:
    """Turn the long metrics table into one wide table per metric, with the best values marked.

    Args:
        metrics: Output of :func:`rsna19_kedro.evaluation.scores.metrics_table`.
    """
    names = list(dict.fromkeys(metrics["predictor"]))
    tables = []
    for metric in SHOWN_METRICS:
        weighted = metric == "log_loss"
        columns = [*CLASSES, WEIGHTED] if weighted else list(CLASSES)
        wide = metrics.pivot(index="predictor", columns="class", values=metric)
        values = wide.loc[names, columns].to_numpy(float)
        digits = 4 if weighted else 3
        cells = _marked(values, digits, lowest=weighted)
        rows = [
            {"name": name, "last": index == len(names) - 1 and index > 0, "cells": cells[index]}
            for index, name in enumerate(names)
        ]
        title = _METRIC_TITLES[metric]
        tables.append({"title": title, "digits": digits, "weighted": weighted, "rows": rows})
    return tables


def _marked(values: NDArray[np.float64], digits: int, *, lowest: bool) -> list[Rows]:
    """Mark the best value of each column as it is shown, unless all are equal."""
    shown = np.round(values, digits)
    low, high = np.fmin.reduce(shown), np.fmax.reduce(shown)
    best = (shown == (low if lowest else high)) & (low != high)
    return [
        [{"value": value, "best": bool(mark)} for value, mark in zip(row, marks, strict=True)]
        for row, marks in zip(values, best, strict=True)
    ]


def fold_table(losses: pd.DataFrame) -> dict[str, Any]:
    """Convert ``scores.fold_losses`` to rows with one cell per fold, the best values marked."""
    folds = [name for name in losses.columns if name.startswith("fold_")]
    cells = _marked(losses[["loss", *folds]].to_numpy(float), 4, lowest=True)
    rows = [
        {
            "name": row["model"],
            "loss": {"value": row["loss"], "low": row["loss_low"], "high": row["loss_high"]},
            "best": of_row[0]["best"],
            "cells": of_row[1:],
        }
        for row, of_row in zip(records(losses), cells, strict=True)
    ]
    return {"folds": [name.removeprefix("fold_") for name in folds], "rows": rows}


def ranked_studies(ranked: pd.DataFrame, worst: pd.DataFrame) -> Rows:
    """Group the ranked studies by class, with a picture of a slice with that class if there is one.

    Args:
        ranked: Output of ``worst_slices.studies_by_class``.
        worst: Slices with a picture: ``study_id``, ``slice_num`` and labels.

    Returns:
        By class, ``highest`` and ``lowest``: rows with ``pictured``, the number of the slice or
        ``None``, and ``link``, the HTML id of its picture.
    """
    groups = []
    for name in dict.fromkeys(ranked["class"]):
        labelled = worst[worst[name] == 1].drop_duplicates("study_id")
        pictured = {str(s): int(n) for s, n in labelled[["study_id", "slice_num"]].to_numpy()}
        rows = records(ranked[ranked["class"] == name])
        for row in rows:
            number = row["pictured"] = pictured.get(row["study_id"])
            row["link"] = None if number is None else anchor(row["study_id"], number)
        ends = {end: [row for row in rows if row["end"] == end] for end in ("highest", "lowest")}
        groups.append({"class": name, **ends})
    return groups


def anchor(study_id: str, slice_num: int) -> str:
    """HTML id of the picture of a slice."""
    return f"slice-{study_id}-{slice_num}".replace(" ", "-")


def worst_groups(worst: pd.DataFrame, pictures: pd.DataFrame) -> Rows:
    """Join the worst slices with their pictures, group by group."""
    shown = worst.merge(pictures, on=["study_id", "slice_num"], how="left", validate="m:1")
    groups = []
    for group, (title, empty) in _GROUP_TEXTS.items():
        slices = [_slice(row) for row in records(shown[shown["group"] == group])]
        groups.append({"title": title, "empty": empty, "slices": slices})
    return groups


def _slice(row: Mapping[str, Any]) -> dict[str, Any]:
    classes = [
        {"name": name, "label": bool(row[name]), "probability": float(row[f"pred_{name}"])}
        for name in CLASSES
    ]
    kept = {key: row[key] for key in ("study_id", "slice_num", "loss", "picture")}
    return {**kept, "classes": classes, "anchor": anchor(row["study_id"], row["slice_num"])}


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the results."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = {"page made": made, "Python": platform.python_version()}
    return versions | package_versions(*_PACKAGES)


def records(table: pd.DataFrame) -> Rows:
    """Rows of a table as dictionaries, for the templates."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
