"""Counts of slices, studies and header tags."""

import pandas as pd

from rsna19_kedro.cohort.report_lines import sign_text, syntax_name
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.formatting import MINUS
from rsna19_kedro.evaluation.study_level import study_maxima

ALL_FOLDS = "all"
"""The row of :func:`fold_statistics` for all folds together."""


def fold_statistics(folds: pd.DataFrame) -> pd.DataFrame:
    """Count the slices, studies and patients of each fold (docs/reference.md#reports).

    Args:
        folds: One row per slice: keys, ``patient_id``, ``fold``, six labels.

    Returns:
        One row per fold and a last row ``all``: ``fold`` (text), ``slices``, ``studies``,
        ``patients``, and for each class ``slices_<class>`` and ``studies_<class>``, the
        number of positive slices and of studies with at least one positive slice.
    """
    parts = [(str(fold), part) for fold, part in folds.groupby("fold", sort=True)]
    rows = [_counts(name, part) for name, part in [*parts, (ALL_FOLDS, folds)]]
    return pd.DataFrame(rows)


def _counts(name: str, slices: pd.DataFrame) -> dict[str, object]:
    per_study = study_maxima(slices, CLASSES)
    return {
        "fold": name,
        "slices": len(slices),
        "studies": len(per_study),
        "patients": slices["patient_id"].nunique(),
        **{f"slices_{c}": int(slices[c].sum()) for c in CLASSES},
        **{f"studies_{c}": int(per_study[c].sum()) for c in CLASSES},
    }


def class_correlations(folds: pd.DataFrame) -> pd.DataFrame:
    """Correlate the labels of the classes over all slices.

    Args:
        folds: Six labels per slice.

    Returns:
        One row per class: ``class`` and Pearson correlation with each of the six; NaN for a
        class with the same label on every slice.
    """
    table = folds[list(CLASSES)].astype(float).corr()
    return table.rename_axis("class").reset_index()


def tag_statistics(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> pd.DataFrame:
    """Count the values of the header tags that determine how a file is read.

    Args:
        slice_index: One row per DICOM file, as the ingestion writes it.
        volume_index: One row per prepared study: ``slices``, ``alignment``.

    Returns:
        ``tag`` (in words), ``value`` (in words), ``slices``, ``studies``; tags in a fixed
        order, values by decreasing number of slices.
    """
    described = pd.DataFrame(
        {
            "Subset": slice_index["subset"].astype("string"),
            "Rows \N{MULTIPLICATION SIGN} columns": _pairs(
                slice_index["rows"], slice_index["columns"]
            ),
            "Pixel format": _pixel_format(slice_index),
            "Rescale intercept": slice_index["rescale_intercept"].map(
                lambda value: "not given" if pd.isna(value) else f"{value:g} HU".replace("-", MINUS)
            ),
            "Transfer syntax": slice_index["transfer_syntax_uid"].map(syntax_name),
            "Problems found while reading": slice_index["problem"].astype("string").fillna("none"),
        }
    )
    parts = []
    for tag in described.columns:
        groups = slice_index["study_id"].groupby(described[tag].astype(object))
        counts = groups.agg(slices="size", studies="nunique").sort_values(
            "slices", ascending=False, kind="stable"
        )
        parts.append(counts.rename_axis("value").reset_index().assign(tag=tag))
    aligned = volume_index.groupby("alignment")["slices"].agg(slices="sum", studies="size")
    parts.append(aligned.rename_axis("value").reset_index().assign(tag="Alignment"))
    table = pd.concat(parts, ignore_index=True)[["tag", "value", "slices", "studies"]]
    return table.astype({"tag": "string", "value": "string"})


def _pairs(first: pd.Series, second: pd.Series) -> pd.Series:
    numbers = [part.astype("Int64").astype("string").fillna("?") for part in (first, second)]
    return numbers[0] + " \N{MULTIPLICATION SIGN} " + numbers[1]


def _pixel_format(slice_index: pd.DataFrame) -> pd.Series:
    bits = slice_index["bits_stored"].astype("Int64").astype("string").fillna("?")
    sign = slice_index["pixel_representation"].map(sign_text)
    return bits + " bits, " + sign.astype("string")
