"""The first level's predictions as one wide table and as arrays.

The wide table has one row per slice, ordered by study and slice number: the keys, patient, fold
and labels if known, and a float32 column ``<model>|<class>`` per model and class. If models
predict masks, ``area_<mask>`` are their mean areas.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.contracts import AREAS, CLASSES, FOLDS, KEYS, PREDICTIONS
from rsna19_kedro.errors import DamagedFileError, InputError, ModelError, counted
from rsna19_kedro.networks.made_from import MADE_FROM, check_folds_alike, check_models_fit, remedy

logger = logging.getLogger(__name__)

SEPARATOR: Final = "|"

MEMBERS: Final = "members"
"""Attribute of a wide table: digests of the network weights, by model and fold."""

AUGMENTATIONS: Final = "augmentations"
"""Attribute of a wide table: test-time augmentations by model."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]


def prediction_columns(models: Sequence[str]) -> list[str]:
    """Columns of the wide table, model by model, classes in their fixed order."""
    return [f"{model}{SEPARATOR}{name}" for model in models for name in CLASSES]


def model_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Models that a wide table holds, in the order of its columns."""
    suffix = f"{SEPARATOR}{CLASSES[0]}"
    return tuple(name.removesuffix(suffix) for name in table.columns if name.endswith(suffix))


@dataclass(frozen=True)
class FirstLevel:
    """Input of a second-level model.

    Attributes:
        models: Names of the M first-level models.
        predictions: ``(N, M, 6)`` float32 probabilities, averaged over test-time augmentations.
        study: ``(N,)`` number of the slice's study; the order has no meaning.
        slice_num: ``(N,)`` position in the study, ascending from feet to head.
        areas: ``(N, 7)`` float32 share of the slice covered by each predicted mask, averaged
            over the models that predict masks; ``None`` if none does.
    """

    models: tuple[str, ...]
    predictions: Floats32
    study: Ints
    slice_num: Ints
    areas: Floats32 | None = None

    def __len__(self) -> int:
        return len(self.study)

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Self:
        """Read a wide table."""
        models = model_names(table)
        values = table[prediction_columns(models)].to_numpy(np.float32)
        return cls(
            models=models,
            predictions=values.reshape(len(table), len(models), len(CLASSES)),
            study=pd.factorize(table["study_id"])[0].astype(np.int64),
            slice_num=table["slice_num"].to_numpy(np.int64),
            areas=table[list(AREAS)].to_numpy(np.float32) if AREAS[0] in table else None,
        )

    def ordered(self, models: Sequence[str]) -> Self:
        """Select the predictions of some models, in the given order.

        Raises:
            ModelError: A model is missing (named in the message).
        """
        lacking = [model for model in models if model not in self.models]
        if lacking:
            raise ModelError(
                f"The second level was fitted on other models: {', '.join(lacking)} "
                f"{'is' if len(lacking) == 1 else 'are'} missing. Predict with "
                f"{', '.join(models)}, or run the pipeline stacking again."
            )
        if tuple(models) == self.models:
            return self
        indices = [self.models.index(model) for model in models]
        return replace(self, models=tuple(models), predictions=self.predictions[:, indices])

    def take(self, rows: npt.NDArray[np.bool_]) -> Self:
        """Select slices by a mask ``(N,)``, which should contain whole studies."""
        areas = None if self.areas is None else self.areas[rows]
        return type(self)(
            self.models, self.predictions[rows], self.study[rows], self.slice_num[rows], areas
        )


def combine_oof(folds: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Combine the out-of-fold tables of all models into one wide table, by keys.

    Args:
        folds: Keys, ``patient_id``, ``fold`` and the six labels of all training slices.
        tables: One table per model and fold: keys, ``tta``, six ``pred_*``, ``model``, ``fold``.

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


def combine_test(test_slices: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
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
    slices: pd.DataFrame, tables: Sequence[pd.DataFrame], rows: dict[int, Ints], suffix: str = ""
) -> pd.DataFrame:
    """Average each model's tables over the rows of their folds, and join the models."""
    sources = _named(tables)
    _check_folds(sources, tuple(rows))
    wide, areas = [slices], []
    made_from = {
        model: {fold: table.attrs.get(MADE_FROM) for fold, table in parts.items()}
        for model, parts in sources.items()
    }
    for model, by_fold in made_from.items():
        check_folds_alike(model, by_fold)
    check_models_fit(made for by_fold in made_from.values() for made in by_fold.values())
    for model, parts in sources.items():
        masked = all(AREAS[0] in table for table in parts.values())
        columns = [*PREDICTIONS, *AREAS] if masked else list(PREDICTIONS)
        total = np.zeros((len(slices), len(columns)))
        counts = np.zeros((len(slices), 1))
        for fold, table in parts.items():
            source = f"{model}, fold {fold}{suffix}"
            total[rows[fold]] += _mean_over_augmentations(
                table, slices.iloc[rows[fold]], columns, source
            )
            counts[rows[fold]] += 1
        values = (total / counts).astype(np.float32)
        classes = len(PREDICTIONS)
        wide.append(pd.DataFrame(values[:, :classes], columns=prediction_columns([model])))
        areas += [values[:, classes:]] * masked
    if areas:
        wide.append(pd.DataFrame(np.mean(areas, axis=0), columns=list(AREAS)))
    combined = pd.concat(wide, axis=1)
    augmentations = {model: _augmentations(model, parts) for model, parts in sources.items()}
    combined.attrs = {MEMBERS: weights_of(made_from), AUGMENTATIONS: augmentations}
    return combined


def _augmentations(model: str, parts: Mapping[int, pd.DataFrame]) -> list[str]:
    """Names of the test-time augmentations of a model, which must be the same in every fold."""
    by_fold = [(fold, list(table["tta"].unique())) for fold, table in parts.items()]
    first, names = by_fold[0]
    for fold, others in by_fold:
        if set(others) != set(names):
            raise ModelError(
                f"First-level model {model}: fold {first} was predicted with the test-time "
                f"augmentations {', '.join(names)}, fold {fold} with {', '.join(others)}. "
                f"{remedy()}"
            )
    return names


def weights_of(
    made_from: Mapping[str, Mapping[int, Mapping[str, Any] | None]],
) -> dict[str, dict[str, str]]:
    """Return the digest of the weights of each model and fold, where recorded."""
    return {
        model: {str(fold): made["weights"] for fold, made in by_fold.items() if made is not None}
        for model, by_fold in made_from.items()
    }


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


def _named(tables: Sequence[pd.DataFrame]) -> dict[str, dict[int, pd.DataFrame]]:
    """Tables by model and fold, models in order of first appearance."""
    named: dict[str, dict[int, pd.DataFrame]] = {}
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


def _check_folds(sources: dict[str, dict[int, pd.DataFrame]], wanted: Sequence[int]) -> None:
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
