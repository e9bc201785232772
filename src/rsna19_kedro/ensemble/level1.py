"""The first level's predictions as one wide table and as arrays.

The wide table has one row a slice, ordered by study and slice number: the keys, what is known
of the slice, and a float32 column ``<model>|<class>`` for each model and class. Where models
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
from rsna19_kedro.errors import DamagedFileError, InputError, ModelError
from rsna19_kedro.networks.made_from import (
    MADE_FROM,
    REMEDY,
    check_folds_alike,
    check_models_fit,
)

logger = logging.getLogger(__name__)

SEPARATOR: Final = "|"

MEMBERS: Final = "members"
"""Attribute of a wide table: digest of the weights behind it, by model and fold."""

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
    """What a second-level model learns from.

    Attributes:
        models: Names of the M first-level models.
        predictions: ``(N, M, 6)`` float32 probabilities, averaged over test-time variants.
        study: ``(N,)`` number of the slice's study; only equality means something.
        slice_num: ``(N,)`` place in the study, ascending from feet to head.
        areas: ``(N, 7)`` float32 share of the slice that each predicted mask covers, a mean
            of the models that predict masks; ``None`` where none does.
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
        """The predictions of some models, in the given order.

        Raises:
            ModelError: A model is missing; the message names it.
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
        places = [self.models.index(model) for model in models]
        return replace(self, models=tuple(models), predictions=self.predictions[:, places])

    def take(self, rows: npt.NDArray[np.bool_]) -> Self:
        """The part of the slices that the mask ``(N,)`` names; meant for whole studies."""
        areas = None if self.areas is None else self.areas[rows]
        return type(self)(
            self.models, self.predictions[rows], self.study[rows], self.slice_num[rows], areas
        )


def combine_oof(folds: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the out-of-fold tables of all models side by side, by keys.

    Args:
        folds: Keys, ``patient_id``, ``fold`` and the six labels of all training slices.
        tables: One table a model and fold: keys, ``tta``, six ``pred_*``, ``model``, ``fold``.

    Returns:
        Wide table: keys, ``patient_id``, ``fold``, six labels, ``<model>|<class>``, and
        ``area_<mask>`` if a model has them; the test-time variants of a model are averaged.

    Raises:
        InputError: Tables that do not hold exactly the slices of their fold, a slice and
            variant twice, a variant missing, values outside 0..1, a fold missing. The
            message names model, fold and the first offending keys.
    """
    slices = _ordered(folds[[*KEYS, "patient_id", "fold", *CLASSES]])
    fold_of = slices["fold"].to_numpy(np.int64)
    rows = {int(fold): np.flatnonzero(fold_of == fold) for fold in np.unique(fold_of)}
    wide = _combine(slices, tables, rows)
    models = model_names(wide)
    if len(models) == 1:
        logger.warning("The second level has one model only, %s: it can but smooth it.", *models)
    return wide


def combine_test(test_slices: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the test tables of all models side by side, averaged over variants and folds.

    Args:
        test_slices: Keys of all test slices.
        tables: One table a model and fold, each with all test slices.

    Returns:
        Wide table: keys, ``<model>|<class>``, ``area_<mask>``. Without test slices it has
        no rows and no prediction columns.

    Raises:
        InputError: As in ``combine_oof``.
    """
    slices = _ordered(test_slices[list(KEYS)])
    if slices.empty:
        return slices
    return _combine(slices, tables, dict.fromkeys(FOLDS, np.arange(len(slices))), " (test)")


def _combine(
    slices: pd.DataFrame, tables: Sequence[pd.DataFrame], rows: dict[int, Ints], what: str = ""
) -> pd.DataFrame:
    """Average each model's tables, each of the rows of its fold, and put the models together."""
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
        times = np.zeros((len(slices), 1))
        for fold, table in parts.items():
            source = f"{model}, fold {fold}{what}"
            total[rows[fold]] += _mean_over_variants(
                table, slices.iloc[rows[fold]], columns, source
            )
            times[rows[fold]] += 1
        values = (total / times).astype(np.float32)
        classes = len(PREDICTIONS)
        wide.append(pd.DataFrame(values[:, :classes], columns=prediction_columns([model])))
        areas += [values[:, classes:]] * masked
    if areas:
        wide.append(pd.DataFrame(np.mean(areas, axis=0), columns=list(AREAS)))
    whole = pd.concat(wide, axis=1)
    whole.attrs = {MEMBERS: weights_of(made_from)}
    return whole


def weights_of(
    made_from: Mapping[str, Mapping[int, Mapping[str, Any] | None]],
) -> dict[str, dict[str, str]]:
    """Digest of the weights of each model and fold, as far as they are recorded."""
    return {
        model: {str(fold): made["weights"] for fold, made in by_fold.items() if made is not None}
        for model, by_fold in made_from.items()
    }


def _ordered(slices: pd.DataFrame) -> pd.DataFrame:
    twice = slices["sop_instance_uid"].duplicated()
    twice |= slices.duplicated(["study_id", "slice_num"])
    if twice.any():
        raise InputError(
            f"The slice table holds {int(twice.sum())} slices twice, the first is "
            f"{_keys_text(slices[twice])}; expected every slice once. Run the pipeline "
            "folds again."
        )
    return slices.sort_values(["study_id", "slice_num"], ignore_index=True)


def _named(tables: Sequence[pd.DataFrame]) -> dict[str, dict[int, pd.DataFrame]]:
    """Tables by model and fold, models in the order in which they come."""
    named: dict[str, dict[int, pd.DataFrame]] = {}
    for number, table in enumerate(tables, start=1):
        lacking = [c for c in (*KEYS, "tta", *PREDICTIONS, "model", "fold") if c not in table]
        pairs = [] if lacking else list(table[["model", "fold"]].drop_duplicates().to_numpy())
        if len(pairs) != 1:
            found = f"lacks the columns {lacking}" if lacking else f"names {len(pairs)} of them"
            raise InputError(
                f"First-level table {number} of {len(tables)} should be the prediction of one "
                f"model and fold but {found}. Run the pipeline inference again."
            )
        model, fold = str(pairs[0][0]), int(pairs[0][1])
        if fold in named.setdefault(model, {}):
            raise InputError(f"First-level model {model}, fold {fold} was given twice.")
        named[model][fold] = table
    if not named:
        raise InputError("The second level got no first-level table; expected one model at least.")
    return named


def _check_folds(sources: dict[str, dict[int, pd.DataFrame]], wanted: Sequence[int]) -> None:
    for model, parts in sources.items():
        lacking = [fold for fold in wanted if fold not in parts]
        surplus = [fold for fold in parts if fold not in wanted]
        if lacking or surplus:
            raise InputError(
                f"First-level model {model} has predictions of folds {sorted(parts)}, the data "
                f"has folds {list(wanted)}: missing {lacking}, unknown {surplus}. Run the "
                f'pipeline inference with --params "models:{model}" for the missing folds.'
            )


def _mean_over_variants(
    table: pd.DataFrame, slices: pd.DataFrame, columns: list[str], source: str
) -> np.ndarray:
    """Check one table against the slices it should hold; means of some columns, in their order."""
    values = table[columns].to_numpy(np.float64)
    outside = ~((values >= 0.0) & (values <= 1.0)).all(axis=1)
    _refuse(table[outside], source, "NaN or values outside 0..1")
    _refuse(table[table.duplicated(["sop_instance_uid", "tta"])], source, "a slice and tta twice")
    place = pd.Index(slices["sop_instance_uid"]).get_indexer(pd.Index(table["sop_instance_uid"]))
    _refuse(table[place < 0], source, "slices that do not belong to it")
    moved = slices["slice_num"].to_numpy()[place] != table["slice_num"].to_numpy()
    moved |= slices["study_id"].to_numpy()[place] != table["study_id"].to_numpy()
    _refuse(table[moved], source, "slices under another study_id or slice_num than in folds")
    counts = np.bincount(place, minlength=len(slices))
    _refuse(slices[counts == 0], source, "no prediction")
    variants = table["tta"].nunique()
    _refuse(slices[counts != variants], source, f"fewer than its {variants} test-time variants")
    sums = [np.bincount(place, weights=column, minlength=len(slices)) for column in values.T]
    return np.stack(sums, axis=1) / counts[:, None]


def _refuse(rows: pd.DataFrame, source: str, what: str) -> None:
    if len(rows):
        raise DamagedFileError(
            f"First-level model {source}: {len(rows)} rows with {what}, first {_keys_text(rows)}. "
            "Every table must hold each slice of its fold once per test-time augmentation, with "
            f"probabilities in 0..1. {REMEDY}"
        )


def _keys_text(rows: pd.DataFrame, limit: int = 3) -> str:
    names = [name for name in (*KEYS, "tta") if name in rows]
    shown = rows[names].head(limit).to_dict("records")
    return "; ".join(", ".join(f"{k} {v}" for k, v in row.items()) for row in shown)
