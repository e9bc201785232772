"""The first level's predictions as one wide table and as arrays.

The wide table has one row per slice, ordered by study and slice number: the keys, patient, fold
and labels if known, and a float32 column ``<model>|<class>`` per model and class. If models
predict masks, ``area_<mask>`` are their mean areas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.contracts import AREAS, CLASSES
from rsna19_kedro.errors import ModelError

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


def weights_of(
    made_from: Mapping[str, Mapping[int, Mapping[str, Any] | None]],
) -> dict[str, dict[str, str]]:
    """Return the digest of the weights of each model and fold, where recorded."""
    return {
        model: {str(fold): made["weights"] for fold, made in by_fold.items() if made is not None}
        for model, by_fold in made_from.items()
    }
