"""Combination of the prediction tables of all models and folds into one wide table."""

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import AREAS, CLASSES, FOLDS, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.level1 import (
    AUGMENTATIONS,
    MEMBERS,
    Floats32,
    Ints,
    model_names,
    prediction_columns,
    weights_of,
)
from rsna19_kedro.errors import DamagedFileError, InputError, ModelError, counted
from rsna19_kedro.networks.made_from import MADE_FROM, check_folds_alike, check_models_fit, remedy
from rsna19_kedro.stored_table import StoredTable

logger = logging.getLogger(__name__)

AnyTable: TypeAlias = pd.DataFrame | StoredTable


def combine_oof(folds: pd.DataFrame, tables: Sequence[AnyTable]) -> pd.DataFrame:
    """Combine the out-of-fold tables of all models into one wide table, by keys.

    Args:
        folds: Keys, ``patient_id``, ``fold`` and the six labels of all training slices.
        tables: One table per model and fold: keys, ``tta``, six ``pred_*``, ``model``, ``fold``.
            Stored tables are read one by one.

    Returns:
        Wide table: keys, ``patient_id``, ``fold``, six labels, ``<model>|<class>``, and
        ``area_<mask>`` if a model has them, averaged over test-time augmentations.

    Raises:
        InputError: A table does not hold exactly the slices of its fold, a pair of
            slice and augmentation is repeated or missing, values are outside 0..1, or a fold
            is missing. The message names model, fold and the first offending keys.
    """
    slices = _ordered(folds[[*KEYS, "patient_id", "fold", *CLASSES]])
    fold_of = slices["fold"].to_numpy(np.int64)
    rows = {int(fold): np.flatnonzero(fold_of == fold) for fold in np.unique(fold_of)}
    wide = _combine(slices, tables, rows)
    models = model_names(wide)
    if len(models) == 1:
        logger.warning("The second level has a single model, %s: it can only smooth it.", *models)
    return wide


def combine_test(test_slices: pd.DataFrame, tables: Sequence[AnyTable]) -> pd.DataFrame:
    """Combine the test tables of all models, averaged over augmentations and folds.

    Args:
        test_slices: Keys of all test slices.
        tables: One table per model and fold, each with all test slices.

    Returns:
        Wide table: keys, ``<model>|<class>``, ``area_<mask>``. Without test slices it has
        no rows and no prediction columns.

    Raises:
        InputError: As for ``combine_oof``.
    """
    slices = _ordered(test_slices[list(KEYS)])
    if slices.empty:
        return slices
    return _combine(slices, tables, dict.fromkeys(FOLDS, np.arange(len(slices))), " (test)")


def _combine(
    slices: pd.DataFrame, tables: Sequence[AnyTable], rows: dict[int, Ints], suffix: str = ""
) -> pd.DataFrame:
    """Average each model's tables over the rows of their folds, and join the models."""
    sources = _named(tables)
    _check_folds(sources, tuple(rows))
    made_from = {
        model: {fold: table.attrs.get(MADE_FROM) for fold, table in parts.items()}
        for model, parts in sources.items()
    }
    for model, by_fold in made_from.items():
        check_folds_alike(model, by_fold)
    check_models_fit(made for by_fold in made_from.values() for made in by_fold.values())
    predictions = np.empty((len(slices), len(sources) * len(PREDICTIONS)), np.float32)
    areas: list[Floats32] = []
    augmentations = {}
    for number, (model, parts) in enumerate(sources.items()):
        masked = all(AREAS[0] in table for table in parts.values())
        columns = [*PREDICTIONS, *AREAS] if masked else list(PREDICTIONS)
        total = np.zeros((len(slices), len(columns)))
        counts = np.zeros((len(slices), 1))
        names = {}
        for fold, stored in parts.items():
            table = stored[[*KEYS, "tta", *columns]]
            source = f"{model}, fold {fold}{suffix}"
            expected = slices.iloc[rows[fold]]
            total[rows[fold]] += _mean_over_augmentations(table, expected, columns, source)
            counts[rows[fold]] += 1
            names[fold] = list(table["tta"].unique())
        augmentations[model] = _augmentations(model, names)
        values = (total / counts).astype(np.float32)
        start, classes = number * len(PREDICTIONS), len(PREDICTIONS)
        predictions[:, start : start + classes] = values[:, :classes]
        areas += [values[:, classes:]] * masked
    columns = prediction_columns(list(sources))
    wide = [slices, pd.DataFrame(predictions, columns=columns, copy=False)]
    if areas:
        wide.append(pd.DataFrame(np.mean(areas, axis=0), columns=list(AREAS)))
    combined = pd.concat(wide, axis=1)
    combined.attrs = {MEMBERS: weights_of(made_from), AUGMENTATIONS: augmentations}
    return combined


def _augmentations(model: str, by_fold: Mapping[int, list[str]]) -> list[str]:
    """Names of the test-time augmentations of a model, which must be the same in every fold."""
    first, names = next(iter(by_fold.items()))
    for fold, others in by_fold.items():
        if set(others) != set(names):
            raise ModelError(
                f"First-level model {model}: fold {first} was predicted with the test-time "
                f"augmentations {', '.join(names)}, fold {fold} with {', '.join(others)}. "
                f"{remedy()}"
            )
    return names


def _ordered(slices: pd.DataFrame) -> pd.DataFrame:
    duplicated = slices["sop_instance_uid"].duplicated()
    duplicated |= slices.duplicated(["study_id", "slice_num"])
    if duplicated.any():
        raise InputError(
            f"The slice table holds {counted(int(duplicated.sum()), 'duplicate slice')}, the first "
            f"is {_keys_text(slices[duplicated])}; expected every slice once. Run the pipeline "
            "folds again."
        )
    return slices.sort_values(["study_id", "slice_num"], ignore_index=True)


def _named(tables: Sequence[AnyTable]) -> dict[str, dict[int, AnyTable]]:
    """Tables by model and fold, models in order of first appearance."""
    named: dict[str, dict[int, AnyTable]] = {}
    for number, table in enumerate(tables, start=1):
        lacking = [c for c in (*KEYS, "tta", *PREDICTIONS, "model", "fold") if c not in table]
        pairs = [] if lacking else list(table[["model", "fold"]].drop_duplicates().to_numpy())
        if len(pairs) != 1:
            fault = f"lacks the columns {lacking}" if lacking else f"names {len(pairs)} of them"
            raise InputError(
                f"First-level table {number} of {len(tables)} should be the prediction of one "
                f"model and fold but {fault}. Run the pipeline inference again."
            )
        model, fold = str(pairs[0][0]), int(pairs[0][1])
        if fold in named.setdefault(model, {}):
            raise InputError(f"First-level model {model}, fold {fold} was given twice.")
        named[model][fold] = table
    if not named:
        raise InputError("The second level got no first-level table; expected at least one model.")
    return named


def _check_folds(sources: dict[str, dict[int, AnyTable]], wanted: Sequence[int]) -> None:
    for model, parts in sources.items():
        lacking = [fold for fold in wanted if fold not in parts]
        surplus = [fold for fold in parts if fold not in wanted]
        if lacking or surplus:
            raise InputError(
                f"First-level model {model} has predictions of folds {sorted(parts)}, but the data "
                f"has folds {list(wanted)}: missing {lacking}, unknown {surplus}. Run the "
                f'pipeline inference with --params "models:{model}" for the missing folds.'
            )


def _mean_over_augmentations(
    table: pd.DataFrame, slices: pd.DataFrame, columns: list[str], source: str
) -> np.ndarray:
    """Check one table against its expected slices; return means of some columns, in their order."""
    values = table[columns].to_numpy(np.float64)
    outside = ~((values >= 0.0) & (values <= 1.0)).all(axis=1)
    _refuse(table[outside], source, "NaN or values outside 0..1")
    _refuse(
        table[table.duplicated(["sop_instance_uid", "tta"])], source, "a repeated slice and tta"
    )
    index = pd.Index(slices["sop_instance_uid"]).get_indexer(pd.Index(table["sop_instance_uid"]))
    _refuse(table[index < 0], source, "unexpected slices")
    moved = slices["slice_num"].to_numpy()[index] != table["slice_num"].to_numpy()
    moved |= slices["study_id"].to_numpy()[index] != table["study_id"].to_numpy()
    _refuse(table[moved], source, "a study_id or slice_num that differs from the slice table")
    counts = np.bincount(index, minlength=len(slices))
    _refuse(slices[counts == 0], source, "no prediction")
    expected = table["tta"].nunique()
    _refuse(slices[counts != expected], source, f"fewer than {expected} test-time augmentations")
    sums = [np.bincount(index, weights=column, minlength=len(slices)) for column in values.T]
    return np.stack(sums, axis=1) / counts[:, None]


def _refuse(rows: pd.DataFrame, source: str, problem: str) -> None:
    if len(rows):
        raise DamagedFileError(
            f"First-level model {source}: {counted(len(rows), 'row')} with {problem}, first "
            f"{_keys_text(rows)}. "
            "Every table must hold each slice of its fold once per test-time augmentation, with "
            f"probabilities in 0..1. {remedy()}"
        )


def _keys_text(rows: pd.DataFrame, limit: int = 3) -> str:
    names = [name for name in (*KEYS, "tta") if name in rows]
    shown = rows[names].head(limit).to_dict("records")
    return "; ".join(", ".join(f"{k} {v}" for k, v in row.items()) for row in shown)
