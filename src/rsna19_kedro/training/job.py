"""Description of a training: slices of a fold, recipe and machine settings."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.training.recipe import Precision, Recipe, TrainingSettings
from rsna19_kedro.training.samples import FoldSlices, SliceTable

logger = logging.getLogger(__name__)


def split_fold(
    slices: pd.DataFrame,
    volume_index: pd.DataFrame,
    fold: int,
    validation_slices: pd.DataFrame | None = None,
) -> tuple[SliceTable, SliceTable]:
    """Split slices into those of the other folds (training) and of this one (validation).

    Args:
        slices: Rows with fold and labels.
        volume_index: Manifest of the volumes.
        fold: The held-out fold.
        validation_slices: Table of the validation slices; ``None`` for ``slices``.

    Raises:
        InputError: One of the two is empty, or no training slice is positive.
    """
    validation_slices = slices if validation_slices is None else validation_slices
    train = slices[slices["fold"] != fold]
    validation = validation_slices[validation_slices["fold"] == fold]
    for part, name in ((train, "the other folds hold"), (validation, f"fold {fold} holds")):
        if part.empty:
            raise InputError(f"Cannot train fold {fold}: {name} no labelled slices.")
    positives = train[list(CLASSES)].sum()
    if positives["any"] == 0:
        raise InputError(
            f"Cannot train fold {fold}: none of the {len(train)} training slices is positive."
        )
    for name in positives.index[positives == 0]:
        logger.warning(
            "Fold %d: no positive training slice for %s; it cannot be learnt", fold, name
        )
    return SliceTable.from_frame(train, volume_index), SliceTable.from_frame(
        validation, volume_index
    )


@dataclass(frozen=True)
class TrainingJob:
    """A model to train on one fold.

    Attributes:
        recipe: Recipe of the model.
        settings: Settings of the machine.
        fold: Number of the validation fold, for seeds and messages.
        slices: Training and validation slices.
        hu_lut: ``(1401,)`` float32.
        resume: Folder of the resume state.
        logs: Folder for TensorBoard; ``None`` for no log.
        parent: Checkpoint of the model that the recipe starts from.
    """

    recipe: Recipe
    settings: TrainingSettings
    fold: int
    slices: FoldSlices
    hu_lut: Tensor
    resume: Path
    logs: Path | None = None
    parent: Checkpoint | None = None

    @property
    def precision(self) -> Precision:
        """Precision set by the settings, else by the recipe, else by the device."""
        if self.settings.precision != "auto":
            return self.settings.precision
        if self.recipe.precision is not None:
            return self.recipe.precision
        gpu = self.settings.accelerator != "cpu" and torch.cuda.is_available()
        half = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if half else "32-true"

    @property
    def title(self) -> str:
        """Model and fold, for messages and the progress bar."""
        return f"{self.recipe.model} fold {self.fold}"


class Trained(NamedTuple):
    """Result of a training.

    Attributes:
        weights: Weights that the recipe keeps, on the CPU.
        history: One row per validation.
    """

    weights: dict[str, Tensor]
    history: list[dict[str, Any]]
