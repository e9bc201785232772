"""The report page: tables converted for the templates."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

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
        "Missed: haemorrhages with a probability of any below 0.5",
        "None: every slice with a haemorrhage has a probability of 0.5 or more.",
    ),
    FALSE_ALARM: (
        "False alarms: no haemorrhage labelled, probability of any 0.5 or more",
        "None: no slice without a haemorrhage has a probability of 0.5 or more.",
    ),
    HIGHEST_LOSS: ("Highest loss over all classes, excluding slices above", "No other slices."),
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
    """Lowest validation loss of each model (rows) and fold (columns), and the mean."""
    best = histories.groupby(["model", "fold"], sort=False)["val_loss"].min().unstack("fold")
    best = best.loc[list(dict.fromkeys(histories["model"])), sorted(best.columns)]
    rows = [
        {"model": model, "losses": values.tolist(), "mean": float(values.mean())}
        for model, values in best.iterrows()
    ]
    return {"folds": [int(fold) for fold in best.columns], "rows": rows}


def metric_tables(metrics: pd.DataFrame) -> Rows:
    """Turn the long metrics table into one wide table per metric, best values marked.

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
        best = np.fmin.reduce(values) if weighted else np.fmax.reduce(values)
        cells = [
            [{"value": value, "best": value == mark and len(values) > 1} for value, mark in pairs]
            for pairs in (zip(row, best, strict=True) for row in values)
        ]
        rows = [
            {"name": name, "last": index == len(names) - 1 and index > 0, "cells": cells[index]}
            for index, name in enumerate(names)
        ]
        tables.append(
            {
                "title": _METRIC_TITLES[metric],
                "digits": 4 if weighted else 3,
                "weighted": weighted,
                "rows": rows,
            }
        )
    return tables


def fold_table(losses: pd.DataFrame) -> dict[str, Any]:
    """Convert ``scores.fold_losses`` to rows with one value per fold."""
    folds = [name for name in losses.columns if name.startswith("fold_")]
    rows = [
        {
            "name": row["model"],
            "loss": {"value": row["loss"], "low": row["loss_low"], "high": row["loss_high"]},
            "folds": [row[name] for name in folds],
        }
        for row in records(losses)
    ]
    return {"folds": [name.removeprefix("fold_") for name in folds], "rows": rows}


def ranked_studies(ranked: pd.DataFrame, worst: pd.DataFrame) -> Rows:
    """Group the ranked studies by class; studies with a picture link to it."""
    pictured = worst.drop_duplicates("study_id").set_index("study_id")["slice_num"]
    groups = []
    for name in dict.fromkeys(ranked["class"]):
        rows = records(ranked[ranked["class"] == name])
        for row in rows:
            study = row["study_id"]
            row["link"] = anchor(study, int(pictured[study])) if study in pictured else None
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
